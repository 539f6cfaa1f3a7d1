"""What each output element of a functional model sees of the input, and which input sizes the model takes.

Along each spatial axis every tensor of the graph carries a track (`AxisGeometry`): its size and, for each of its
repeating positions, the interval of input elements behind it. Layers turn tracks into tracks, exactly; merging layers
unite them. Layers that see the whole image, and layers that are not known, are named in the answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import counted

from .graph import concrete, functional, output_names
from .propagation import Feature, features
from .tracks import AxisGeometry

# Input sizes tried in search of those that fit; a model that needs a larger input than the last is refused.
SIZES_TRIED = (512, 4096, 32768)


@dataclass(frozen=True)
class SizeRule:
    """The sizes that one axis of the input may have: `multiple * k + remainder`, and at least `minimum`."""

    multiple: int
    remainder: int
    minimum: int

    def allows(self, size: int) -> bool:
        """Returns whether the axis may have this size."""
        return size >= self.minimum and size % self.multiple == self.remainder

    def at_least(self, size: int) -> int:
        """Returns the smallest allowed size that is not smaller than `size`."""
        return max(self.minimum, size + (self.remainder - size) % self.multiple)

    def nearest(self, size: int) -> tuple[int, ...]:
        """Returns the allowed sizes next to `size`: the one below, where there is one, and the one above."""
        above = self.at_least(size)
        below = above - self.multiple
        return (below, above) if below >= self.minimum else (above,)

    def __str__(self) -> str:
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
    def is_global(self) -> bool:
        """Whether an output element may depend on every input element."""
        return bool(self.global_layers)

    def allowed(self, axis: int) -> SizeRule:
        """Returns the rule for the input sizes along a spatial axis."""
        return self.rules[axis]

    def input_span(self, axis: int, start: int, stop: int) -> tuple[int, int, int]:
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


def geometry(model: keras.Model, output: str | None = None) -> Geometry:
    """Reads from a model's graph what its output elements see.

    Args:
        model: A functional `keras.Model` (or a `keras.Sequential` one), channels last. Several images that it takes
            are understood to be of one size and to lie on each other.
        output: Name of the output to describe. By default the one named `mask`; of a model without it, the first that
            has the size of the image, or else the first.

    Returns:
        A `Geometry`. Its `rules` hold for the whole graph, so that every output can be computed.

    Raises:
        OptionError: The model is not functional, has no such output, or its layers fit together at no input size.
    """
    graph = functional(model)
    spatial_dims = len(graph.inputs[0].shape) - 2
    found: list[tuple[SizeRule, int] | None] = []
    chosen = 0
    for limit in SIZES_TRIED:
        sizes = np.arange(1, limit + 1)
        outputs = features(graph, [sizes] * spatial_dims)
        chosen = _chosen_output(graph, outputs, output)
        found = [
            _size_rule([feature.tracks[axis] for feature in outputs], outputs[chosen].tracks[axis])
            for axis in range(spatial_dims)
        ]
        if all(found):
            break
    else:
        raise OptionError(
            model.name,
            "tensors that agree in size where they are merged, at some input size",
            f"none up to {SIZES_TRIED[-1]} along axis {found.index(None)}",
        )
    rules, moduli = zip(*(rule for rule in found if rule), strict=True)
    # An axis that admits several remainders of its modulus may be padded differently for each: take them all in.
    variants = [modulus // rule.multiple for rule, modulus in zip(rules, moduli, strict=True)]
    measured: list[list[Measured]] = []
    global_layers: tuple[str, ...] = ()
    for variant in range(max(variants)):
        sizes = [
            rule.at_least(rule.minimum + modulus) + rule.multiple * (variant % count)
            for rule, modulus, count in zip(rules, moduli, variants, strict=True)
        ]
        feature = features(graph, [[size] for size in sizes])[chosen]
        measured.append([_measure(track) for track in feature.tracks])
        global_layers = feature.global_layers
    merged = [_widest(along) for along in zip(*measured, strict=True)]
    return Geometry(
        *(tuple(values) for values in zip(*merged, strict=True)),
        rules=rules,
        global_layers=global_layers,
    )


def input_specs(model: keras.Model, input_shape: Sequence[int]) -> list[keras.KerasTensor]:
    """Returns specifications of a model's inputs for one image.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        OptionError: The model cannot take the shape.
    """
    spatial_dims, channels = model.inputs[0].ndim - 2, model.inputs[0].shape[-1]
    if len(input_shape) != spatial_dims + 1 or input_shape[-1] != channels:
        raise OptionError(
            model.name,
            f"an input shape of {spatial_dims} spatial sizes and {counted(channels, 'channel')}",
            tuple(input_shape),
        )
    check_size(model, input_shape[:-1])
    return [concrete(tensor, (1, *input_shape)) for tensor in model.inputs]


def check_size(model: keras.Model, spatial_shape: Sequence[int]) -> None:
    """Refuses an input size that the model cannot take.

    Args:
        model: A functional `keras.Model`.
        spatial_shape: Input size per spatial axis.

    Raises:
        OptionError: Wrong number of axes, or a size that is not allowed; the message names the nearest that are.
    """
    _nearest_sizes(model, spatial_shape, exact=True)


def nearest_size(model: keras.Model, spatial_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the smallest input size that the model can take and that is not smaller than `spatial_shape`.

    Raises:
        OptionError: Wrong number of axes, or the model was built for a fixed size that is smaller.
    """
    return _nearest_sizes(model, spatial_shape, exact=False)


def _nearest_sizes(model: keras.Model, spatial_shape: Sequence[int], exact: bool) -> tuple[int, ...]:
    built = model.inputs[0].shape[1:-1]
    if len(spatial_shape) != len(built):
        raise OptionError(model.name, f"{len(built)} spatial sizes", tuple(spatial_shape))
    rules = geometry(model).rules if None in built else (SizeRule(1, 0, 1),) * len(built)
    sizes: list[int] = []
    for axis, (size, fixed, rule) in enumerate(zip(spatial_shape, built, rules, strict=True)):
        taken = rule.at_least(size) if fixed is None else fixed
        sizes.append(taken)
        if taken != size if exact else taken < size:
            expected, nearest = (rule, rule.nearest(size)) if fixed is None else (fixed, (fixed,))
            raise OptionError(
                model.name, f"axis {axis} to be {expected}", f"{size} (nearest: {', '.join(map(str, nearest))})"
            )
    return tuple(sizes)


def _chosen_output(model: keras.Function, found: list[Feature], output: str | None) -> int:
    names = output_names(model)
    if output is not None:
        if output not in names:
            raise OptionError("output", f"an output of {model.name}: {', '.join(names)}", output)
        return names.index(output)
    if "mask" in names:
        return names.index("mask")
    full = [all(track.step == track.period for track in feature.tracks) for feature in found]
    return full.index(True) if True in full else 0


def _size_rule(tracks: list[AxisGeometry], main: AxisGeometry) -> tuple[SizeRule, int] | None:
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


# Stride, receptive field, halo, halo of a tile, offset and crop, as in `Geometry`.
Measured = tuple[int, int, tuple[int, int], tuple[int, int], int, int]


def _measure(track: AxisGeometry) -> Measured:
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


def _pair(ends: tuple[int, int]) -> tuple[int, int]:
    before, after = (max(int(end), 0) for end in ends)
    return before, after


def _widest(measured: Sequence[Measured]) -> Measured:
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
