"""SegResNet: residual blocks that normalise first, and sums instead of concatenations; 2D or 3D by the input's rank."""

from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, add, linear_upsample, spatial_dims, transposed
from .centred import centred_conv
from .checks import check_choice, check_count, check_filters, check_input_shape
from .heads import segmentation_head
from .norms import norm as normalised
from .registry import register_model

# Drops whole channels.
CHANNEL_DROPOUT = {2: layers.SpatialDropout2D, 3: layers.SpatialDropout3D}


@register_model
def segresnet(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: int = 8,
    encoder_blocks: Sequence[int] = (1, 2, 2, 4),
    decoder_blocks: Sequence[int] = (1, 1, 1),
    up: str = "linear",
    norm: str = "group",
    groups: int = 8,
    dropout: float = 0.0,
    activation: str | None = None,
) -> keras.Model:
    """Builds a SegResNet: a large encoder of residual blocks, and a small decoder that adds the encoder's features.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of 8 (at four levels).
        num_classes: Number of output channels.
        filters: Filters of the finest level, doubled at every level.
        encoder_blocks: Residual blocks per level on the way down, finest first.
        decoder_blocks: Residual blocks per level on the way up, coarsest first: one level fewer.
        up: `"linear"` (bilinear or trilinear, after a 1x1 convolution), or `"transpose"` (a transposed convolution of
            size 2, after it).
        norm: `"group"` or `"instance"`, which look at the whole image, or `"batch"`, which keeps tiles exact.
        groups: Groups of channels of `norm="group"`; they divide `filters`.
        dropout: Rate of the channels dropped after the first convolution.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size, or one of the options, is not among those allowed.

    Source: Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018, without its
    autoencoder; weights and sums equal MONAI's `SegResNet`.
    """
    check_count("filters", filters)
    check_filters(encoder_blocks, "encoder_blocks")
    check_choice("up", up, ("linear", "transpose"))
    check_choice("norm", norm, ("group", "instance", "batch"))
    check_count("groups", groups)
    if norm == "group" and filters % groups:
        raise OptionError("groups", f"a divisor of the {filters} filters", groups)
    if len(decoder_blocks) != len(encoder_blocks) - 1:
        raise OptionError(
            "decoder_blocks", f"one level fewer than in encoder_blocks ({len(encoder_blocks)})", len(decoder_blocks)
        )
    stride = 2 ** len(decoder_blocks)
    check_input_shape("segresnet", input_shape, multiple=stride, minimum=stride)

    def norm_relu(x: Tensor, name: str) -> Tensor:
        x = normalised(x, norm, groups=groups, name=f"{name}_norm")
        return layers.Activation("relu", name=f"{name}_relu")(x)

    def residual_blocks(x: Tensor, count: int, name: str) -> Tensor:
        for block in range(count):
            shortcut = x
            for index in range(2):
                x = norm_relu(x, f"{name}_{block}_{index}")
                x = centred_conv(x, x.shape[-1], use_bias=False, name=f"{name}_{block}_{index}_conv")
            x = add([shortcut, x], name=f"{name}_{block}_add")
        return x

    x = inputs = keras.Input(input_shape, name="image")
    x = centred_conv(x, filters, use_bias=False, name="stem_conv")
    if dropout:
        x = CHANNEL_DROPOUT[spatial_dims(x)](dropout, name="stem_dropout")(x)
    skips = []
    for level, blocks in enumerate(encoder_blocks):
        if level:
            x = centred_conv(x, filters * 2**level, strides=2, use_bias=False, name=f"encoder{level}_down")
        x = residual_blocks(x, blocks, f"encoder{level}")
        skips.append(x)
    for level, blocks in zip(reversed(range(len(decoder_blocks))), decoder_blocks, strict=True):
        width = filters * 2**level
        x = centred_conv(x, width, 1, use_bias=False, name=f"decoder{level}_conv")
        if up == "transpose":
            x = transposed(x, width, name=f"decoder{level}_up")
        else:
            x = linear_upsample(x, name=f"decoder{level}_up")
        x = add([x, skips[level]], name=f"decoder{level}_add")
        x = residual_blocks(x, blocks, f"decoder{level}")
    return keras.Model(inputs, segmentation_head(norm_relu(x, "head"), num_classes, activation), name="segresnet")
