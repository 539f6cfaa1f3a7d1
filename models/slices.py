"""2D models turned into 2.5D ones: every slice of a volume is seen together with its neighbours."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from maskzoo.errors import OptionError

from .analysis import AxisGeometry, layer_behind, register
from .blocks import Tensor, TensorShape, ops, shape_of
from .checks import check_count


@keras.saving.register_keras_serializable("maskzoo")
class FoldSlices(layers.Layer):
    """Moves the slices into the batch: each becomes an image, with its neighbours as further channels.

    `(batch, height, width, n, channels)` becomes `(batch * n, height, width, slices * channels)`. Beyond both ends of
    the volume its last slice is repeated.
    """

    def __init__(self, slices: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.slices = slices

    def call(self, volume: Tensor) -> Tensor:
        half = self.slices // 2
        volume = ops.concatenate([volume[:, :, :, :1]] * half + [volume] + [volume[:, :, :, -1:]] * half, axis=3)
        runs = [volume[:, :, :, first : first + 1 - self.slices or None] for first in range(self.slices)]
        stacks = ops.transpose(ops.concatenate(runs, axis=-1), (0, 3, 1, 2, 4))
        return ops.reshape(stacks, (-1, *shape_of(stacks)[2:]))

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        batch, height, width, n, channels = input_shape
        images = None if None in (batch, n) else batch * n
        return (images, height, width, self.slices * channels)

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "slices": self.slices}


@keras.saving.register_keras_serializable("maskzoo")
class UnfoldSlices(layers.Layer):
    """Stacks the maps of single slices, which lie in the batch, to the maps of their volume."""

    def call(self, maps_and_volume: tuple[Tensor, Tensor]) -> Tensor:
        maps, volume = maps_and_volume
        maps = ops.reshape(maps, (shape_of(volume)[0], -1, *shape_of(maps)[1:]))
        return ops.transpose(maps, (0, 2, 3, 1, 4))

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        (images, height, width, channels), (batch, *_) = input_shapes
        return (batch, height, width, None if None in (images, batch) else images // batch, channels)


@register(FoldSlices, folded_axes=1)
def _fold_geometry(layer: FoldSlices, axis: int, volume: AxisGeometry) -> AxisGeometry:
    return volume if axis < 2 else volume.gather(layer.slices, padding="same")


@register(UnfoldSlices, folded_axes=0)
def _unfold_geometry(layer: UnfoldSlices, axis: int, maps: AxisGeometry, volume: AxisGeometry) -> AxisGeometry:
    return maps


def inflate_25d(model: keras.Model, slices: int = 3) -> keras.Model:
    """Turns a 2D model, or a 2D encoder, into a 2.5D one: each slice is seen with its neighbours on both sides.

    The first convolution gets `slices` copies of its kernel, one for each slice of a stack, divided by their number, so
    that a volume of equal slices gives what the 2D model gave. All other weights are those of the model.

    Args:
        model: A functional 2D model with one input `(height, width, channels)`, whose outputs are maps.
        slices: Number of slices that are seen together, odd. At the ends of a volume its last slice is repeated.

    Returns:
        A model from `(height, width, n, channels)`, for any n, to maps with as many slices.

    Raises:
        OptionError: `slices` is not odd, or the model is not of that kind.

    Source: Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, section 2, for the first convolution only.
    """
    check_count("slices", slices)
    if slices % 2 == 0:
        raise OptionError("slices", "an odd number, so that there is a middle one", slices)
    if len(model.inputs) != 1 or any(len(x.shape) != 4 for x in (*model.inputs, *model.outputs)):
        raise OptionError(model.name, "a 2D model from one image to maps", "another")
    height, width, channels = model.inputs[0].shape[1:]
    volume = keras.Input((height, width, None, channels), name="volume")
    ends = {layer_behind(x).name for x in model.outputs}

    def copied(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if layer.name in ends:
            config["name"] = f"{layer.name}_of_slice"
        if isinstance(layer, layers.Rescaling):
            config |= {
                key: np.tile(config[key], slices).tolist() for key in ("scale", "offset") if np.ndim(config[key])
            }
        return type(layer).from_config(config)

    stacks = FoldSlices(slices, name="fold_slices")(volume)

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Tensor:
        given: Any = tree.map_structure(lambda x: stacks if x is volume else x, (args, kwargs))
        return layer(*given[0], **given[1])

    volumes = tree.map_structure(lambda _: volume, model.input)
    inner = keras.models.clone_model(model, input_tensors=volumes, clone_function=copied, call_function=call)
    for layer in model.layers:
        if layer.weights:
            copy = inner.get_layer(f"{layer.name}_of_slice" if layer.name in ends else layer.name)
            copy.trainable = layer.trainable
            pairs = zip(layer.get_weights(), copy.weights, strict=True)
            copy.set_weights([_spread(value, tuple(weight.shape), slices) for value, weight in pairs])
    names = iter(layer_behind(x).name for x in model.outputs)
    outputs = tree.map_structure(lambda maps: UnfoldSlices(name=next(names))([maps, volume]), inner.output)
    return keras.Model(volume, outputs, name=f"{model.name}_25d")


def _spread(value: np.ndarray, shape: tuple[int, ...], slices: int) -> np.ndarray:
    """Returns a weight for stacked slices: copies one after another, those of a kernel divided by their number."""
    axis = next((axis for axis, (old, new) in enumerate(zip(value.shape, shape, strict=True)) if old != new), None)
    if axis is None:
        return value
    copies = np.concatenate([value] * slices, axis)
    return copies if value.ndim == 1 else copies / slices
