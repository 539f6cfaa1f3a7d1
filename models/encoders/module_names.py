"""What PyTorch's code bases call the layers of the networks of keras.applications."""

import re
from collections.abc import Callable, Sequence

# From the names of a network's layers, in the order of its graph, to the names of the modules in a file; layers that
# a code base does not have are left out.
Naming = Callable[[Sequence[str]], dict[str, str]]

# Blocks per stage.
MOBILENET_STAGES = (1, 2, 2, 6, 2)
MOBILENET_V2_STAGES = (1, 2, 3, 4, 3, 3, 1)


def by_rules(*rules: tuple[str, str], stages: Sequence[int] = (), first: int = 0) -> Naming:
    """Returns a naming by patterns of the whole names of layers and what these become.

    What they become may hold groups of the pattern, sums of one and a number as `{\\1+2}`, and, where blocks are
    numbered through, the stage of a block and its place there as `{stage \\1}` and `{place \\1}`.

    Args:
        rules: The patterns, of which the first that fits holds.
        stages: Blocks per stage.
        first: Number of the first block.
    """
    places = [(stage, place) for stage, count in enumerate(stages) for place in range(count)]

    def number(found: re.Match[str]) -> str:
        if found["word"]:
            return str(places[int(found["number"]) - first][found["word"] == "place"])
        return str(int(found["number"]) * int(found["times"] or 1) + int(found["more"] or 0))

    def names(layers: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for layer in layers:
            new = next((match.expand(new) for old, new in rules if (match := re.fullmatch(old, layer))), None)
            if new is not None:
                found[layer] = re.sub(
                    r"\{(?:(?P<times>\d+)\*|(?P<word>stage|place) )?(?P<number>\d+)(?P<more>[+-]\d+)?\}", number, new
                )
        return found

    return names


def vgg(layers: Sequence[str]) -> dict[str, str]:
    """VGG in torchvision and timm, which count convolutions, activations and pooling together."""
    found: dict[str, str] = {}
    index, block = 0, "1"
    for layer in layers:
        parts = re.fullmatch(r"block(\d)_conv\d", layer)
        if parts:
            index += parts[1] != block  # the pooling before it
            found[layer], block = f"features.{index}", parts[1]
            index += 2  # an activation follows
    return found


def densenet(dot: str = "") -> Naming:
    """DenseNet in torchvision and timm; files of torchvision before version 0.3 have a dot before some numbers."""
    layer = r"features.denseblock{\1-1}.denselayer\2."
    return by_rules(
        (r"conv1_conv", "features.conv0"),
        (r"conv1_bn", "features.norm0"),
        (r"conv(\d)_block(\d+)_0_bn", f"{layer}norm{dot}1"),
        (r"conv(\d)_block(\d+)_1_bn", f"{layer}norm{dot}2"),
        (r"conv(\d)_block(\d+)_(\d)_conv", rf"{layer}conv{dot}\3"),
        (r"pool(\d)_bn", r"features.transition{\1-1}.norm"),
        (r"pool(\d)_conv", r"features.transition{\1-1}.conv"),
        (r"bn", "features.norm5"),
    )


def convnext(stem: tuple[str, str], down: tuple[str, str], block: str, parts: Sequence[str], norm: str) -> Naming:
    """ConvNeXt.

    Args:
        stem: Convolution and normalisation of the stem.
        down: Normalisation and convolution between stages; `\\1` is the number of the stage before.
        block: A block; `\\1` is its stage, `\\2` its place there.
        parts: Its depthwise convolution, normalisation, two pointwise convolutions, and scale.
        norm: The normalisation at the end.
    """
    ours = ("depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2", "layer_scale")
    return by_rules(
        (r"\w+_stem_conv", stem[0]),
        (r"\w+_stem_layernorm", stem[1]),
        (r"\w+_downsampling_layernorm_(\d)", down[0]),
        (r"\w+_downsampling_conv_(\d)", down[1]),
        *((rf"\w+_stage_(\d)_block_(\d+)_{our}", block + part) for our, part in zip(ours, parts, strict=True)),
        (r"\w+_layer_normalization_\d+", norm),
    )


def mobilenet_v2(
    stem: tuple[str, str], first: Sequence[str], block: str, parts: Sequence[str], top: tuple[str, str]
) -> Naming:
    """MobileNetV2.

    Args:
        stem: Convolution and normalisation of the stem.
        first: Depthwise convolution, its normalisation, projection, its normalisation of the first block.
        block: One of the others; `\\1` is its number from 1.
        parts: Its expansion, depthwise convolution and projection, each with its normalisation.
        top: The last convolution and its normalisation.
    """
    ours = [part + ending for part in ("expand", "depthwise", "project") for ending in ("", "_BN")]
    return by_rules(
        ("Conv1", stem[0]),
        ("bn_Conv1", stem[1]),
        *((f"expanded_conv_{our}", new) for our, new in zip(ours[2:], first, strict=True)),
        *((rf"block_(\d+)_{our}", block + new) for our, new in zip(ours, parts, strict=True)),
        ("Conv_1", top[0]),
        ("Conv_1_bn", top[1]),
        stages=MOBILENET_V2_STAGES,
    )


def efficientnet(ends: Sequence[str], part_name: Callable[["BlockPart"], str]) -> Naming:
    """EfficientNet, also V2.

    Args:
        ends: Convolution and normalisation of the stem, and those at the end.
        part_name: The name of a part of a block.
    """
    whole = dict(zip(("stem_conv", "stem_bn", "top_conv", "top_bn"), ends, strict=True))

    def names(layers: Sequence[str]) -> dict[str, str]:
        split = {layer: match for layer in layers if (match := re.fullmatch(r"block(\d)([a-z])_(\w+)", layer))}
        blocks: dict[tuple[str, str], list[str]] = {}
        for match in split.values():
            blocks.setdefault((match[1], match[2]), []).append(match[3].replace("dwconv2", "dwconv"))
        found = {layer: new for layer, new in whole.items() if layer in layers}
        last = max((int(stage) for stage, _ in blocks), default=0)
        for layer, (stage, letter, part) in ((layer, match.groups()) for layer, match in split.items()):
            number = list(blocks).index((stage, letter))
            parts = blocks[stage, letter]
            place = ord(letter) - ord("a")
            found[layer] = part_name(BlockPart(part.replace("dwconv2", "dwconv"), parts, int(stage), place, number))
        return {layer: new.replace("{top}", str(last + 1)) for layer, new in found.items()}

    return names


class BlockPart:
    """A layer of a block of EfficientNet.

    Args:
        name: `expand_conv`, `expand_bn`, `dwconv`, `bn`, `se_reduce`, `se_expand`, `project_conv` or `project_bn`.
        block: The parts of its block.
        stage: Its stage, from 1.
        place: The place of its block in the stage, from 0.
        number: The number of its block, from 0.
    """

    def __init__(self, name: str, block: Sequence[str], stage: int, place: int, number: int) -> None:
        self.name, self.stage, self.place, self.number = name, stage, place, number
        self.convolutions = [each for each in ("expand_conv", "dwconv", "project_conv") if each in block]
        self.squeezes = "se_reduce" in block
        behind = {"expand_bn": "expand_conv", "bn": "dwconv", "project_bn": "project_conv"}
        self.is_norm = name in behind
        # Which of the block's convolutions it is, or which it normalises.
        self.index = self.convolutions.index(behind.get(name, name)) if not name.startswith("se_") else -1


def timm_part(part: BlockPart) -> str:
    """The name of a part of a block in timm."""
    block = f"blocks.{part.stage - 1}.{part.place}."
    if part.index < 0:
        return f"{block}se.conv_{part.name[3:]}"
    if part.is_norm:
        return f"{block}bn{part.index + 1}"
    convolutions = {
        ("expand_conv", "dwconv", "project_conv"): ("conv_pw", "conv_dw", "conv_pwl"),
        ("dwconv", "project_conv"): ("conv_dw", "conv_pw"),
        ("expand_conv", "project_conv"): ("conv_exp", "conv_pwl"),
        ("project_conv",): ("conv",),
    }
    return block + convolutions[tuple(part.convolutions)][part.index]


def torchvision_part(part: BlockPart) -> str:
    """The name of a part of a block in torchvision."""
    block = f"features.{part.stage}.{part.place}.block."
    squeeze = len(part.convolutions) - 1  # it is followed by the projection alone
    if part.index < 0:
        return f"{block}{squeeze}.fc{1 if part.name == 'se_reduce' else 2}"
    index = part.index + (part.squeezes and part.index == squeeze)
    return f"{block}{index}.{int(part.is_norm)}"


def melas_part(part: BlockPart) -> str:
    """The name of a part of a block in lukemelas' EfficientNet-PyTorch, which segmentation_models.pytorch uses."""
    names = {"expand_bn": "bn0", "bn": "bn1", "project_bn": "bn2", "dwconv": "depthwise_conv"}
    return f"_blocks.{part.number}._{names.get(part.name, part.name)}"


def transformers_part(part: BlockPart) -> str:
    """The name of a part of a block in transformers."""
    names = {
        "expand_conv": "expansion.expand_conv",
        "expand_bn": "expansion.expand_bn",
        "dwconv": "depthwise_conv.depthwise_conv",
        "bn": "depthwise_conv.depthwise_norm",
        "se_reduce": "squeeze_excite.reduce",
        "se_expand": "squeeze_excite.expand",
        "project_conv": "projection.project_conv",
        "project_bn": "projection.project_bn",
    }
    return f"encoder.blocks.{part.number}.{names[part.name]}"
