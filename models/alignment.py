"""Features brought onto an output that lies inside of them, as in valid-padded networks."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .analysis import AxisGeometry, register
from .blocks import Tensor, TensorShape, ops, shape_of


@keras.saving.register_keras_serializable("maskzoo")
class CropTo(layers.Layer):
    """Cuts a tensor to the size of another that lies inside of it: called on `[x, reference]`.

    Args:
        start: Elements of `x` before the first one of the reference, one number per spatial axis.
    """

    def __init__(self, start: Sequence[int], **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.start = tuple(start)

    def call(self, tensors: Sequence[Tensor]) -> Tensor:
        x, reference = tensors
        sizes = shape_of(reference)[1:-1]
        kept = [slice(first, first + size) for first, size in zip(self.start, sizes, strict=True)]
        return x[(slice(None), *kept)]

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        x, reference = input_shapes
        return (x[0], *reference[1:-1], x[-1])

    def compute_output_spec(self, tensors: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        x, reference = tensors
        return keras.KerasTensor(self.compute_output_shape((x.shape, reference.shape)), dtype=ops.dtype(x))

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "start": self.start}


@register(CropTo)
def _crop_to(layer: CropTo, axis: int, x: AxisGeometry, reference: AxisGeometry) -> AxisGeometry:
    start = layer.start[axis]
    return x.pad(-start, reference.size - x.size + start)
