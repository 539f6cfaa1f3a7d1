"""U-Net 3+: full-scale skips."""

from collections.abc import Sequence

import keras

from .blocks import Shape, concat, conv_block, linear_upsample, max_pool
from .checks import check_filters, check_input_shape
from .heads import auxiliary_head, segmentation_head
from .registry import register_model


@register_model
def unet_3plus(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    branch_filters: int = 64,
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a U-Net 3+: every decoder level sees all finer encoder levels and all coarser decoder levels at once.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per level of the encoder, finest first.
        branch_filters: Filters that each of the levels contributes to a decoder level.
        deep_supervision: Gives every coarser decoder level, and the bottom, a head. The outputs are then a dict, all
            enlarged to the image's size: `mask` of the finest level, `aux1`, `aux2`, ... of the coarser ones.
        activation: Activation of the heads; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed.

    Source: Huang et al., "UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation", ICASSP 2020, without
    its classification-guided module.
    """
    check_filters(filters)
    levels = len(filters)
    stride = 2 ** (levels - 1)
    check_input_shape("unet_3plus", input_shape, multiple=stride, minimum=stride)
    x = inputs = keras.Input(input_shape, name="image")
    encoder = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        for index in range(2):
            x = conv_block(x, width, name=f"encoder{level}_{index}")
        encoder.append(x)
    decoder = {levels - 1: x}
    for level in reversed(range(levels - 1)):
        branches = []
        for source in range(levels):
            name = f"decoder{level}_from{source}"
            x = encoder[source] if source <= level else decoder[source]
            if source < level:
                x = max_pool(x, 2 ** (level - source), name=f"{name}_pool")
            elif source > level:
                x = linear_upsample(x, 2 ** (source - level), name=f"{name}_up")
            branches.append(conv_block(x, branch_filters, name=name))
        x = concat(branches, name=f"decoder{level}_concat")
        decoder[level] = conv_block(x, levels * branch_filters, name=f"decoder{level}")
    mask = segmentation_head(decoder[0], num_classes, activation, kernel_size=3)
    if not deep_supervision:
        return keras.Model(inputs, mask, name="unet_3plus")
    outputs = {
        f"aux{level}": auxiliary_head(
            decoder[level], num_classes, activation, kernel_size=3, factor=2**level, name=f"aux{level}"
        )
        for level in range(1, levels)
    }
    return keras.Model(inputs, {"mask": mask, **outputs}, name="unet_3plus")
