"""PSPNet: pyramid pooling over any encoder; the pooling and resizing that it needs at free sizes."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from . import analysis
from .blocks import Shape, Tensor, TensorShape, concat, conv_block, ops, shape_of
from .checks import check_choice
from .encoders import encode
from .heads import auxiliary_head
from .registry import EncoderWeights, register_model


@register_model
def pspnet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    downsample_factor: int = 8,
    pyramid_filters: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    dropout: float = 0.0,
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a PSPNet: features of one stride, beside their averages over the whole image and over parts of it.

    Deeper stages of the encoder than `downsample_factor` are not built.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        downsample_factor: Stride of the features that are pooled.
        pyramid_filters: Filters of every part of the pyramid.
        bins: Parts per side over which each branch averages.
        dropout: Rate at which whole channels are dropped before the head while training.
        batch_norm: Whether the decoder normalises.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, as in segmentation-models 1.0.1.
    """
    encoder, strides = encode(
        "pspnet", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    check_choice("downsample_factor", downsample_factor, strides)
    options: dict[str, Any] = {"batch_norm": batch_norm, "use_bias": not batch_norm}
    x = encoder.outputs[strides.index(downsample_factor)]
    x = concat(pyramid_pooling(x, pyramid_filters, bins, batch_norm=batch_norm), name="pyramid")
    x = conv_block(x, pyramid_filters, 1, name="aggregate", **options)
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    x = auxiliary_head(x, num_classes, activation, 3, downsample_factor, name="mask")
    return keras.Model(encoder.inputs[0], x, name="pspnet")


def pyramid_pooling(x: Tensor, filters: int, bins: Sequence[int], *, batch_norm: bool = True) -> list[Tensor]:
    """Returns features and, for each number of bins, their averages per bin, projected and resized to the same size.

    Args:
        x: Features `(batch, height, width, channels)`.
        filters: Filters of every projection.
        bins: Numbers of bins per side.
        batch_norm: Whether the projections normalise.
    """
    branches = [x]
    for count in bins:
        name = f"pyramid{count}"
        branch = AverageBins(count, name=f"{name}_pool")(x)
        branch = conv_block(branch, filters, 1, batch_norm=batch_norm, use_bias=not batch_norm, name=name)
        branches.append(ResizeLike(name=f"{name}_resize")([branch, x]))
    return branches


@keras.saving.register_keras_serializable("maskzoo")
class AverageBins(layers.Layer):
    """Averages a map of any size over `bins` x `bins` parts, which share a row or column where they do not divide it.

    Args:
        bins: Parts per side.
    """

    def __init__(self, bins: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, x: Tensor) -> Tensor:
        rows, columns = (ops.cast(self._fractions(size), x.dtype) for size in shape_of(x)[1:3])
        return ops.einsum("bhwc,ih,jw->bijc", x, rows, columns)

    def _fractions(self, size: Tensor) -> Tensor:
        """Returns the fraction `(bins, size)` of every element in the average of every bin."""
        bins = ops.arange(self.bins, dtype="int32")[:, None]
        # Divisions of positive numbers, which every runtime rounds alike.
        first, stop = bins * size // self.bins, ((bins + 1) * size + self.bins - 1) // self.bins
        position = ops.arange(size, dtype="int32")[None]
        inside = ops.logical_and(position >= first, position < stop)
        return ops.cast(inside, "float32") / ops.cast(stop - first, "float32")

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (input_shape[0], self.bins, self.bins, input_shape[-1])

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("maskzoo")
class ResizeLike(layers.Layer):
    """Resizes a small map to the size of another by linear interpolation between half-pixel centres.

    Called on `[small, like]`. Works by products with matrices `(size of like, size of small)`: meant for maps of a few
    elements.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        small, like = inputs
        rows, columns = (
            ops.cast(self._weights(shape_of(small)[axis], shape_of(like)[axis]), small.dtype) for axis in (1, 2)
        )
        return ops.einsum("bijc,hi,wj->bhwc", small, rows, columns)

    @staticmethod
    def _weights(small: Tensor, large: Tensor) -> Tensor:
        places, positions = (ops.cast(ops.arange(size, dtype="int32"), "float32") for size in (small, large))
        factor = ops.cast(small, "float32") / ops.cast(large, "float32")
        positions = ops.clip((positions + 0.5) * factor - 0.5, 0.0, ops.cast(small - 1, "float32"))
        return ops.relu(1.0 - ops.abs(positions[:, None] - places))

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        return (*input_shape[1][:-1], input_shape[0][-1])


@analysis.register(AverageBins)
def _average_bins(layer: AverageBins, axis: int, x: analysis.AxisGeometry) -> str:
    return "averages over parts of the whole image"


@analysis.register(ResizeLike)
def _resize_like(  # what is resized sees the whole image, or stands beside features that do
    layer: ResizeLike, axis: int, small: analysis.AxisGeometry, like: analysis.AxisGeometry
) -> analysis.AxisGeometry:
    return like
