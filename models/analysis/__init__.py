"""What the graph of a functional model tells: what each output pixel sees, which input sizes fit, and what it costs.

Along each spatial axis every tensor of the graph carries a `Track`: its size and, for each of its repeating positions,
the interval of input elements behind it. Layers turn tracks into tracks, exactly; merging layers unite them. Layers
that see the whole image, and layers that are not known here, are named in the answer. A layer of one's own declares
what it does with `register`.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import keras
import numpy as np
from keras import layers, tree

from ..blocks import LinearUpsampling

# Stands for "no input element at all" as the lower end of an interval, and negated as the upper end.
_NOWHERE = 2**40
# Input sizes tried in search of those that fit; a model that needs a larger input than the last is refused.
_SIZES_TRIED = (512, 4096, 32768)


@dataclass(frozen=True)
class SizeRule:
    """The sizes that one axis of the input may have: `multiple * k + remainder`, and at least `minimum`."""

    multiple: int
    remainder: int
    minimum: int

    def allows(self, size):
        """Returns whether the axis may have this size."""
        return size >= self.minimum and size % self.multiple == self.remainder

    def at_least(self, size):
        """Returns the smallest allowed size that is not smaller than `size`."""
        return max(self.minimum, size + (self.remainder - size) % self.multiple)

    def nearest(self, size):
        """Returns the allowed sizes next to `size`: the one below, where there is one, and the one above."""
        above = self.at_least(size)
        below = above - self.multiple
        return (below, above) if below >= self.minimum else (above,)

    def __str__(self):
        rule = f"{self.multiple}*k + {self.remainder}" if self.remainder else f"a multiple of {self.multiple}"
        return f"{rule}, at least {self.minimum}"


@dataclass(frozen=True)
class Geometry:
    """Where an output element of a model lies in the input and what it sees there; tuples have one entry per axis.

    Output element `i` is aligned with input element `i + offset`. The numbers hold for the input sizes that `allowed`
    admits.

    Attributes:
        stride: A shift of the input by this many elements shifts the output exactly.
        receptive_field: Size of the largest input interval that one output element may depend on.
        halo: `(before, after)`: the farthest input elements before and after its aligned one that an output element may
            depend on.
        tile_halo: `(before, after)` for a block of output elements that begins and ends at multiples of `stride`: the
            number of input elements that it needs around its aligned ones. Smaller than `halo`, because the elements
            that look farthest back are never the first of a block.
        offset: Input elements cropped at the start.
        crop: Input size minus output size.
        rules: Allowed input sizes.
        global_layers: The layers on the way to this output that see the whole image, or that are not known, and why.
            With any of them there is no finite halo: the numbers above then describe the local paths alone.
    """

    stride: tuple[int, ...]
    receptive_field: tuple[int, ...]
    halo: tuple[tuple[int, int], ...]
    tile_halo: tuple[tuple[int, int], ...]
    offset: tuple[int, ...]
    crop: tuple[int, ...]
    rules: tuple[SizeRule, ...]
    global_layers: tuple[str, ...]

    @property
    def is_global(self):
        """Whether an output element may depend on every input element."""
        return bool(self.global_layers)

    def allowed(self, axis):
        """Returns the rule for the input sizes along a spatial axis."""
        return self.rules[axis]

    def input_span(self, axis, start, stop):
        """Returns the piece of input that makes the outputs aligned with the input elements `start` to `stop` exact.

        The piece has an allowed size and begins at a multiple of the stride, so that pieces of one image agree with
        each other and with the whole image. It may reach outside the image.

        Returns:
            `(first, last, skip)`: run the model on the input elements `first` to `last` (exclusive) and take the
            `stop - start` output elements after the first `skip`.
        """
        stride, offset, (before, after) = self.stride[axis], self.offset[axis], self.tile_halo[axis]
        block_start = (start - offset) // stride * stride
        block_stop = -((offset - stop) // stride * stride)
        first = (block_start + offset - before) // stride * stride
        rule = self.rules[axis]
        size = rule.at_least(block_stop + offset + after - first)
        # Where more sizes are allowed, they are padded differently; pieces agree if they are equal modulo the stride.
        size += (rule.remainder - size) % math.lcm(rule.multiple, stride)
        return first, first + size, start - offset - first


@dataclass(frozen=True, eq=False)
class Track:
    """One spatial axis of a tensor, seen from the same axis of the model's input.

    Element `period * k + p` of the tensor depends on the input elements `step * k + low[0, p]` to `step * k +
    high[0, p]`. The second rows of `low` and `high` widen that interval until the element also exists in the tensor of
    an input that ends there: a tensor that was cropped and is padded later has zeros where a larger input has values.

    Attributes:
        input_sizes: The input sizes that are tried at once, an array.
        size: The tensor's size for each of them; NaN if it cannot be known.
        fits: Whether the graph up to this tensor can take that input size.
        period: See above.
        step: See above; 0 for a tensor whose elements do not follow the input's, such as a pooled vector.
        low: See above; shape `(2, period)`.
        high: See above; shape `(2, period)`.
        origin: Where the tensor's first element begins, in input elements.
    """

    input_sizes: np.ndarray
    size: np.ndarray
    fits: np.ndarray
    period: int
    step: int
    low: np.ndarray
    high: np.ndarray
    origin: Fraction

    @classmethod
    def of_input(cls, sizes):
        """Returns the track of the input itself, for an array of sizes to try."""
        sizes = np.asarray(sizes, float)
        return cls(sizes, sizes, sizes > 0, 1, 1, np.zeros((2, 1), int), np.zeros((2, 1), int), Fraction(0))

    def detached(self, size):
        """Returns a track of constant size (NaN: of unknown size) that does not follow the input's elements."""
        nowhere = np.full((2, 1), _NOWHERE)
        size = np.full(len(self.input_sizes), size, float)
        return replace(self, size=size, period=1, step=0, low=nowhere, high=-nowhere, origin=Fraction(0))

    def gather(self, kernel, stride=1, dilation=1, padding="valid"):
        """Slides a window: convolution and pooling. `padding` is `"valid"` or `"same"`."""
        reach = (kernel - 1) * dilation + 1
        before, shift = 0, Fraction(reach - stride, 2)
        if padding == "same":
            size = -(-self.size // stride)
            total = (size[-1] - 1) * stride + reach - self.size[-1]
            before, shift = int(max(reach - stride if math.isnan(total) else total, 0)) // 2, 0
        else:
            size = (self.size - reach) // stride + 1
        period = math.lcm(self.period, stride) // stride
        index = stride * np.arange(period)[:, None] - before + dilation * np.arange(kernel)
        return self._moved(size, period, self._spacing * stride, index, True, shift * self._spacing)

    def scatter(self, kernel, stride, dilation=1, padding="valid", output_padding=None):
        """Spreads each element over a window: transposed convolution, by the size rules of Keras."""
        reach = (kernel - 1) * dilation + 1
        excess = reach - stride if output_padding is None else 2 * (reach // 2) - output_padding
        if padding == "same":
            before, shift = max(excess, 0) // 2, 0
            size = self.size * stride if output_padding is None else (self.size - 1) * stride + reach - excess
        else:
            before, shift = 0, Fraction(stride - reach, 2)
            extra = max(stride - reach, 0) if output_padding is None else output_padding
            size = (self.size - 1) * stride + reach + extra
        return self._spread(size, kernel, stride, dilation, before, shift)

    def enlarge(self, factor, taps=1):
        """Interpolates between `taps` elements: 1 nearest, 2 linear, 4 cubic; half-pixel centres."""
        if factor == 1:
            return self
        # An odd factor has one position that falls on an element's centre and reads one tap less.
        kernel = factor if taps == 1 else taps * factor - factor % 2
        return self._spread(self.size * factor, kernel, factor, 1, (kernel - factor) // 2, 0)

    def pad(self, before, after):
        """Adds elements at both ends; negative numbers crop."""
        index = np.arange(self.period)[:, None] - before
        shift = -before * self._spacing
        return self._moved(self.size + before + after, self.period, self._spacing, index, True, shift)

    @staticmethod
    def united(tracks):
        """Returns the track of a tensor made element by element from several, of equal size or of size 1."""
        moving = [track for track in tracks if track.step]
        if len(tracks) == 1:
            return tracks[0]
        if not moving:
            return replace(tracks[0], size=np.fmax.reduce([track.size for track in tracks]))
        size = moving[0].size
        for track in moving[1:]:
            size = np.where(np.isnan(size), track.size, size)
        fits = np.logical_and.reduce([track.fits for track in tracks])
        for track in tracks:
            same = np.isnan(track.size) | np.isnan(size) | (track.size == size)
            fits = fits & (same | (track.size == 1) if not track.step else same)
        if len({track._spacing for track in moving}) > 1:
            fits = np.zeros_like(fits)
            moving = moving[:1]
        period = math.lcm(*(track.period for track in moving))
        lows, highs = zip(*(track._repeated(period) for track in moving), strict=True)
        step = moving[0].step * period // moving[0].period
        low, high = np.minimum.reduce(lows), np.maximum.reduce(highs)
        return replace(moving[0], size=size, fits=fits, period=period, step=step, low=low, high=high)

    @property
    def _spacing(self):
        return Fraction(self.step, self.period)

    def _repeated(self, period):
        """Returns `low` and `high` written out over a multiple of the period."""
        shifts = self.step * np.arange(period // self.period)[:, None]
        return [(ends[:, None, :] + shifts).reshape(2, period) for ends in (self.low, self.high)]

    def _spread(self, size, kernel, stride, dilation, before, shift):
        period, spacing = self.period * stride, self._spacing / stride
        reached = np.arange(period)[:, None] + before - dilation * np.arange(kernel)
        return self._moved(size, period, spacing, reached // stride, reached % stride == 0, shift * spacing)

    def _moved(self, size, period, spacing, index, used, shift):
        """Returns the track whose element `p` reads the elements `index[p]` of this one where `used`."""
        fits = self.fits & ~(size < 1)
        if not self.step:
            return replace(self, size=size, fits=fits)
        step = int(period * spacing)
        block, phase = np.divmod(index, self.period)
        low = np.where(used, self.step * block + self.low[:, phase], _NOWHERE).min(-1)
        high = np.where(used, self.step * block + self.high[:, phase], -_NOWHERE).max(-1)
        if not math.isnan(size[-1]):
            position = np.arange(period)
            low[1] = np.minimum(low[1], position * step // period)
            end = (position - int(size[-1])) * step // period + int(self.input_sizes[-1])
            high[1] = np.maximum(high[1], end)
        return replace(
            self, size=size, fits=fits, period=period, step=step, low=low, high=high, origin=self.origin + shift
        )


@dataclass(frozen=True, eq=False)
class _Feature:
    """A tensor of the graph: a track per spatial axis of the input, and the global layers behind it.

    A tensor of another rank than the input, such as a pooled vector, is not `spatial`; its tracks are empty shells.
    The last `folded` axes lie in the batch, where layers leave them alone.
    """

    tracks: tuple[Track, ...]
    spatial: bool
    global_layers: tuple[str, ...] = ()
    folded: int = 0


_RULES = {}


def register(*classes):
    """Declares what layers do along a spatial axis: decorates `rule(layer, axis, *tracks) -> Track`.

    `axis` counts the spatial axes from 0; there is one track for each input tensor of the layer that has spatial axes.
    A rule may also return a string, which says why the layer sees the whole image. A layer that moves the last axes
    into the batch, or back, says how many lie there after it in `folded_axes`.
    """

    def decorate(rule):
        _RULES.update(dict.fromkeys(classes, rule))
        return rule

    return decorate


@register(
    layers.Identity,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Rescaling,
    layers.BatchNormalization,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ActivityRegularization,
    layers.Dense,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
def _pointwise(layer, axis, *tracks):
    return Track.united(tracks)


@register(
    layers.Concatenate,
    layers.Softmax,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Normalization,
)
def _along_channels(layer, axis, *tracks):
    crosses = any(each == axis + 1 or each < -1 for each in np.atleast_1d(layer.axis))
    return "works along a spatial axis" if crosses else Track.united(tracks)


@register(layers.PReLU)
def _prelu(layer, axis, x):
    return x if layer.alpha.shape[axis] == 1 else "has weights for every position"


@register(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
def _convolution(layer, axis, x):
    kernel, stride, dilation = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
    if layer.padding == "causal":
        return x.pad((kernel - 1) * dilation, 0).gather(kernel, stride, dilation)
    return x.gather(kernel, stride, dilation, layer.padding)


@register(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def _transposed_convolution(layer, axis, x):
    output_padding = layer.output_padding and layer.output_padding[axis]
    return x.scatter(
        layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis], layer.padding, output_padding
    )


@register(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
def _pooling(layer, axis, x):
    return x.gather(layer.pool_size[axis], layer.strides[axis], padding=layer.padding)


@register(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
def _upsampling(layer, axis, x):
    taps = {"nearest": 1, "bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10}
    return x.enlarge(int(np.atleast_1d(layer.size)[axis]), taps[getattr(layer, "interpolation", "nearest")])


@register(LinearUpsampling)
def _linear_upsampling(layer, axis, x):
    return x.enlarge(layer.size if isinstance(layer.size, int) else layer.size[axis], 2)


@register(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def _padding(layer, axis, x):
    before, after = np.reshape(layer.padding, (-1, 2))[axis]
    return x.pad(int(before), int(after))


@register(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
def _cropping(layer, axis, x):
    before, after = np.reshape(layer.cropping, (-1, 2))[axis]
    return x.pad(-int(before), -int(after))


@register(
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
)
def _global_pooling(layer, axis, x):
    return "pools the whole image"


@register(layers.GroupNormalization)
def _group_normalization(layer, axis, x):
    return "normalises over the whole image"


@register(layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention, layers.GroupQueryAttention)
def _attention(layer, axis, *tracks):
    return "attends to the whole image"


# Operations of `keras.ops` that people put into a functional graph by writing `x + y` or `keras.ops.relu(x)`; Keras
# keeps their classes private, so that they are known by name.
# fmt: off
_POINTWISE_OPERATIONS = {
    "Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Equal", "Erf", "Exp", "Expm1", "Gelu", "Greater",
    "GreaterEqual", "HardSigmoid", "HardSilu", "Identity", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p",
    "LogSigmoid", "Maximum", "Minimum", "Multiply", "Negative", "NotEqual", "Power", "Reciprocal", "Relu",
    "Relu6", "Rsqrt", "Selu", "Sigmoid", "Sign", "Silu", "Softplus", "Softsign", "Sqrt", "Square", "StopGradient",
    "Subtract", "Tanh", "TrueDivide", "Where",
}
# fmt: on


def geometry(model, output=None):
    """Reads from a model's graph what its output elements see.

    Args:
        model: A functional `keras.Model` (or a `keras.Sequential` one), channels last. Several images that it takes
            are understood to be of one size and to lie on each other.
        output: Name of the output to describe. By default the one named `mask`; of a model without it, the first that
            has the size of the image, or else the first.

    Returns:
        A `Geometry`. Its `rules` hold for the whole graph, so that every output can be computed.

    Raises:
        ValueError: The model is not functional, has no such output, or its layers fit together at no input size.
    """
    model = _functional(model)
    spatial_dims = len(model.inputs[0].shape) - 2
    for limit in _SIZES_TRIED:
        sizes = np.arange(1, limit + 1)
        features = _features(model, [sizes] * spatial_dims)
        chosen = _chosen_output(model, features, output)
        found = [
            _size_rule([feature.tracks[axis] for feature in features], features[chosen].tracks[axis])
            for axis in range(spatial_dims)
        ]
        if all(found):
            break
    else:
        axis = found.index(None)
        raise ValueError(
            f"{model.name}: expected tensors that agree in size where they are merged, at some input size; "
            f"received none up to {limit} along axis {axis}"
        )
    rules, moduli = zip(*found, strict=True)
    # An axis that admits several remainders of its modulus may be padded differently for each: take them all in.
    variants = [modulus // rule.multiple for rule, modulus in found]
    measured = []
    for variant in range(max(variants)):
        sizes = [
            rule.at_least(rule.minimum + modulus) + rule.multiple * (variant % count)
            for rule, modulus, count in zip(rules, moduli, variants, strict=True)
        ]
        feature = _features(model, [[size] for size in sizes])[chosen]
        measured.append([_measure(track) for track in feature.tracks])
    merged = [_widest(along) for along in zip(*measured, strict=True)]
    return Geometry(
        *(tuple(values) for values in zip(*merged, strict=True)),
        rules=rules,
        global_layers=feature.global_layers,
    )


def check_size(model, spatial_shape):
    """Refuses an input size that the model cannot take.

    Args:
        model: A functional `keras.Model`.
        spatial_shape: Input size per spatial axis.

    Raises:
        ValueError: Wrong number of axes, or a size that is not allowed; the message names the nearest that are.
    """
    _nearest_sizes(model, spatial_shape, exact=True)


def nearest_size(model, spatial_shape):
    """Returns the smallest input size that the model can take and that is not smaller than `spatial_shape`.

    Raises:
        ValueError: Wrong number of axes, or the model was built for a fixed size that is smaller.
    """
    return _nearest_sizes(model, spatial_shape, exact=False)


def _nearest_sizes(model, spatial_shape, exact):
    built = model.inputs[0].shape[1:-1]
    if len(spatial_shape) != len(built):
        raise ValueError(f"{model.name}: expected {len(built)} spatial sizes; received {tuple(spatial_shape)}")
    rules = geometry(model).rules if None in built else (None,) * len(built)
    sizes = []
    for axis, (size, fixed, rule) in enumerate(zip(spatial_shape, built, rules, strict=True)):
        if fixed is not None:
            expected, nearest, sizes = fixed, (fixed,), [*sizes, fixed]
            refused = size != fixed if exact else size > fixed
        else:
            expected, nearest, sizes = rule, rule.nearest(size), [*sizes, rule.at_least(size)]
            refused = exact and not rule.allows(size)
        if refused:
            raise ValueError(
                f"{model.name}: expected axis {axis} to be {expected}; received {size} "
                f"(nearest: {', '.join(map(str, nearest))})"
            )
    return tuple(sizes)


def _functional(model):
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not _is_graph(model):
        raise ValueError(f"{model.name}: expected a functional model; received {type(model).__name__}")
    return model


def _is_graph(operation):
    return isinstance(operation, keras.Function) and hasattr(operation, "_nodes_by_depth")


def _walk(model, values, visit):
    """Runs values through a model's graph in the order in which Keras executes it.

    Keras keeps its graph of nodes private; its public way around (`clone_model`) copies layers or calls them, and here
    neither is wanted.

    Args:
        model: A functional model.
        values: What stands for its input tensors, in the order of `model.inputs`.
        visit: `visit(node, args, kwargs)` returns what stands for the node's output tensors.

    Returns:
        What stands for the model's output tensors, as a flat list.
    """
    known = dict(zip(map(id, model.inputs), values, strict=True))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input or all(id(tensor) in known for tensor in node.outputs):
                continue
            args, kwargs = node.arguments.fill_in(known)
            if isinstance(node.operation, keras.Sequential) or _is_graph(node.operation):
                inner = _functional(node.operation)
                made = _walk(inner, tree.flatten(args[0]), visit)
            else:
                made = tree.flatten(visit(node, args, kwargs))
            known.update(zip(map(id, node.outputs), made, strict=True))
    return [known[id(tensor)] for tensor in model.outputs]


def _features(model, sizes):
    """Returns the feature of every output, for an array of input sizes per axis."""
    tracks = tuple(Track.of_input(axis) for axis in sizes)
    image = _Feature(tracks, True)
    vector = _Feature(tuple(track.detached(math.nan) for track in tracks), False)
    return _walk(model, [image if tensor.ndim == len(sizes) + 2 else vector for tensor in model.inputs], _follow)


def _follow(node, args, kwargs):
    """Returns the features of a node's outputs."""
    features = [value for value in tree.flatten((args, kwargs)) if isinstance(value, _Feature)]
    seen = tuple(dict.fromkeys(name for feature in features for name in feature.global_layers))
    spatial = [feature.tracks for feature in features if feature.spatial]
    folded = getattr(node.operation, "folded_axes", max((feature.folded for feature in features), default=0))
    reason = None
    if spatial:
        kept = len(spatial[0]) - (0 if hasattr(node.operation, "folded_axes") else folded)
        tracks = [
            _track(node.operation, axis, along) if axis < kept else Track.united(along)
            for axis, along in enumerate(zip(*spatial, strict=True))
        ]
        reason = next((track for track in tracks if isinstance(track, str)), None)
        if reason is None:
            return [_Feature(tuple(tracks), True, seen, folded)] * len(node.outputs)
    if any(track.step for feature in features for track in feature.tracks):
        seen = (*seen, f"{node.operation.name}: {type(node.operation).__name__} {reason}")
    return [_guess(node, index, features, seen) for index in range(len(node.outputs))]


def _track(operation, axis, tracks):
    """Returns the track behind a layer, or why it has none."""
    while isinstance(operation, layers.SpectralNormalization):
        operation = operation.layer
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        return "has channels first"
    for kind in type(operation).__mro__:
        if kind in _RULES:
            return _RULES[kind](operation, axis, *tracks)
    if not isinstance(operation, layers.Layer):
        if type(operation).__name__ in _POINTWISE_OPERATIONS:
            return Track.united(tracks)
        if hasattr(operation, "axis") and type(operation).__name__ in ("Concatenate", "Softmax"):
            return _along_channels(operation, axis, *tracks)
    return "is not known to the analysis"


def _guess(node, index, features, seen):
    """Returns the feature of an output of a layer that has no track: only its size matters, for what follows it."""
    tensor, template = node.outputs[index], features[0]
    folded = max(feature.folded for feature in features)
    if tensor.ndim != len(template.tracks) - folded + 2:
        return _Feature(tuple(track.detached(math.nan) for track in template.tracks), False, seen, folded)
    source = next((feature for feature in features if feature.spatial), template)
    read, made = _probe(node, features.index(source), index) if source.spatial else (tensor.shape, tensor.shape)
    tracks = []
    kept = source.tracks[: len(source.tracks) - folded]
    for axis, track in enumerate(kept):
        before, after, built = read[axis + 1], made[axis + 1], tensor.shape[axis + 1]
        if not source.spatial or built not in (None, before):
            tracks.append(track.detached(math.nan if built is None else built))
        elif after and before % after == 0:
            tracks.append(track.gather(before // after, before // after, padding="same"))
        elif after and after % before == 0:
            tracks.append(track.enlarge(after // before))
        else:
            tracks.append(track.detached(math.nan))
    return _Feature((*tracks, *source.tracks[len(kept) :]), True, seen, folded)


def _probe(node, read, made):
    """Returns the shapes of an input and an output tensor of a node, with free sizes replaced by a round number."""
    tensors = node.arguments.keras_tensors
    concrete = {id(tensor): _concrete(tensor, (64,) * tensor.ndim) for tensor in tensors}
    args, kwargs = node.arguments.fill_in(concrete)
    shape = concrete[id(tensors[read])].shape
    try:
        outputs = tree.flatten(node.operation.compute_output_spec(*args, **kwargs))
    except Exception:  # any layer may stand here, and any error only means that its output size stays unknown
        return shape, (None,) * node.outputs[made].ndim
    return shape, outputs[made].shape


def _concrete(tensor, shape):
    """Returns a tensor's specification with batch 1 and free sizes taken from `shape`, which counts the batch."""
    # Not strict: a model may take a vector of known size beside the image.
    sizes = (free if size is None else size for size, free in zip(tensor.shape[1:], shape[1:], strict=False))
    return keras.KerasTensor((1, *sizes), dtype=tensor.dtype)


def _chosen_output(model, features, output):
    names = _output_names(model)
    if output is not None:
        if output not in names:
            raise ValueError(f"{model.name}: expected an output among {', '.join(names)}; received {output}")
        return names.index(output)
    if "mask" in names:
        return names.index("mask")
    full = [all(track.step == track.period for track in feature.tracks) for feature in features]
    return full.index(True) if True in full else 0


def _output_names(model):
    """Returns the name of each output: its key in a dict of outputs, else its layer's name."""
    paths = tree.flatten_with_path(model._outputs_struct)
    keys = [str(path[-1]) if path and isinstance(path[-1], str) else None for path, _ in paths]
    return [key or name for key, name in zip(keys, model.output_names, strict=True)]


def _size_rule(tracks, main):
    """Returns the rule that the input sizes which fit follow and the modulus of all sizes, or None if none is seen."""
    sizes = main.input_sizes.astype(int)
    fits = np.logical_and.reduce([track.fits for track in tracks])
    modulus = math.lcm(*(track.step for track in tracks if track.step))
    if 4 * modulus > len(sizes):
        return None
    lost = np.nan_to_num(sizes * main.period - main.size * main.step) if main.step else np.zeros(len(sizes))
    # Sizes that do not divide may fit as well, with an output that is off by a few pixels: the rule keeps the output
    # nearest to the input's size.
    candidates = np.abs(np.where(fits, lost, np.inf)[-modulus:])
    if np.isinf(candidates.min()):
        return None
    fits &= lost == lost[-modulus:][candidates.argmin()]
    remainders = set((sizes[-modulus:][fits[-modulus:]] % modulus).tolist())
    multiple, remainder = next(
        (multiple, remainder % multiple)
        for multiple in range(1, modulus + 1)
        if modulus % multiple == 0
        for remainder in sorted(remainders)
        if all((remainder + step) % modulus in remainders for step in range(0, modulus, multiple))
    )
    along = sizes % multiple == remainder
    refused = sizes[along & ~fits]
    above = sizes[along & (sizes > refused.max(initial=0))]
    if len(above) * multiple < modulus:
        return None
    return SizeRule(multiple, remainder, int(above[0])), modulus


def _measure(track):
    """Returns stride, receptive field, halo, halo of a tile, offset and crop of an output's track."""
    if not track.step:
        return 1, 0, (0, 0), (0, 0), 0, 0
    step, period = track.step, track.period
    size = track.size[-1]
    crop = 0 if math.isnan(size) else math.ceil(track.input_sizes[-1] - size * step / period)
    # Where nothing is lost the output lies on the input, whatever even kernels did to the origin on the way.
    offset = math.floor(track.origin) if crop else 0
    aligned = np.arange(period) * step // period + offset
    read = track.high[0] >= track.low[0]
    (low, wide_low), (high, wide_high) = track.low[:, read], track.high[:, read]
    halo = (aligned[read] - low).max(initial=0), (high - aligned[read]).max(initial=0)
    tile_halo = offset - wide_low.min(initial=offset), wide_high.max(initial=0) - (step - 1 + offset)
    return step, int((high - low + 1).max(initial=0)), _pair(halo), _pair(tile_halo), offset, crop


def _pair(ends):
    return tuple(max(int(end), 0) for end in ends)


def _widest(measured):
    """Returns the numbers that hold for all paddings that an axis may get."""
    strides, fields, halos, tile_halos, offsets, crops = zip(*measured, strict=True)
    return (
        strides[0],
        max(fields),
        tuple(map(max, zip(*halos, strict=True))),
        tuple(map(max, zip(*tile_halos, strict=True))),
        offsets[0],
        crops[0],
    )


def parameters(model):
    """Returns the number of parameters of a model: all of them, and those that training changes."""
    return tuple(
        sum(math.prod(weight.shape) for weight in weights) for weights in (model.weights, model.trainable_weights)
    )


def multiply_adds(model, input_shape):
    """Counts the multiplications followed by an addition in one forward pass over one image.

    Counted are convolutions and matrix products (dense layers, attention), also inside layers of one's own; biases,
    normalisation, activations and interpolation are not.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        ValueError: The model cannot take the shape, or a layer does not consist of `keras.ops`.
    """
    count = 0

    def visit(node, args, kwargs):
        nonlocal count
        operation = node.operation
        grouped = isinstance(operation, _CONVOLUTIONS) and operation.groups > 1
        if _is_foreign(operation) or (isinstance(operation, (*_CONVOLUTIONS, *_MULTIPLYING, *_OPENED)) and not grouped):
            return _inside(operation, args, kwargs, visit)
        made = tree.flatten(operation.compute_output_spec(*args, **kwargs))
        if grouped:  # Keras does not follow grouped convolutions symbolically
            count += _convolution_products(operation, made[0].shape, None, operation.kernel.shape)
            return made
        product = _PRODUCTS.get(type(operation).__name__)
        if product:
            operands = [tuple(value.shape) for value in tree.flatten((args, kwargs)) if hasattr(value, "shape")]
            count += product(operation, made[0].shape, *operands)
        return made

    _walk(_functional(model), _input_specs(model, input_shape), visit)
    return count


def _convolution_products(operation, made, x, *kernels):
    return math.prod(made[:-1]) * sum(map(math.prod, kernels))


def _transposed_products(operation, made, x, kernel):
    return math.prod(x[:-1]) * math.prod(kernel)


def _matrix_products(operation, made, x, y):
    return math.prod(made) * x[-1]


def _einsum_products(operation, made, *operands):
    read, kept = operation.subscripts.replace(" ", "").split("->")
    sizes = {}
    for labels, shape in zip(read.split(","), operands, strict=True):
        head, _, tail = labels.partition("...")
        sizes.update(zip(head, shape, strict=False))
        sizes.update(zip(reversed(tail), reversed(shape), strict=False))
    return math.prod(made) * math.prod(size for label, size in sizes.items() if label not in kept)


def _attention_products(operation, made, query, key, value, *masks):
    return math.prod(query[:-1]) * key[1] * (query[-1] + value[-1])


_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_MULTIPLYING = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Dense,
    layers.Dot,
    layers.SpectralNormalization,
)
# By name, because Keras keeps the classes of its operations private.
_PRODUCTS = {
    "Conv": _convolution_products,
    "DepthwiseConv": _convolution_products,
    "SeparableConv": _convolution_products,
    "ConvTranspose": _transposed_products,
    "Matmul": _matrix_products,
    "Einsum": _einsum_products,
    "DotProductAttention": _attention_products,
}


def peak_activation_bytes(model, input_shape):
    """Returns the memory that activations take at the worst moment of inference: batch 1, float32.

    A tensor lives from the layer that makes it to the last layer that reads it, in the order in which Keras runs the
    graph. What a layer needs inside itself is seen only in attention and in layers of one's own that have weights.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        ValueError: The model cannot take the shape.
    """
    calls = _calls(model, input_shape)
    last_read = {id(tensor): moment for moment, (read, _) in enumerate(calls) for tensor in read}
    alive = {}
    peak = 0
    for moment, (read, made) in enumerate(calls):
        alive.update({id(tensor): _bytes(tensor) for tensor in (*read, *made)})
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last_read.get(key, moment) > moment}
    return peak


def training_activation_bytes(model, input_shape):
    """Returns the memory of all activations of one image together, as training keeps them: float32.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        ValueError: The model cannot take the shape.
    """
    tensors = {id(tensor): tensor for read, made in _calls(model, input_shape) for tensor in (*read, *made)}
    return sum(map(_bytes, tensors.values()))


def _bytes(tensor):
    return 4 * math.prod(tensor.shape)


# These hand on their input, or a view of it, when a model predicts: no new memory.
_IDLE = (
    layers.Identity,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ActivityRegularization,
    layers.Reshape,
    layers.Flatten,
)
_IDLE_OPERATIONS = ("Identity", "StopGradient", "Reshape", "ExpandDims", "Squeeze")
# Followed inside: attention holds large tensors there, and Keras tells the output shape of the last one only in part.
_OPENED = (
    layers.Attention,
    layers.AdditiveAttention,
    layers.MultiHeadAttention,
    layers.GroupQueryAttention,
    layers.EinsumDense,
)


def _calls(model, input_shape):
    """Returns the tensors that each layer reads and makes in a forward pass, in order, as specifications.

    The last entry reads the outputs of the model.
    """
    calls = []
    views = {}  # by identity of a view: the view, to keep its identity from being given away, and what it is a view of

    def visit(node, args, kwargs):
        operation = node.operation
        if isinstance(operation, _OPENED) or (_is_foreign(operation) and operation.weights):
            try:
                return _inside(operation, args, kwargs, visit)
            except ValueError:
                pass  # then its outputs are all that can be told
        made = tree.flatten(operation.compute_output_spec(*args, **kwargs))
        read = [views.get(id(tensor), (tensor, tensor))[1] for tensor in _symbolic((args, kwargs))]
        if isinstance(operation, _IDLE) or type(operation).__name__ in _IDLE_OPERATIONS:
            views.update((id(tensor), (tensor, read[0])) for tensor in made)
        elif type(operation).__name__ == "DotProductAttention":
            query, key = read[0].shape, read[1].shape
            calls.append((read, [*made, keras.KerasTensor((*query[:-1], key[1]))]))
        else:
            calls.append((read, made))
        return made

    outputs = _walk(_functional(model), _input_specs(model, input_shape), visit)
    return [*calls, ([views.get(id(tensor), (tensor, tensor))[1] for tensor in outputs], [])]


def _is_foreign(operation):
    """Whether an operation is a layer that Keras does not bring with it."""
    return isinstance(operation, layers.Layer) and not type(operation).__module__.startswith("keras.")


def _inside(layer, args, kwargs, visit):
    """Follows what a layer does inside itself, as `_walk` follows a model, and returns its output tensors."""
    read = _symbolic((args, kwargs))
    try:
        made = tree.flatten(layer.call(*args, **kwargs))
        if all(any(tensor is given for given in read) for tensor in made):
            return made
        # An input of which the layer reads the shape alone takes no part in its graph.
        read = [tensor for tensor in read if hasattr(tensor, "_keras_history")]
        graph = keras.Function(read, made)
    except Exception as error:  # any layer may stand here
        raise ValueError(
            f"{layer.name}: expected a layer made of keras.ops; received {type(layer).__name__}, which cannot be "
            f"followed inside ({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__})"
        ) from error
    return _walk(graph, read, visit)


def _symbolic(arguments):
    return [value for value in tree.flatten(arguments) if isinstance(value, keras.KerasTensor)]


def _input_specs(model, input_shape):
    spatial_dims, channels = model.inputs[0].ndim - 2, model.inputs[0].shape[-1]
    if len(input_shape) != spatial_dims + 1 or input_shape[-1] != channels:
        raise ValueError(
            f"{model.name}: expected an input shape of {spatial_dims} spatial sizes and {channels} channels; "
            f"received {tuple(input_shape)}"
        )
    check_size(model, input_shape[:-1])
    return [_concrete(tensor, (1, *input_shape)) for tensor in model.inputs]
