"""Convolutions with strides that are padded on both sides, as in PyTorch, instead of at the end, as in TensorFlow."""

from typing import Any

import keras
from keras import layers, tree

from ..blocks import Tensor


def with_torch_padding(model: keras.Model, image: Tensor) -> keras.Model:
    """Returns a network of keras.applications, on an image, whose convolutions with strides are padded on both sides.

    Where the sizes are even, their windows lie one pixel further to the top left.

    Args:
        model: The network; of its layers only those before convolutions with strides pad.
        image: Its new input.
    """

    def renewed(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.ZeroPadding2D):
            config["padding"] = tuple((max(sides), max(sides)) for sides in layer.padding)
        elif _pads_at_the_end(layer):
            config["padding"] = "valid"
        return type(layer).from_config(config)

    padded = {layer.name: layer.kernel_size for layer in model.layers if _pads_at_the_end(layer)}

    def call(layer: layers.Layer, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # those of any layer
        if layer.name in padded:
            sizes = tuple((size // 2, size // 2) for size in padded[layer.name])
            x = layers.ZeroPadding2D(sizes, name=f"{layer.name}_pad")(x)
        return layer(x, *args, **kwargs)

    inputs = tree.map_structure(lambda _: image, model.input)
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=renewed, call_function=call)


def _pads_at_the_end(layer: layers.Layer) -> bool:
    return (
        isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
        and layer.padding == "same"
        and max(layer.strides) > 1
        and max(layer.kernel_size) > 1
    )
