"""Heads turn features into named outputs, inside a builder or on a finished model."""

import math
from collections.abc import Sequence

import keras
from keras import layers, tree

from maskzoo.errors import OptionError
from maskzoo.names import counted, nearest_name

from . import analysis
from .alignment import CropTo
from .blocks import Tensor, conv, linear_upsample, spatial_dims
from .checks import check_count

# What stands before the names of the layers of a trunk that would be taken for the model's own outputs.
TRUNK = "trunk_"
GLOBAL_POOLING = {2: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling3D}


def segmentation_head(
    x: Tensor, num_classes: int, activation: str | None = None, kernel_size: int | Sequence[int] = 1, name: str = "mask"
) -> Tensor:
    """Maps features to per-pixel logits in float32, whatever the precision of the features.

    Args:
        x: Features `(batch, *spatial, channels)`.
        num_classes: Number of output channels.
        activation: `None` for logits, or a Keras activation such as `"sigmoid"` for people who want probabilities.
        kernel_size: Size of the convolution.
        name: Name of the output.

    Raises:
        OptionError: `num_classes` is not a whole number of at least 1.
    """
    check_count("num_classes", num_classes)
    return conv(
        x,
        num_classes,
        kernel_size,
        activation=activation,
        dtype="float32",
        name=name,
    )


def auxiliary_head(
    x: Tensor,
    num_classes: int,
    activation: str | None = None,
    kernel_size: int | Sequence[int] = 1,
    factor: int | tuple[int, ...] = 1,
    *,
    name: str,
) -> Tensor:
    """Maps features of a coarser level to float32 logits, enlarged `factor` times by linear interpolation.

    Args:
        x: Features `(batch, *spatial, channels)`.
        num_classes: Number of output channels.
        activation: `None` for logits, or a Keras activation, applied after enlarging.
        kernel_size: Size of the convolution.
        factor: Integer factor of every spatial axis, or one factor per axis; 1 keeps the features' own size.
        name: Name of the output.
    """
    if factor == 1 or factor == (1,) * spatial_dims(x):
        return segmentation_head(x, num_classes, activation, kernel_size, name)
    x = segmentation_head(x, num_classes, None, kernel_size, f"{name}_logits")
    x = linear_upsample(x, factor, dtype="float32", name=f"{name}_up" if activation else name)
    return layers.Activation(activation, dtype="float32", name=name)(x) if activation else x


def label_head(
    x: Tensor, num_labels: int, activation: str | None = None, dropout: float = 0.0, name: str = "label"
) -> Tensor:
    """Maps features to float32 logits of the whole image: the mean over all positions, then a dense layer.

    Args:
        x: Features `(batch, *spatial, channels)`.
        num_labels: Number of labels of an image.
        activation: `None` for logits, or a Keras activation.
        dropout: Rate of the dropout before the dense layer.
        name: Name of the output.

    Raises:
        OptionError: `num_labels` is not a whole number of at least 1.
    """
    check_count("num_labels", num_labels)
    x = GLOBAL_POOLING[spatial_dims(x)](name=f"{name}_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(num_labels, activation=activation, dtype="float32", name=name)(x)


def add_auxiliary_heads(
    model: keras.Model,
    sources: dict[str, str] | int,
    num_classes: int = 1,
    *,
    activation: str | None = None,
    full_size: bool = True,
) -> keras.Model:
    """Puts auxiliary segmentation heads on layers of a model, for deep supervision.

    Args:
        model: A functional model.
        sources: Dict from the new outputs' names (`aux1`, ...) to the names of the layers whose features they read; or
            a number: that many levels of `decoder_levels(model)`, as `aux1`, `aux2`, ...
        num_classes: Number of channels of every new output.
        activation: `None` for logits, or a Keras activation.
        full_size: Enlarges the outputs to the size of the model's first one; `False` leaves them at the features' size.

    Returns:
        A model with the same layers and a dict of named outputs: the old ones (`mask`, if there was one) and the new.

    Features of valid-padded networks, which reach beyond the output, are enlarged and then cut to what lies on it.

    Raises:
        OptionError: There is no such layer, an output has this name already, the decoder has fewer levels, or the
            features do not cover the output in whole pixels.
    """
    if not isinstance(sources, dict):
        sources = _levels(model, sources)
    features = {name: _features_of(model, source) for name, source in sources.items()}
    old = analysis.outputs_by_name(model)
    mask: Tensor = old.get("mask", tree.flatten(model.output)[0])
    places = analysis.places(model, [mask, *features.values()]) if full_size else []
    outputs: dict[str, Tensor] = {}
    for number, (name, x) in enumerate(features.items(), start=1):
        if not full_size:
            outputs[name] = auxiliary_head(x, num_classes, activation, name=name)
            continue
        factors, start = enlargement(name, sources[name], places[number], places[0])
        if start is None:
            outputs[name] = auxiliary_head(x, num_classes, activation, factor=factors, name=name)
            continue
        x = auxiliary_head(x, num_classes, None, factor=factors, name=f"{name}_whole")
        x = CropTo(start, dtype="float32", name=f"{name}_crop" if activation else name)([x, mask])
        outputs[name] = layers.Activation(activation, dtype="float32", name=name)(x) if activation else x
    return _with_outputs(model, outputs)


def enlargement(
    option: str, source: str, coarse: analysis.Place | None, fine: analysis.Place | None
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Returns how features are brought to the size of an output.

    Args:
        option: What the features are for, for the message.
        source: The layer that they come from, for the message.
        coarse: Where the features lie in the image.
        fine: Where the output lies.

    Returns:
        How many times they are enlarged, per axis; and how many elements are then cut off before the output's first
        one, per axis, or `None` if nothing ever has to be cut.

    Raises:
        OptionError: One of the two does not follow the image, one's strides do not divide the other's, or the features
            do not cover the output.
    """
    start = coarse.crop(fine) if coarse and fine else None
    factors = coarse.factors(fine) if coarse and fine else None
    if coarse is None or fine is None or factors is None or start is None:
        expected = "features whose strides are multiples of the output's and that cover it, or full_size=False"
        raise OptionError(option, expected, f"{source}, {_where(coarse)}, for an output {_where(fine)}")
    return factors, None if coarse.fills(fine) else start


def _where(place: analysis.Place | None) -> str:
    if place is None:
        return "which does not follow the image"
    return f"of strides {' x '.join(map(str, place.stride))} from pixel {', '.join(map(str, place.start))}"


def add_label_head(
    model: keras.Model,
    num_labels: int,
    *,
    source: str | None = None,
    activation: str | None = None,
    dropout: float = 0.0,
    name: str = "label",
) -> keras.Model:
    """Puts an image-level classification head on a model's deepest features.

    Args:
        model: A functional model.
        num_labels: Number of labels of an image.
        source: Name of the layer whose features are read; by default `deepest_features(model)`.
        activation: `None` for logits, or a Keras activation.
        dropout: Rate of the dropout before the dense layer.
        name: Name of the new output.

    Returns:
        A model with the same layers and a dict of named outputs: the old ones (`mask`, if there was one) and the new.

    Raises:
        OptionError: There is no such layer, or an output has this name already.
    """
    x = _features_of(model, source) if source else deepest_features(model)
    return _with_outputs(model, {name: label_head(x, num_labels, activation, dropout, name)})


def decoder_levels(model: keras.Model) -> list[str]:
    """Returns the names of the layers that end the coarser levels of a model's decoder, finest first.

    On the way from the deepest features to the mask, these are the last and widest at each size to be enlarged.
    Layers of a head, which only reduce the channels, are passed over.
    """
    deepest = deepest_features(model)
    output: Tensor = analysis.outputs_by_name(model).get("mask", tree.flatten(model.output)[0])
    reached = {id(deepest): deepest}
    enlarging = []
    for operation in model.operations:
        # A layer that is used twice has no single output.
        made = tree.flatten(operation.output) if analysis.is_called_once(operation) else ()
        read = [x for x in tree.flatten(operation.input) if id(x) in reached] if made else []
        if read and len(made) == 1 and len(made[0].shape) == len(output.shape):
            reached[id(made[0])] = made[0]
            enlarging.append((read[0], made[0]))
    shapes = layer_shapes(model, [*reached.values(), output])
    sizes = dict(zip((*reached, id(output)), map(math.prod, shapes), strict=True))
    head = analysis.layer_behind(output).name
    ends: dict[int, Tensor] = {}
    for before, after in enlarging:
        size = sizes[id(before)]
        if sizes[id(deepest)] < size < min(sizes[id(after)], sizes[id(output)]):
            layer = analysis.layer_behind(before)
            # The head of a trunk that a side branch corrects is no level either.
            x: Tensor = layer.input if layer.name.startswith((head, f"{TRUNK}{head}")) else before
            ends[size] = max(x, ends.get(size, x), key=lambda x: x.shape[-1])
    return [analysis.layer_behind(ends[size]).name for size in sorted(ends, reverse=True)]


def _levels(model: keras.Model, number: int) -> dict[str, str]:
    check_count("sources", number)
    levels = decoder_levels(model)
    if number > len(levels):
        raise OptionError("sources", f"at most {counted(len(levels), 'level')} of {model.name}", number)
    return {f"aux{level}": name for level, name in enumerate(levels[:number], start=1)}


def deepest_features(model: keras.Model) -> Tensor:
    """Returns the tensor of a model's graph that holds its deepest features: the smallest map, before it is enlarged.

    Maps whose size does not follow the image's, such as pooled vectors, do not count, nor does a layer that only
    reduces the channels before enlarging.
    """
    made = {
        id(x): (x, tree.flatten(layer.input))
        for layer in model.layers
        # A layer that is used twice has no single output.
        for x in (tree.flatten(layer.output) if analysis.is_called_once(layer) else ())
        if len(x.shape) == len(model.inputs[0].shape)
    }
    maps = [x for x, _ in made.values()]
    small = [math.prod(shape) for shape in layer_shapes(model, maps, 128)]
    sizes = {key: math.prod(shape) for key, shape in zip(made, layer_shapes(model, maps, 256), strict=True)}
    # In a model of one fixed size, a pooled map is recognised only by its single element.
    following = [key for key, size in zip(made, small, strict=True) if sizes[key] != size or size > 1]
    least = min(sizes[key] for key in following)
    deepest = [key for key in following if sizes[key] == least]
    enlarged = {id(x) for key, (_, sources) in made.items() if sizes[key] > least for x in sources}

    def widest(key: int) -> Tensor:
        x, sources = made[key]
        before = sources[0]
        narrowed = len(sources) == 1 and id(before) in deepest and before.shape[-1] > x.shape[-1]
        return widest(id(before)) if narrowed else x

    candidates = [widest(key) for key in deepest if key in enlarged] or [made[key][0] for key in deepest]
    return max(reversed(candidates), key=lambda x: x.shape[-1])


def _features_of(model: keras.Model, source: str) -> Tensor:
    names = [layer.name for layer in model.layers]
    if source not in names:
        near = nearest_name(source, names)
        hint = f" (nearest: {near})" if near else ""
        raise OptionError(f"layer of {model.name}", "the name of one of its layers", f"{source}{hint}")
    return tree.flatten(model.get_layer(source).output)[-1]


def layer_shapes(model: keras.Model, tensors: Sequence[Tensor], least: int = 128) -> list[tuple[int, ...]]:
    """Returns spatial shapes of tensors of a model's graph: those of free size for an input of `least` or more.

    Args:
        model: A functional model.
        tensors: Outputs of its layers.
        least: Smallest input size along every axis, where the model has free sizes; the next allowed one is taken.
    """
    if None not in model.inputs[0].shape[1:]:
        return [x.shape[1:-1] for x in tensors]
    sizes = [rule.at_least(least) for rule in analysis.geometry(model).rules]
    images = [keras.KerasTensor((1, *sizes, image.shape[-1])) for image in model.inputs]
    return [x.shape[1:-1] for x in analysis.output_specs(model, tensors, images)]


def _with_outputs(model: keras.Model, outputs: dict[str, Tensor]) -> keras.Model:
    old = analysis.outputs_by_name(model)
    taken = sorted(set(old) & set(outputs))
    if taken:
        raise OptionError(model.name, "a name that no output has", ", ".join(taken))
    return keras.Model(model.input, {**old, **outputs}, name=model.name)
