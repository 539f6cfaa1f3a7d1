"""The encoders of keras.applications: ResNet, VGG, DenseNet, MobileNet, EfficientNet, ConvNeXt."""

import inspect
import re
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from .. import analysis
from ..blocks import BATCH_NORM_MOMENTUM, Shape, Tensor
from ..checks import check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .addresses import download
from .channels import copy_weights, reverse_channels
from .code_bases import CLASSIFIER, TorchFile, code_base_of
from .downloads import downloading
from .keras_files import is_published, load_keras, load_published
from .torch_padding import with_torch_padding
from .weights import PICKLED, assign_tensors, is_torch_file, published_range, read_tensors, weighted_layers

# For each family, patterns of the layers that end a stride: the output of the last one that matches, or the input of
# one that downsamples.
_RESNET = ("conv1_relu", r"conv2_block\d+_out", r"conv3_block\d+_out", r"conv4_block\d+_out", r"conv5_block\d+_out")
_RESNET_V2 = ("conv1_conv", *(rf"conv{stage}_block\d+_preact_relu" for stage in (2, 3, 4)), "post_relu")
_VGG = (*(rf"block{stage}_conv\d" for stage in (2, 3, 4, 5)), "block5_pool")
_DENSENET = ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu")
_MOBILENET = tuple(f"conv_pw_{block}_relu" for block in (1, 3, 5, 11, 13))
_MOBILENET_V2 = ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu")
_EFFICIENTNET = tuple(rf"block{stage}[a-z]+_(add|project_bn)" for stage in (1, 2, 3, 5, 7))
_EFFICIENTNET_V2_SMALL = tuple(rf"block{stage}[a-z]+_(add|project_bn|project_activation)" for stage in (1, 2, 3, 5, 6))
_EFFICIENTNET_V2 = (*_EFFICIENTNET_V2_SMALL[:-1], r"block7[a-z]+_(add|project_bn)")
# The same networks with features where segmentation_models takes them, after the expansion of a stage's first block.
_MOBILENET_V2_EXPANDED = (*(f"block_{block}_expand_relu" for block in (1, 3, 6, 13)), "out_relu")
_EFFICIENTNET_EXPANDED = (*(f"block{stage}a_expand_activation" for stage in (2, 3, 4, 6)), "top_activation")
_CONVNEXT = (*(rf"\w+_downsampling_block_{stage}" for stage in (0, 1, 2)), r"\w+_layer_normalization_\d+")

# Name -> builder of keras.applications, patterns, and the range of images that its ImageNet weights were trained on.
APPLICATIONS = {
    "resnet50": ("ResNet50", _RESNET, "caffe"),
    "resnet101": ("ResNet101", _RESNET, "caffe"),
    "resnet152": ("ResNet152", _RESNET, "caffe"),
    "resnet50v2": ("ResNet50V2", _RESNET_V2, "tf"),
    "resnet101v2": ("ResNet101V2", _RESNET_V2, "tf"),
    "resnet152v2": ("ResNet152V2", _RESNET_V2, "tf"),
    "vgg16": ("VGG16", _VGG, "caffe"),
    "vgg19": ("VGG19", _VGG, "caffe"),
    "densenet121": ("DenseNet121", _DENSENET, "torch"),
    "densenet169": ("DenseNet169", _DENSENET, "torch"),
    "densenet201": ("DenseNet201", _DENSENET, "torch"),
    "mobilenet": ("MobileNet", _MOBILENET, "tf"),
    "mobilenetv2": ("MobileNetV2", _MOBILENET_V2, "tf"),
    "mobilenetv2_expanded": ("MobileNetV2", _MOBILENET_V2_EXPANDED, "tf"),
    **{f"efficientnet_b{size}": (f"EfficientNetB{size}", _EFFICIENTNET, "torch") for size in range(8)},
    **{
        f"efficientnet_b{size}_expanded": (f"EfficientNetB{size}", _EFFICIENTNET_EXPANDED, "torch") for size in range(8)
    },
    **{f"efficientnetv2_b{size}": (f"EfficientNetV2B{size}", _EFFICIENTNET_V2_SMALL, "torch") for size in range(4)},
    "efficientnetv2_s": ("EfficientNetV2S", _EFFICIENTNET_V2_SMALL, "tf"),
    "efficientnetv2_m": ("EfficientNetV2M", _EFFICIENTNET_V2, "tf"),
    "efficientnetv2_l": ("EfficientNetV2L", _EFFICIENTNET_V2, "tf"),
    "convnext_tiny": ("ConvNeXtTiny", _CONVNEXT, "torch"),
    "convnext_small": ("ConvNeXtSmall", _CONVNEXT, "torch"),
    "convnext_base": ("ConvNeXtBase", _CONVNEXT, "torch"),
    "convnext_large": ("ConvNeXtLarge", _CONVNEXT, "torch"),
}

# Those that PyTorch's code bases pad on both sides: the same networks so padded are called NAME_torch.
TORCH_PADDED = (
    "mobilenet",
    "mobilenetv2",
    *(f"efficientnet_b{size}" for size in range(8)),
    *(f"efficientnetv2_{size}" for size in "sml"),
)


def application(
    input_shape: Shape,
    builder: str,
    patterns: Sequence[str],
    image_range: str,
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    torch_padding: bool = False,
    name: str,
) -> keras.Model:
    """Builds an encoder from keras.applications, without the preprocessing layers that some of its models begin with.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        builder: Name of the function in `keras.applications`.
        patterns: See `APPLICATIONS`.
        image_range: See `published_range`.
        encoder_weights: `None`, `"imagenet"` (downloaded), the `.h5` file that this downloads, a `.weights.h5` file of
            this encoder, or a `.safetensors`, `.pth`, `.pt` or `.bin` file of one of `CODE_BASES`.
        freeze_encoder: Whether training leaves the encoder as it is.
        torch_padding: Pads convolutions with strides on both sides, as PyTorch does, instead of at the end; then
            `"imagenet"` stands for the weights of torchvision.
        name: Name of the model.

    Returns:
        A model with feature maps at strides 2, 4, 8, 16 and 32 (ConvNeXt: from 4).

    Source: keras.applications, which names the papers.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    inputs = keras.Input(input_shape, name="image")
    if torch_padding and encoder_weights == "imagenet":
        encoder_weights = download(name)
    file = None
    if is_torch_file(encoder_weights):
        path = str(encoder_weights)
        tensors = read_tensors(path)
        file = TorchFile(path, tensors, *code_base_of(name, builder, tensors, path, torch_padding=torch_padding))
        image_range = file.base.image_range(name)
    published = encoder_weights == "imagenet" or is_published(encoder_weights)
    x = published_range(inputs, image_range) if published or file else inputs
    if torch_padding:
        whole = with_torch_padding(_instantiate(builder, keras.Input(input_shape), None), x)
    else:
        whole = _instantiate(builder, x, None)
    encoder = keras.Model(inputs, [_last(whole, pattern) for pattern in patterns], name=name)
    if file:
        load_torch_file(encoder, file)
    elif published and not torch_padding:
        if encoder_weights == "imagenet":
            with downloading(name):
                source = _instantiate(builder, keras.Input((None, None, 3)), "imagenet")
        else:
            source = _instantiate(builder, keras.Input((None, None, 3)), None)
            load_published(source, str(encoder_weights), name)
        copy_weights(source, encoder)
        if image_range == "caffe":
            reverse_channels(encoder)
    elif encoder_weights is not None:
        files = f".safetensors, {', '.join(PICKLED)} or .weights.h5" if torch_padding else ".h5 or .weights.h5"
        load_keras(encoder, encoder_weights, expected=f'None, "imagenet", or a {files} file')
    encoder.trainable = not freeze_encoder
    return encoder


def load_torch_file(encoder: keras.Model, file: TorchFile) -> None:
    """Loads the tensors of a file of PyTorch, and takes over the epsilon of its normalisations.

    Args:
        encoder: The encoder.
        file: The file.

    Raises:
        WeightsError: A tensor is missing, superfluous or wrongly shaped; the message names it.
    """
    base, tensors = file.base, file.tensors
    own = {name.removeprefix(file.prefix): tensor for name, tensor in tensors.items() if name.startswith(file.prefix)}
    names = base.names([layer.name for layer in weighted_layers(encoder)])
    modules = tuple(names.values())
    used = {
        name: tensor
        for name, tensor in own.items()
        if name.rpartition(".")[0] in modules or not re.match(f"{CLASSIFIER}|{base.ignored}", name)
    }
    assign_tensors(encoder, file.path, used, names, told={id(tensor): name for name, tensor in tensors.items()})
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = base.epsilon_of(encoder.name)


def _instantiate(builder: str, image: Tensor, weights: str | None) -> keras.Model:
    function = getattr(keras.applications, builder)
    options = (
        {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(function).parameters else {}
    )
    with warnings.catch_warnings():
        # MobileNet warns that weights made at 224 are loaded for other sizes.
        warnings.simplefilter("ignore", UserWarning)
        model = function(include_top=False, weights=weights, input_tensor=image, **options)
    if any(layer.name.startswith("rescaling") for layer in model.layers):
        published, model = model, _without_preprocessing(model, image)
        if weights:
            copy_weights(published, model)
    unnamed = [operation for operation in model.operations if _is_unnamed(operation)]
    for index, operation in enumerate(unnamed):
        operation.name = f"{builder.lower()}_{_snake(operation)}_{index}"
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        if type(layer).__name__ == "LayerScale":
            analysis.register(type(layer))(lambda layer, axis, x: x)
    return model


def _without_preprocessing(model: keras.Model, image: Tensor) -> keras.Model:
    def call(layer: keras.layers.Layer, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if layer.name.startswith(("rescaling", "normalization")) else layer(x, *args, **kwargs)

    return keras.models.clone_model(model, input_tensors=[image], call_function=call)


def _is_unnamed(operation: keras.Operation) -> bool:
    counted = re.fullmatch(rf"{_snake(operation)}(_\d+)?", operation.name)
    return bool(counted) and not isinstance(operation, keras.layers.InputLayer)


def _snake(operation: keras.Operation) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", type(operation).__name__).lower()


def _last(model: keras.Model, pattern: str) -> Tensor:
    found = [layer for layer in model.layers if re.fullmatch(pattern, layer.name)][-1]
    return found.input if "downsampling" in found.name else found.output


def _variant(
    name: str, application_name: str, patterns: Sequence[str], image_range: str, torch_padding: bool = False
) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3), *, encoder_weights: EncoderWeights = None, freeze_encoder: bool = False
    ) -> keras.Model:
        return application(
            input_shape,
            application_name,
            patterns,
            image_range,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            torch_padding=torch_padding,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    padded = ", padded as in PyTorch" if torch_padding else ""
    builder.__doc__ = f"Builds keras.applications' {application_name}{padded}; see `application` for the arguments."
    return register_encoder(builder)


for _name, _sizes in APPLICATIONS.items():
    _variant(_name, *_sizes)
for _name in TORCH_PADDED:
    _variant(f"{_name}_torch", *APPLICATIONS[_name], torch_padding=True)
