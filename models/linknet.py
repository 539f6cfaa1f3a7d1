"""LinkNet decoder over any encoder."""

from typing import Any

import keras

from .backbone_unet import center
from .blocks import Shape, add, conv_block, norm_act, transposed, upsample
from .checks import check_choice
from .encoders import encode
from .heads import segmentation_head
from .registry import EncoderWeights, register_model


@register_model
def linknet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    final_filters: int = 16,
    up: str = "nearest",
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a LinkNet: narrow decoder blocks whose results are added to the encoder's features.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        final_filters: Filters at full size; doubled for every finer level that the encoder has no features for.
        up: `"nearest"` (repeat, then convolve) or `"transpose"` (4x4 transposed convolution).
        batch_norm: Whether the decoder normalises.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Chaurasia and Culurciello, "LinkNet", VCIP 2017, as in segmentation-models 1.0.1.
    """
    check_choice("up", up, ("nearest", "transpose"))
    encoder, strides = encode(
        "linknet", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    options: dict[str, Any] = {"batch_norm": batch_norm, "use_bias": not batch_norm}
    skips = dict(zip(strides, encoder.outputs, strict=True))
    x = center(encoder, batch_norm)
    stride = strides[-1]
    while stride > 1:
        stride //= 2
        name = f"decoder{stride}"
        skip = skips.get(stride)
        narrow = max(x.shape[-1] // 4, 1)
        x = conv_block(x, narrow, 1, name=f"{name}a", **options)
        if up == "nearest":
            x = upsample(x, name=f"{name}_up")
            x = conv_block(x, narrow, name=f"{name}b", **options)
        else:
            x = transposed(x, narrow, 4, use_bias=not batch_norm, name=f"{name}b_up")
            x = norm_act(x, batch_norm=batch_norm, name=f"{name}b")
        x = conv_block(x, final_filters * stride if skip is None else skip.shape[-1], 1, name=f"{name}c", **options)
        if skip is not None:
            x = add([x, skip], name=f"{name}_add")
    return keras.Model(encoder.inputs[0], segmentation_head(x, num_classes, activation, 3), name="linknet")
