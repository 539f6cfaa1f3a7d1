"""The decoder of DAFormer as used with CoaT in kidney segmentation, over any encoder."""

from collections.abc import Sequence

import keras
from keras import layers

from . import analysis
from .blocks import Shape, Tensor, TensorShape, concat, conv_block, linear_upsample, ops, upsample
from .encoders import encode
from .heads import auxiliary_head
from .registry import EncoderWeights, register_model


@register_model
def daformer(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "coat_lite_small",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    decoder_filters: int = 320,
    fuse_kernel_size: int = 3,
    activation: str | None = None,
) -> keras.Model:
    """Builds a DAFormer decoder: every level projected, enlarged by a learned mix of linear and nearest, and fused.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first. Of an
            encoder with five maps the finest, at stride 2, is not read.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        decoder_filters: Filters of every part of the decoder.
        fuse_kernel_size: Size of the convolution that fuses the levels: 1 or 3.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Hoyer et al., "DAFormer", CVPR 2022, in the form of the public HuBMAP + HPA 2022 solutions.
    """
    encoder, strides = encode(
        "daformer", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    strides, features = strides[-4:], encoder.outputs[-4:]
    levels = []
    for stride, x in zip(strides, features, strict=True):
        x = conv_block(x, decoder_filters, 1, use_bias=False, name=f"level{stride}")
        factor = stride // strides[0]
        if factor > 1:
            enlarged = [
                linear_upsample(x, factor, name=f"level{stride}_linear"),
                upsample(x, factor, name=f"level{stride}_nearest"),
            ]
            x = LearnedMix(name=f"level{stride}_mix")(enlarged)
        levels.append(x)
    x = concat(levels, name="levels")
    x = conv_block(x, decoder_filters, fuse_kernel_size, use_bias=False, name="fuse")
    return keras.Model(
        encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=strides[0], name="mask"), name="daformer"
    )


@keras.saving.register_keras_serializable("maskzoo")
class LearnedMix(layers.Layer):
    """Mixes two tensors of equal shape, `m * first + (1 - m) * second`, with a learned `m` that starts at 0.5."""

    def build(self, input_shape: TensorShape) -> None:
        self.mix = self.add_weight((), initializer=keras.initializers.Constant(0.5), name="mix")

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        first, second = inputs
        mix = ops.cast(self.mix, first.dtype)
        return mix * first + (1 - mix) * second

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        return input_shape[0]


@analysis.register(LearnedMix)
def _learned_mix(layer: LearnedMix, axis: int, *tracks: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return analysis.AxisGeometry.united(tracks)
