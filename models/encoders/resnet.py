"""ResNet 18 and 34 in the pre-activation layout of segmentation-models, whose ImageNet weights they take."""

from collections.abc import Sequence

import keras
from keras import layers

from ..blocks import BATCH_NORM_MOMENTUM, Shape, Tensor
from ..checks import check_choice, check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .channels import copy_weights
from .code_bases import refuse_torch_file
from .downloads import downloading
from .keras_files import is_published, load_keras, load_published
from .weights import is_torch_file, published_range

# Blocks per stage, and the published weights with their MD5 sum.
RELEASE = "https://github.com/qubvel/classification_models/releases/download/0.0.1"
VARIANTS = {
    "resnet18": ((2, 2, 2, 2), "318e3ac0cd98d51e917526c9f62f0b50"),
    "resnet34": ((3, 4, 6, 3), "8caaa0ad39d927cb8ba5385bf945d582"),
}


def resnet(
    input_shape: Shape,
    depths: Sequence[int],
    checksum: str,
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 32,
    name: str = "resnet",
) -> keras.Model:
    """Builds a ResNet of two-convolution blocks, normalised and activated before each convolution.

    Layers are laid out and named as in segmentation-models 1.0.1, with a normalisation on the image itself, so that
    its ImageNet weights fit, on every backend and without that library.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        depths: Blocks per stage.
        checksum: MD5 sum of the published ImageNet weights.
        encoder_weights: `None`, `"imagenet"` (downloaded), the `.h5` file that this downloads, or a
            `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 32, or 16 or 8 to dilate the last stage or the last two instead of striding them.
        name: Name of the model.

    Returns:
        A model with five outputs, at strides 2, 4, 8, 16 and 32, none above `output_stride`.

    Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; segmentation-models 1.0.1.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    check_choice(f"output_stride of {name}", output_stride, (8, 16, 32))
    inputs = keras.Input(input_shape, name="image")
    if is_torch_file(encoder_weights):
        refuse_torch_file(name, str(encoder_weights))
    imagenet = encoder_weights == "imagenet" or is_published(encoder_weights)
    x = published_range(inputs, "raw") if imagenet else inputs
    encoder = keras.Model(inputs, _features(x, depths, output_stride), name=name)
    if imagenet:
        image = keras.Input((None, None, 3))
        published = keras.Model(image, _features(image, depths, 32))
        path = encoder_weights
        if encoder_weights == "imagenet":
            url = f"{RELEASE}/{name}_imagenet_1000_no_top.h5"
            with downloading(name):
                path = keras.utils.get_file(origin=url, cache_subdir="models", file_hash=checksum)
        load_published(published, str(path), name)
        copy_weights(published, encoder)
    elif encoder_weights is not None:
        load_keras(encoder, encoder_weights, expected='None, "imagenet", or a .h5 or .weights.h5 file')
    encoder.trainable = not freeze_encoder
    return encoder


def _features(x: Tensor, depths: Sequence[int], output_stride: int) -> list[Tensor]:
    x = _norm(x, scale=False, name="bn_data")
    x = _conv(x, 64, 7, strides=2, name="conv0")
    x = _norm_relu(x, norm="bn0", relu="relu0")
    features = [x]
    x = layers.ZeroPadding2D(1, name="pooling0_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pooling0")(x)
    for stage, depth in enumerate(depths, start=1):
        width = 64 * 2 ** (stage - 1)
        dilation = max(2 ** (stage + 1) // output_stride, 1)
        for unit in range(1, depth + 1):
            stride = 2 if unit == 1 < stage and dilation == 1 else 1
            x, activated = _unit(x, width, stride, dilation, project=unit == 1, name=f"stage{stage}_unit{unit}")
            if unit == 1 < stage:
                features.append(activated)
    return [*features, _norm_relu(x, norm="bn1", relu="relu1")]


def _unit(x: Tensor, width: int, stride: int, dilation: int, *, project: bool, name: str) -> tuple[Tensor, Tensor]:
    """Returns a residual unit's output, and the activated input that the previous stage ends with."""
    activated = _norm_relu(x, norm=f"{name}_bn1", relu=f"{name}_relu1")
    shortcut = _conv(activated, width, 1, strides=stride, name=f"{name}_sc") if project else x
    x = _conv(activated, width, 3, strides=stride, dilation=dilation, name=f"{name}_conv1")
    x = _norm_relu(x, norm=f"{name}_bn2", relu=f"{name}_relu2")
    x = _conv(x, width, 3, dilation=dilation, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, shortcut]), activated


def _conv(x: Tensor, width: int, kernel: int, *, strides: int = 1, dilation: int = 1, name: str) -> Tensor:
    if kernel > 1:
        x = layers.ZeroPadding2D(dilation * (kernel // 2), name=f"{name}_pad")(x)
    return layers.Conv2D(
        width,
        kernel,
        strides=strides,
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer="he_uniform",
        name=name,
    )(x)


def _norm_relu(x: Tensor, *, norm: str, relu: str) -> Tensor:
    return layers.Activation("relu", name=relu)(_norm(x, name=norm))


def _norm(x: Tensor, *, scale: bool = True, name: str) -> Tensor:
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=2e-5, scale=scale, name=name)(x)


def _variant(name: str, depths: Sequence[int], checksum: str) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        output_stride: int = 32,
    ) -> keras.Model:
        return resnet(
            input_shape,
            depths,
            checksum,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            output_stride=output_stride,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    builder.__doc__ = f"Builds ResNet-{name[6:]}; see `resnet` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
