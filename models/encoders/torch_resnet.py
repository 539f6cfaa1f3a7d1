"""ResNet 18 to 152 as PyTorch's code bases have them, whose files of weights they take."""

import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers

from ..blocks import BATCH_NORM_MOMENTUM, Shape, Tensor
from ..checks import check_choice, check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .attention import Initializer
from .weights import finish_published

# Blocks per stage, and convolutions per block.
VARIANTS = {
    "resnet18_torch": ((2, 2, 2, 2), 2),
    "resnet34_torch": ((3, 4, 6, 3), 2),
    "resnet50_torch": ((3, 4, 6, 3), 3),
    "resnet101_torch": ((3, 4, 23, 3), 3),
    "resnet152_torch": ((3, 8, 36, 3), 3),
}
# Names in transformers -> those in torchvision and timm.
TRANSFORMERS = (
    (r"embedder\.embedder\.convolution\.", r"conv1."),
    (r"embedder\.embedder\.normalization\.", r"bn1."),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.convolution\.", r"layer<\1>.\2.downsample.0."),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.normalization\.", r"layer<\1>.\2.downsample.1."),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.convolution\.", r"layer<\1>.\2.conv<\3>."),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.normalization\.", r"layer<\1>.\2.bn<\3>."),
)


def torch_resnet(
    input_shape: Shape,
    depths: Sequence[int],
    convolutions: int,
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 32,
    name: str = "torch_resnet",
) -> keras.Model:
    """Builds a ResNet of blocks of two or three convolutions, with the strides in 3x3 convolutions.

    The layers carry the names of torchvision's modules, with `-` for `.`; the images are standardised by the statistics
    of ImageNet, as there.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        depths: Blocks per stage.
        convolutions: Convolutions per block: 2, 3x3 each; or 3, 1x1, 3x3 and 1x1.
        encoder_weights: `None`, `"imagenet"` (those of torchvision, downloaded), a `.safetensors`, `.pth`, `.pt` or
            `.bin` file with the tensors of torchvision, timm or transformers, or a `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 32, or 16 or 8 to dilate the last stage or the last two instead of striding them.
        name: Name of the model.

    Returns:
        A model with five outputs, at strides 2, 4, 8, 16 and 32, none above `output_stride`.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as in torchvision, which moved the
    strides of larger ones to the 3x3 convolutions.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    check_choice(f"output_stride of {name}", output_stride, (8, 16, 32))
    inputs = keras.Input(input_shape, name="image")
    x = _conv_norm(inputs, 64, 7, strides=2, conv="conv1", norm="bn1")
    x = layers.Activation("relu", name="relu")(x)
    features = [x]
    # Zeros are no less than what follows an activation.
    x = layers.ZeroPadding2D(1, name="maxpool-pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="maxpool")(x)
    for stage, depth in enumerate(depths, start=1):
        before, dilation = (max(2**level // output_stride, 1) for level in (stage, stage + 1))
        for index in range(depth):
            stride = 2 if index == 0 and stage > 1 and dilation == 1 else 1
            # As torchvision dilates: the first block keeps the dilation of the stage before.
            x = _block(
                x, 32 * 2**stage, convolutions, stride, dilation if index else before, name=f"layer{stage}-{index}"
            )
        features.append(x)
    return finish_published(
        keras.Model(inputs, features, name=name),
        encoder_weights,
        freeze_encoder,
        prefix=r"(?:(?:module|model|_orig_mod|backbone|encoder|resnet)\.)*",
        ignored=r"(head|fc|classifier)\.",
        renamed=torchvision_names,
    )


def _block(x: Tensor, width: int, convolutions: int, stride: int, dilation: int, *, name: str) -> Tensor:
    out = width * (4 if convolutions == 3 else 1)
    shortcut = x
    if stride > 1 or x.shape[-1] != out:
        shortcut = _conv_norm(x, out, 1, strides=stride, conv=f"{name}-downsample-0", norm=f"{name}-downsample-1")
    kernels = (3, 3) if convolutions == 2 else (1, 3, 1)
    strided = kernels.index(3)
    for number, kernel in enumerate(kernels, start=1):
        last = number == convolutions
        x = _conv_norm(
            x,
            out if last else width,
            kernel,
            strides=stride if number - 1 == strided else 1,
            dilation=dilation if kernel == 3 else 1,
            conv=f"{name}-conv{number}",
            norm=f"{name}-bn{number}",
        )
        if not last:
            x = layers.Activation("relu", name=f"{name}-relu{number}")(x)
    x = layers.Add(name=f"{name}-add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}-relu")(x)


def _conv_norm(
    x: Tensor, width: int, kernel: int, *, strides: int = 1, dilation: int = 1, conv: str, norm: str
) -> Tensor:
    fan_out: Initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    if kernel > 1:
        x = layers.ZeroPadding2D(dilation * (kernel // 2), name=f"{conv}-pad")(x)
    x = layers.Conv2D(
        width,
        kernel,
        strides=strides,
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer=fan_out,
        name=conv,
    )(x)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=1e-5, name=norm)(x)


def torchvision_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors of a ResNet of transformers under the names of torchvision; others as they are."""
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        own = name.removeprefix("resnet.")
        for pattern, new in TRANSFORMERS:
            if re.match(pattern, own):
                name = re.sub(r"<(\d)>", lambda number: str(int(number[1]) + 1), re.sub(f"^{pattern}", new, own))
                break
        found[name] = tensor
    return found


def _variant(name: str, depths: Sequence[int], convolutions: int) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        output_stride: int = 32,
    ) -> keras.Model:
        return torch_resnet(
            input_shape,
            depths,
            convolutions,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            output_stride=output_stride,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    builder.__doc__ = f"Builds torchvision's ResNet-{name[6:-6]}; see `torch_resnet` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
