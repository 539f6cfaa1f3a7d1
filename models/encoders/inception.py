"""InceptionV3 and Inception-ResNet-v2 from segmentation_models, which pads them so that their strides hold."""

import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import keras
from keras import layers, tree

from .. import analysis
from ..blocks import BATCH_NORM_MOMENTUM, Shape, Tensor, TensorShape
from ..checks import check_input_shape
from ..registry import EncoderWeights, register_encoder
from .channels import copy_weights
from .code_bases import refuse_torch_file
from .downloads import downloading
from .keras_files import is_published, load_keras, load_published
from .weights import is_torch_file, published_range

# Name -> function in segmentation_models.backbones and in keras.applications, and the layers that end a stride.
VARIANTS = {
    "inceptionv3": (
        ("inception_v3", "InceptionV3"),
        ("conv3_relu", "conv5_relu", "mixed2", "mixed7", "mixed10"),
    ),
    "inceptionresnetv2": (
        ("inception_resnet_v2", "InceptionResNetV2"),
        ("conv3_relu", "conv5_relu", "block35_10_ac", "block17_20_ac", "conv_7b_ac"),
    ),
}
# Keras's names of layers that were given none, which it numbers over all models of a session; and ours for the first,
# second, ... of a model.
NUMBERED = {
    "conv2d": "conv{}",
    "batch_normalization": "conv{}_bn",
    "activation": "conv{}_relu",
    "max_pooling2d": "max_pool{}",
    "average_pooling2d": "average_pool{}",
    "concatenate": "concat{}",
}


def stable_names(names: Iterable[str]) -> dict[str, str]:
    """Returns new names for the layers of an Inception that were given none: numbered from 1, in order of creation.

    Args:
        names: Names of all layers of one model.
    """
    numbered = []
    for name in names:
        found = re.fullmatch(r"(\w+?)(?:_(\d+))?", name)
        if found and found[1] in NUMBERED:
            numbered.append((int(found[2] or 0), found[1], name))
    count: Counter[str] = Counter()
    renamed = {}
    for _, kind, name in sorted(numbered):
        count[kind] += 1
        renamed[name] = NUMBERED[kind].format(count[kind])
    return renamed


@keras.saving.register_keras_serializable("maskzoo")
class ScaledSum(layers.Layer):
    """Adds a residual branch, scaled: called on `[x, branch]`.

    Args:
        scale: Factor of the branch.
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        x, branch = inputs
        return x + self.scale * branch

    def compute_output_shape(self, input_shape: list[TensorShape]) -> TensorShape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "scale": self.scale}


@analysis.register(ScaledSum)
def _scaled_sum(layer: ScaledSum, axis: int, *tracks: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return analysis.AxisGeometry.united(tracks)


@register_encoder
def inceptionv3(
    input_shape: Shape = (None, None, 3), *, encoder_weights: EncoderWeights = None, freeze_encoder: bool = False
) -> keras.Model:
    """Builds InceptionV3; see `inception` for the arguments.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, as in segmentation-models 1.0.1.
    """
    return inception("inceptionv3", input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder)


@register_encoder
def inceptionresnetv2(
    input_shape: Shape = (None, None, 3), *, encoder_weights: EncoderWeights = None, freeze_encoder: bool = False
) -> keras.Model:
    """Builds Inception-ResNet-v2; see `inception` for the arguments.

    Source: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI
    2017, as in segmentation-models 1.0.1.
    """
    return inception("inceptionresnetv2", input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder)


def inception(
    name: str, input_shape: Shape, *, encoder_weights: EncoderWeights = None, freeze_encoder: bool = False
) -> keras.Model:
    """Builds an Inception with same padding throughout, so that its features lie at strides 2, 4, 8, 16 and 32.

    Args:
        name: `inceptionv3` or `inceptionresnetv2`.
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        encoder_weights: `None`, `"imagenet"` (downloaded), the `.h5` file that this downloads, or a
            `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.

    Raises:
        OptionError: A size or an option is not among those allowed.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    if is_torch_file(encoder_weights):
        refuse_torch_file(name, str(encoder_weights))
    (module, function), features = VARIANTS[name]
    inputs = keras.Input(input_shape, name="image")
    imagenet = encoder_weights == "imagenet" or is_published(encoder_weights)
    x = published_range(inputs, "tf") if imagenet else inputs
    whole = _named_copy(_from_segmentation_models(module, function, input_shape[-1]), x)
    encoder = keras.Model(inputs, [whole.get_layer(layer).output for layer in features], name=name)
    if imagenet:
        weights = "imagenet" if encoder_weights == "imagenet" else None
        with downloading(name) if weights else contextlib.nullcontext():
            published = getattr(keras.applications, function)(include_top=False, weights=weights)
        for layer_name, stable in stable_names(layer.name for layer in published.layers).items():
            published.get_layer(layer_name).name = stable
        if not weights:
            load_published(published, str(encoder_weights), name)
        copy_weights(published, encoder)
    elif encoder_weights is not None:
        load_keras(encoder, encoder_weights, expected='None, "imagenet", or a .h5 or .weights.h5 file')
    encoder.trainable = not freeze_encoder
    return encoder


def _from_segmentation_models(module: str, function: str, channels: int | None) -> keras.Model:
    os.environ.setdefault("SM_FRAMEWORK", "tf.keras")  # the only one that it can import beside Keras 3
    with contextlib.redirect_stdout(io.StringIO()):  # it says which framework it uses
        backbones = import_module(f"segmentation_models.backbones.{module}")
    backend = SimpleNamespace(
        image_data_format=lambda: "channels_last",
        is_keras_tensor=keras.backend.is_keras_tensor,
        int_shape=lambda x: x.shape,
    )
    return getattr(backbones, function)(
        include_top=False,
        weights=None,
        input_tensor=keras.Input((None, None, channels)),
        backend=backend,
        layers=layers,
        models=keras.models,
        utils=keras.utils,
    )


def _named_copy(model: keras.Model, image: Tensor) -> keras.Model:
    """Returns a copy of a model on another input whose layers are all named, and none of them a `Lambda`."""
    names = stable_names(layer.name for layer in model.layers)

    def copied(layer: layers.Layer) -> layers.Layer:
        name = names.get(layer.name, layer.name)
        if isinstance(layer, layers.Lambda):
            return ScaledSum(layer.arguments["scale"], name=name)
        config = layer.get_config() | {"name": name}
        if isinstance(layer, layers.BatchNormalization):
            config["momentum"] = BATCH_NORM_MOMENTUM
        return type(layer).from_config(config)

    inputs = tree.map_structure(lambda _: image, model.input)
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=copied)
