"""U^2-Net: a U-Net whose every stage is a small U-Net."""

from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, add, concat, conv, linear_upsample, max_pool, norm_act
from .checks import check_choice, check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model

# Filters of the stages' outputs and inside of them, finest first.
SIZES = {
    "full": ((64, 128, 256, 512, 512, 512), (32, 32, 64, 128, 256, 256)),
    "small": ((64,) * 6, (16,) * 6),
}


@register_model
def u2net(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    size: str = "full",
    filters: Sequence[int] | None = None,
    inner_filters: Sequence[int] | None = None,
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a U^2-Net: every stage sees its whole surroundings at its own resolution, and every level has a head.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (number of levels - 1)`.
        num_classes: Number of output channels.
        size: `"full"`, or `"small"`: the paper's two networks.
        filters: Filters of the stages' outputs per level, finest first, at least three; by default those of `size`.
        inner_filters: Filters inside the stages per level; by default those of `size`.
        deep_supervision: Returns the heads of the levels, too. The outputs are then a dict, all of the image's size:
            `mask`, which is fused from the others, and `aux1` of the finest level, `aux2`, ...
        activation: Activation of the heads; `None` gives logits.

    Raises:
        OptionError: A spatial size or an option is not among those allowed.

    Source: Qin et al., "U^2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
    Recognition 2020, and its published code.
    """
    check_choice("size", size, SIZES)
    filters = SIZES[size][0] if filters is None else filters
    inner_filters = SIZES[size][1] if inner_filters is None else inner_filters
    check_filters(filters)
    check_filters(inner_filters, "inner_filters")
    levels = len(filters)
    if levels < 3:
        raise OptionError("filters", "at least 3 levels", filters)
    if len(inner_filters) != levels:
        raise OptionError("inner_filters", f"{levels} numbers, one per level", inner_filters)
    check_input_shape("u2net", input_shape, multiple=2 ** (levels - 1), minimum=2 ** (levels - 1))

    def stage(x: Tensor, level: int, inner: int, width: int, name: str) -> Tensor:
        if level >= levels - 2:
            return _dilated_stage(x, inner, width, name=name)
        return _stage(x, levels + 1 - level, inner, width, name=name)

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = stage(x, level, inner_filters[level], width, f"encoder{level}")
        skips.append(x)
    ends = [x]
    for level in reversed(range(levels - 1)):
        x = linear_upsample(x, name=f"decoder{level}_up")
        x = concat([x, skips[level]], name=f"decoder{level}_concat")
        width, inner = filters[max(level - 1, 0)], inner_filters[level]
        x = stage(x, level, inner if level else max(width // 4, 1), width, f"decoder{level}")
        ends.append(x)
    sides = []
    for level, x in enumerate(reversed(ends)):
        side = segmentation_head(x, num_classes, kernel_size=3, name=f"side{level}")
        sides.append(linear_upsample(side, 2**level, dtype="float32", name=f"side{level}_up") if level else side)
    fused = layers.Concatenate(dtype="float32", name="sides")(sides)
    mask = segmentation_head(fused, num_classes, activation)
    if not deep_supervision:
        return keras.Model(inputs, mask, name="u2net")
    outputs = {
        f"aux{level}": layers.Activation(activation, dtype="float32", name=f"aux{level}")(side)
        for level, side in enumerate(sides, start=1)
    }
    return keras.Model(inputs, {"mask": mask, **outputs}, name="u2net")


def _stage(x: Tensor, depth: int, inner: int, width: int, *, name: str) -> Tensor:
    """A U-Net of `depth` convolutions down and as many up, less one, added to its input (RSU in the paper)."""
    x = outer = _conv(x, width, name=f"{name}_in")
    skips = []
    for index in range(1, depth):
        if index > 1:
            x = max_pool(x, name=f"{name}_down{index}_pool")
        x = _conv(x, inner, name=f"{name}_down{index}")
        skips.append(x)
    x = _conv(x, inner, 2, name=f"{name}_bottom")
    for index in range(depth - 1, 0, -1):
        x = concat([x, skips[index - 1]], name=f"{name}_up{index}_concat")
        x = _conv(x, inner if index > 1 else width, name=f"{name}_up{index}")
        if index > 1:
            x = linear_upsample(x, name=f"{name}_up{index}_resize")
    return add([outer, x], name=f"{name}_add")


def _dilated_stage(x: Tensor, inner: int, width: int, *, name: str) -> Tensor:
    """The same four deep with dilations instead of pooling, for maps that are small already (RSU-4F in the paper)."""
    x = outer = _conv(x, width, name=f"{name}_in")
    skips = []
    for index, dilation in enumerate((1, 2, 4), start=1):
        x = _conv(x, inner, dilation, name=f"{name}_down{index}")
        skips.append(x)
    x = _conv(x, inner, 8, name=f"{name}_bottom")
    for index, dilation in ((3, 4), (2, 2), (1, 1)):
        x = concat([x, skips[index - 1]], name=f"{name}_up{index}_concat")
        x = _conv(x, inner if index > 1 else width, dilation, name=f"{name}_up{index}")
    return add([outer, x], name=f"{name}_add")


def _conv(x: Tensor, width: int, dilation: int = 1, *, name: str) -> Tensor:
    return norm_act(conv(x, width, dilation_rate=dilation, name=f"{name}_conv"), name=name)
