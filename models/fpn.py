"""Feature pyramid decoder over any encoder."""

from typing import Any

import keras
from keras import layers

from .blocks import Shape, add, concat, conv, conv_block, linear_upsample, upsample
from .checks import check_choice
from .encoders import encode
from .heads import segmentation_head
from .registry import EncoderWeights, register_model


@register_model
def fpn(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    pyramid_filters: int = 256,
    segmentation_filters: int | None = None,
    aggregation: str = "concat",
    dropout: float = 0.0,
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a feature pyramid network: coarse features are added to finer ones, and every level contributes.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        pyramid_filters: Filters of every pyramid level.
        segmentation_filters: Filters of the convolutions that follow each level; half of `pyramid_filters` by default.
        aggregation: How the levels come together: `"concat"` or `"sum"`.
        dropout: Rate at which whole channels of the aggregate are dropped while training.
        batch_norm: Whether the convolutions after the pyramid normalise.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, as in segmentation-models 1.0.1.
    """
    check_choice("aggregation", aggregation, ("concat", "sum"))
    encoder, strides = encode(
        "fpn", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    filters = segmentation_filters or pyramid_filters // 2
    options: dict[str, Any] = {"batch_norm": batch_norm, "use_bias": not batch_norm}
    finest = strides[0]
    *skips, x = encoder.outputs
    if x.shape[-1] != pyramid_filters:
        x = conv(x, pyramid_filters, 1, name="top")
    levels = []
    for stride, skip in reversed(list(zip(strides, skips, strict=False))):
        lateral = conv(skip, pyramid_filters, 1, name=f"lateral{stride}")
        x = add([upsample(x, name=f"pyramid{stride}_up"), lateral], name=f"pyramid{stride}")
        level = x
        for part in "ab":
            level = conv_block(level, filters, name=f"level{stride}{part}", **options)
        if stride > finest:
            level = upsample(level, stride // finest, name=f"level{stride}_up")
        levels.append(level)
    combine = concat if aggregation == "concat" else add
    x = combine(levels[::-1], name="aggregate")
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    x = conv_block(x, filters, name="final", **options)
    x = linear_upsample(x, finest, name="final_up")
    return keras.Model(encoder.inputs[0], segmentation_head(x, num_classes, activation, 3), name="fpn")
