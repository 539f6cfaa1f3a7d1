"""What PyTorch's code bases call layers: names in state dicts of torchvision 0.29, timm 1.0.31, transformers 5.24."""

import pytest

from maskzoo.models.encoders.code_bases import CODE_BASES
from maskzoo.models.encoders.module_names import by_rules

# Family, title of the code base -> some of our layers and their modules there.
NAMES = {
    ("VGG", "torchvision and timm"): {
        "block1_conv1": "features.0",
        "block1_conv2": "features.2",
        "block2_conv1": "features.5",
        "block3_conv3": "features.14",
        "block5_conv3": "features.28",
    },
    ("DenseNet", "torchvision and timm"): {
        "conv1_conv": "features.conv0",
        "conv2_block1_0_bn": "features.denseblock1.denselayer1.norm1",
        "conv2_block1_1_conv": "features.denseblock1.denselayer1.conv1",
        "conv5_block16_1_bn": "features.denseblock4.denselayer16.norm2",
        "conv5_block16_2_conv": "features.denseblock4.denselayer16.conv2",
        "pool3_bn": "features.transition2.norm",
        "pool4_conv": "features.transition3.conv",
        "bn": "features.norm5",
    },
    ("DenseNet", "torchvision"): {"conv2_block1_1_bn": "features.denseblock1.denselayer1.norm.2"},
    ("ConvNeXt", "torchvision"): {
        "a_stem_layernorm": "features.0.1",
        "a_downsampling_conv_0": "features.2.1",
        "a_downsampling_layernorm_2": "features.6.0",
        "a_stage_0_block_1_depthwise_conv": "features.1.1.block.0",
        "a_stage_3_block_2_pointwise_conv_2": "features.7.2.block.5",
        "a_stage_3_block_2_layer_scale": "features.7.2.layer_scale",
    },
    ("ConvNeXt", "timm"): {
        "a_stem_conv": "stem.0",
        "a_downsampling_conv_0": "stages.1.downsample.1",
        "a_stage_2_block_8_layernorm": "stages.2.blocks.8.norm",
        "a_stage_2_block_8_layer_scale": "stages.2.blocks.8.gamma",
    },
    ("ConvNeXt", "transformers"): {
        "a_downsampling_layernorm_0": "encoder.stages.1.downsampling_layer.0",
        "a_stage_0_block_0_layer_scale": "encoder.stages.0.layers.0.layer_scale_parameter",
    },
    ("MobileNetV2", "torchvision"): {
        "Conv1": "features.0.0",
        "expanded_conv_project_BN": "features.1.conv.2",
        "block_1_expand_BN": "features.2.conv.0.1",
        "block_16_project": "features.17.conv.2",
        "Conv_1_bn": "features.18.1",
    },
    ("MobileNetV2", "timm"): {
        "expanded_conv_project": "blocks.0.0.conv_pw",
        "block_1_expand": "blocks.1.0.conv_pw",
        "block_3_depthwise": "blocks.2.0.conv_dw",
        "block_16_project_BN": "blocks.6.0.bn3",
        "Conv_1": "conv_head",
    },
    ("MobileNetV2", "transformers"): {
        "expanded_conv_depthwise_BN": "conv_stem.conv_3x3.normalization",
        "block_1_expand": "layer.0.expand_1x1.convolution",
    },
    ("MobileNet", "timm"): {"conv_dw_1": "blocks.0.0.conv_dw", "conv_pw_13_bn": "blocks.4.1.bn2"},
    ("MobileNet", "transformers"): {"conv_dw_1": "layer.0.convolution", "conv_pw_13_bn": "layer.25.normalization"},
    ("EfficientNet", "torchvision"): {
        "stem_bn": "features.0.1",
        "block1a_dwconv": "features.1.0.block.0.0",
        "block1a_se_reduce": "features.1.0.block.1.fc1",
        "block1a_project_bn": "features.1.0.block.2.1",
        "block2b_expand_conv": "features.2.1.block.0.0",
        "block2b_se_expand": "features.2.1.block.2.fc2",
        "block2b_project_conv": "features.2.1.block.3.0",
    },
    ("EfficientNet", "timm"): {
        "block1a_dwconv": "blocks.0.0.conv_dw",
        "block1a_project_conv": "blocks.0.0.conv_pw",
        "block1a_project_bn": "blocks.0.0.bn2",
        "block2b_bn": "blocks.1.1.bn2",
        "block2b_project_conv": "blocks.1.1.conv_pwl",
        "block2b_se_reduce": "blocks.1.1.se.conv_reduce",
    },
    ("EfficientNet", "lukemelas' EfficientNet-PyTorch"): {
        "stem_conv": "_conv_stem",
        "block1a_bn": "_blocks.0._bn1",
        "block2b_expand_bn": "_blocks.2._bn0",
        "block2b_dwconv": "_blocks.2._depthwise_conv",
    },
    ("EfficientNet", "transformers"): {
        "stem_bn": "embeddings.batchnorm",
        "block2b_bn": "encoder.blocks.2.depthwise_conv.depthwise_norm",
    },
}


def layers_of(family):
    """Layers of a network of each family, in order; of EfficientNet those of three blocks."""
    if family == "VGG":
        return [f"block{block}_conv{place}" for block, n in enumerate((2, 2, 3, 3, 3), 1) for place in range(1, n + 1)]
    if family == "EfficientNet":
        first = ("dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn")
        return [
            "stem_conv",
            "stem_bn",
            *(f"block1a_{part}" for part in first),
            *(f"block2{letter}_{part}" for letter in "ab" for part in ("expand_conv", "expand_bn", *first)),
        ]
    return list(dict.fromkeys(name for (known, _), names in NAMES.items() if known == family for name in names))


@pytest.mark.parametrize(("family", "title"), NAMES, ids=str)
def test_layers_have_the_names_of_the_code_base(family, title):
    base = next(base for base in CODE_BASES[family] if base.title == title)
    found = base.names(layers_of(family))
    assert {layer: found[layer] for layer in NAMES[family, title]} == NAMES[family, title]


def test_blocks_of_the_second_efficientnet_have_fewer_parts():
    layers = ["block1a_project_conv", "block1a_project_bn", "block2a_expand_conv", "block2a_expand_bn"]
    layers += ["block2a_project_conv", "block2a_project_bn", "top_conv"]
    torchvision, timm, *_ = CODE_BASES["EfficientNet"]
    names = ["features.1.0.block.0.0", "features.1.0.block.0.1", "features.2.0.block.0.0", "features.2.0.block.0.1"]
    assert list(torchvision.names(layers).values()) == [
        "features.3.0",
        *names,
        "features.2.0.block.1.0",
        "features.2.0.block.1.1",
    ]
    assert [timm.names(layers)[layer] for layer in layers] == [
        *("blocks.0.0.conv", "blocks.0.0.bn1", "blocks.1.0.conv_exp", "blocks.1.0.bn1"),
        *("blocks.1.0.conv_pwl", "blocks.1.0.bn2", "conv_head"),
    ]


def test_rules_count():
    names = by_rules((r"a(\d)_b(\d)", r"x.{\1-1}.{2*\2+1}"), (r"c(\d)", r"{stage \1}.{place \1}"), stages=(1, 2))
    assert names(["a3_b4", "c0", "c2", "other"]) == {"a3_b4": "x.2.9", "c0": "0.0", "c2": "1.1"}
