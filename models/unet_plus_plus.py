"""U-Net++: nested U-Nets that share their encoder, and pruning to a shallower one."""

from collections.abc import Sequence

import keras

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, concat, conv_block, linear_upsample, max_pool, transposed
from .checks import check_choice, check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model
from .squeeze_excitation import ATTENTION, attend


@register_model
def unet_plus_plus(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (32, 64, 128, 256, 512),
    up: str = "transpose",
    attention: str | None = None,
    batch_norm: bool = True,
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a U-Net++: between encoder and decoder every level has a row of nodes, each fed by all nodes before it.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        up: `"transpose"` (transposed convolution 2x2), or `"linear"` (interpolation, nothing to learn).
        attention: `"scse"` weighs the input and the output of every node behind the encoder by channel and position.
        batch_norm: Normalises after every convolution.
        deep_supervision: Gives every node of the finest row a head. The outputs are then a dict, all of the image's
            size: `aux1` of the shallowest U-Net, `aux2`, ..., and `mask` of the deepest.
        activation: Activation of the heads; `None` gives logits.

    Raises:
        OptionError: A spatial size, `up` or `attention` is not among those allowed.

    Source: Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture", DLMIA 2018.
    """
    check_filters(filters)
    check_choice("up", up, ("transpose", "linear"))
    check_choice("attention", attention, ATTENTION)
    stride = 2 ** (len(filters) - 1)
    check_input_shape("unet_plus_plus", input_shape, multiple=stride, minimum=stride)

    def node(x: Tensor, row: int, column: int) -> Tensor:
        for index in range(2):
            x = conv_block(x, filters[row], batch_norm=batch_norm, name=f"node{row}_{column}_{index}")
        return x

    x = inputs = keras.Input(input_shape, name="image")
    rows = []
    for row in range(len(filters)):
        if row:
            x = max_pool(x, name=f"node{row}_0_pool")
        x = node(x, row, 0)
        rows.append([x])
    for column in range(1, len(filters)):
        for row in range(len(filters) - column):
            name = f"node{row}_{column}"
            below = rows[row + 1][column - 1]
            if up == "transpose":
                x = transposed(below, filters[row], name=f"{name}_up")
            else:
                x = linear_upsample(below, name=f"{name}_up")
            x = concat([*rows[row], x], name=f"{name}_concat")
            x = node(attend(x, attention, name=f"{name}_in"), row, column)
            rows[row].append(attend(x, attention, name=f"{name}_out"))
    mask = segmentation_head(rows[0][-1], num_classes, activation)
    if not deep_supervision:
        return keras.Model(inputs, mask, name="unet_plus_plus")
    outputs = {f"aux{depth}": x for depth, x in enumerate(rows[0][:-1]) if depth}
    outputs = {name: segmentation_head(x, num_classes, activation, name=name) for name, x in outputs.items()}
    return keras.Model(inputs, {**outputs, "mask": mask}, name="unet_plus_plus")


def prune(model: keras.Model, depth: int) -> keras.Model:
    """Cuts a U-Net++ down to the nested U-Net of a smaller depth, for faster prediction with the same weights.

    Args:
        model: A `unet_plus_plus` that was built, and trained, with `deep_supervision=True`.
        depth: Number of times that the remaining U-Net halves the resolution: 1 for the output `aux1`, and so on.

    Returns:
        A model with the single output `aux{depth}`; it shares its layers with `model`.

    Raises:
        OptionError: The model has no head at this depth.
    """
    depths = [int(name.removeprefix("aux")) for name in model.output_names if name.startswith("aux")]
    if depth not in depths:
        expected = f"one of {', '.join(map(str, depths))}" if depths else "a model with deep supervision"
        raise OptionError(f"depth to prune {model.name} to", expected, depth)
    return keras.Model(model.input, model.get_layer(f"aux{depth}").output, name=model.name)
