"""PyTorch's code bases: which wrote a file of weights, and how its networks differ from those of keras.applications."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from maskzoo.errors import WeightsError

from .module_names import (
    MOBILENET_STAGES,
    Naming,
    by_rules,
    convnext,
    densenet,
    efficientnet,
    melas_part,
    mobilenet_v2,
    timm_part,
    torchvision_part,
    transformers_part,
    vgg,
)

logger = logging.getLogger(__name__)

# What checkpoints of whole models, and of trainings, put before an encoder's names.
WRAPPERS = r"(?:(?:module|model|_orig_mod|backbone|encoder|net|convnext|efficientnet|mobilenet_v[12]|resnet)\.)*"
CLASSIFIER = r"(?:head|classifier|fc|pre_logits)\d?\."
PADDING = {
    True: "pad convolutions with strides on both sides, as PyTorch does",
    False: "pad convolutions with strides at the end, as TensorFlow does",
}


@dataclass(frozen=True)
class CodeBase:
    """How a code base names and lays out the networks of one family.

    Attributes:
        title: Its name.
        marker: Pattern of the names of tensors that all its files have, and no others.
        names: Its names of our layers' modules.
        torch_padding: Whether convolutions with strides are padded on both sides; `None` where that is not told from
            the names.
        epsilon: That of its batch normalisations.
        coarse: Pattern of encoders for which it is 0.001 all the same.
        unit_range: Pattern of encoders trained on images from -1 to 1, instead of standardised ones.
        ignored: Pattern of tensors that are no part of the features.
    """

    title: str
    marker: str
    names: Naming
    torch_padding: bool | None = None
    epsilon: float = 1e-5
    coarse: str = "$."
    unit_range: str = "$."
    ignored: str = "$."

    def image_range(self, encoder: str) -> str:
        """Returns the range of the images that its weights of an encoder were trained on, see `published_range`."""
        return "tf" if re.fullmatch(self.unit_range, encoder) else "torch"

    def epsilon_of(self, encoder: str) -> float:
        """Returns the epsilon of an encoder's batch normalisations."""
        return 1e-3 if re.fullmatch(self.coarse, encoder) else self.epsilon


_TIMM_EFFICIENTNET = efficientnet(("conv_stem", "bn1", "conv_head", "bn2"), timm_part)
_TORCHVISION_EFFICIENTNET = efficientnet(
    ("features.0.0", "features.0.1", "features.{top}.0", "features.{top}.1"), torchvision_part
)
_MELAS = efficientnet(("_conv_stem", "_bn0", "_conv_head", "_bn1"), melas_part)
_TRANSFORMERS_EFFICIENTNET = efficientnet(
    ("embeddings.convolution", "embeddings.batchnorm", "encoder.top_conv", "encoder.top_bn"), transformers_part
)
_TIMM_PARTS = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_HUGGING_FACE_PARTS = [
    f"{part}.{kind}" for part in ("expand_1x1", "conv_3x3", "reduce_1x1") for kind in ("convolution", "normalization")
]

# Prefix of the builder in keras.applications -> the code bases whose files are read; longer prefixes first.
CODE_BASES: dict[str, tuple[CodeBase, ...]] = {
    "VGG": (CodeBase("torchvision and timm", r"features\.\d+\.weight", vgg),),
    "DenseNet": (
        CodeBase("torchvision and timm", r"features\.denseblock1\.denselayer1\.conv1\.weight", densenet()),
        CodeBase("torchvision", r"features\.denseblock1\.denselayer1\.conv\.1\.weight", densenet(".")),
    ),
    "ConvNeXt": (
        CodeBase(
            "timm",
            r"stem\.0\.weight",
            convnext(
                ("stem.0", "stem.1"),
                (r"stages.{\1+1}.downsample.0", r"stages.{\1+1}.downsample.1"),
                r"stages.\1.blocks.\2.",
                ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
                "head.norm",
            ),
        ),
        CodeBase(
            "torchvision",
            r"features\.1\.0\.layer_scale",
            convnext(
                ("features.0.0", "features.0.1"),
                (r"features.{2*\1+2}.0", r"features.{2*\1+2}.1"),
                r"features.{2*\1+1}.\2.",
                ("block.0", "block.2", "block.3", "block.5", "layer_scale"),
                "classifier.0",
            ),
        ),
        CodeBase(
            "the authors",
            r"downsample_layers\.0\.0\.weight",
            convnext(
                ("downsample_layers.0.0", "downsample_layers.0.1"),
                (r"downsample_layers.{\1+1}.0", r"downsample_layers.{\1+1}.1"),
                r"stages.\1.\2.",
                ("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
                "norm",
            ),
        ),
        CodeBase(
            "transformers",
            r"embeddings\.patch_embeddings\.weight",
            convnext(
                ("embeddings.patch_embeddings", "embeddings.layernorm"),
                (r"encoder.stages.{\1+1}.downsampling_layer.0", r"encoder.stages.{\1+1}.downsampling_layer.1"),
                r"encoder.stages.\1.layers.\2.",
                ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"),
                "layernorm",
            ),
        ),
    ),
    "MobileNetV2": (
        CodeBase(
            "torchvision",
            r"features\.1\.conv\.0\.0\.weight",
            mobilenet_v2(
                ("features.0.0", "features.0.1"),
                ("features.1.conv.0.0", "features.1.conv.0.1", "features.1.conv.1", "features.1.conv.2"),
                r"features.{\1+1}.conv.",
                ("0.0", "0.1", "1.0", "1.1", "2", "3"),
                ("features.18.0", "features.18.1"),
            ),
            torch_padding=True,
        ),
        CodeBase(
            "timm",
            r"conv_stem\.weight",
            mobilenet_v2(
                ("conv_stem", "bn1"),
                ("blocks.0.0.conv_dw", "blocks.0.0.bn1", "blocks.0.0.conv_pw", "blocks.0.0.bn2"),
                r"blocks.{stage \1}.{place \1}.",
                _TIMM_PARTS,
                ("conv_head", "bn2"),
            ),
            torch_padding=True,
        ),
        CodeBase(
            "transformers",
            r"conv_stem\.first_conv\.convolution\.weight",
            mobilenet_v2(
                ("conv_stem.first_conv.convolution", "conv_stem.first_conv.normalization"),
                [f"conv_stem.{part}" for part in _HUGGING_FACE_PARTS[2:]],
                r"layer.{\1-1}.",
                _HUGGING_FACE_PARTS,
                ("conv_1x1.convolution", "conv_1x1.normalization"),
            ),
            torch_padding=False,
            epsilon=1e-3,
            unit_range=".*",
        ),
    ),
    "MobileNet": (
        CodeBase(
            "timm",
            r"conv_stem\.weight",
            by_rules(
                ("conv1", "conv_stem"),
                ("conv1_bn", "bn1"),
                (r"conv_dw_(\d+)", r"blocks.{stage \1}.{place \1}.conv_dw"),
                (r"conv_dw_(\d+)_bn", r"blocks.{stage \1}.{place \1}.bn1"),
                (r"conv_pw_(\d+)", r"blocks.{stage \1}.{place \1}.conv_pw"),
                (r"conv_pw_(\d+)_bn", r"blocks.{stage \1}.{place \1}.bn2"),
                stages=MOBILENET_STAGES,
                first=1,
            ),
            torch_padding=True,
            unit_range=".*",
        ),
        CodeBase(
            "transformers",
            r"conv_stem\.convolution\.weight",
            by_rules(
                ("conv1", "conv_stem.convolution"),
                ("conv1_bn", "conv_stem.normalization"),
                (r"conv_dw_(\d+)", r"layer.{2*\1-2}.convolution"),
                (r"conv_dw_(\d+)_bn", r"layer.{2*\1-2}.normalization"),
                (r"conv_pw_(\d+)", r"layer.{2*\1-1}.convolution"),
                (r"conv_pw_(\d+)_bn", r"layer.{2*\1-1}.normalization"),
            ),
            torch_padding=False,
            epsilon=1e-3,
            unit_range=".*",
        ),
    ),
    "EfficientNet": (
        CodeBase(
            "torchvision",
            r"features\.1\.0\.block\.0\.0\.weight",
            _TORCHVISION_EFFICIENTNET,
            torch_padding=True,
            coarse=r"efficientnet(_b[567]|v2_\w)_torch",
            unit_range="efficientnetv2_l_torch",
            ignored=r"features\.[789]\.",
        ),
        CodeBase(
            "timm",
            r"conv_stem\.weight",
            _TIMM_EFFICIENTNET,
            coarse=".*(?<!_torch)",
            unit_range="efficientnetv2_[sml]",
            ignored=r"(conv_head|bn2)\.",
        ),
        CodeBase(
            "lukemelas' EfficientNet-PyTorch",
            r"_conv_stem\.weight",
            _MELAS,
            torch_padding=False,
            epsilon=1e-3,
            ignored=r"(_conv_head|_bn1|_fc)\.",
        ),
        CodeBase(
            "transformers",
            r"embeddings\.convolution\.weight",
            _TRANSFORMERS_EFFICIENTNET,
            torch_padding=False,
            epsilon=1e-3,
            ignored=r"encoder\.top_(conv|bn)\.",
        ),
    ),
}

# Encoders whose networks no code base of PyTorch has -> how those that are called alike differ.
OTHER_NETWORKS = {
    r"resnet(18|34)": "normalise and activate after convolutions, not before",
    r"resnet(50|101|152)": "have their strides in 3x3 convolutions, not in 1x1 ones",
    r"resnet\d+v2": "have strides and shortcuts in other places, and no _torch encoder stands for them",
    r"inception\w+": "are not padded, and no _torch encoder stands for them",
}


def refuse_torch_file(encoder: str, path: str | os.PathLike[str]) -> NoReturn:
    """Refuses a file of PyTorch for an encoder whose network no code base of PyTorch has.

    Raises:
        WeightsError: Always; it says what differs, and which encoder is the network of the file.
    """
    differs = next(reason for pattern, reason in OTHER_NETWORKS.items() if re.fullmatch(pattern, encoder))
    other = "" if "_torch" in differs else f": encoder {encoder}_torch is theirs"
    raise WeightsError(
        path, f"a .h5 or .weights.h5 file for {encoder}", f"one of PyTorch, whose networks {differs}{other}"
    )


@dataclass(frozen=True, eq=False)
class TorchFile:
    """The tensors of an encoder in a file of PyTorch.

    Attributes:
        path: The file.
        tensors: Its tensors by name.
        base: The code base that wrote it.
        prefix: What stands before the names of the encoder's tensors; others are of other parts of a model.
    """

    path: str
    tensors: Mapping[str, np.ndarray]
    base: CodeBase
    prefix: str


def code_base_of(
    encoder: str, builder: str, tensors: Iterable[str], path: str | os.PathLike[str], *, torch_padding: bool
) -> tuple[CodeBase, str]:
    """Returns which code base wrote a file of weights of an encoder, and what stands before all names there.

    Args:
        encoder: The encoder.
        builder: Name of the function in `keras.applications`.
        tensors: Names of the tensors in the file.
        path: The file, for messages.
        torch_padding: Whether the encoder pads convolutions with strides on both sides.

    Raises:
        WeightsError: The file is of none of the family's code bases, or of one whose network is another.
    """
    if not any(builder.startswith(prefix) for prefix in CODE_BASES):
        refuse_torch_file(encoder, path)
    names = list(tensors)
    known = next(bases for prefix, bases in CODE_BASES.items() if builder.startswith(prefix))
    for base in known:
        for name in names:
            found = re.fullmatch(f"({WRAPPERS})(?:{base.marker})", name)
            if not found:
                continue
            if base.torch_padding not in (None, torch_padding):
                other = encoder.removesuffix("_torch") if torch_padding else f"{encoder.split('_expanded')[0]}_torch"
                raise WeightsError(
                    path,
                    f"weights of networks that {PADDING[torch_padding]}, for encoder {encoder}",
                    f"those of {base.title}, which {PADDING[not torch_padding]}: encoder {other} does",
                )
            if base.torch_padding is None and builder.startswith("EfficientNet"):
                root = encoder.removesuffix("_torch").removesuffix("_expanded")
                taken, other = ("", f"tf_{root}") if torch_padding else ("tf_", root)
                needed = root if torch_padding else f"{root}_torch"
                logger.info("%s: taken as timm's %s%s; its %s needs encoder %s", path, taken, root, other, needed)
            return base, found[1]
    titles = ", ".join(base.title for base in known)
    raise WeightsError(path, f"weights of {encoder} as {titles} name them", f"others: {', '.join(names[:3])}, ...")
