"""Files of PyTorch's code bases, made by hand, in encoders of keras.applications; test_peers.py has real ones."""

import logging
import re

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from maskzoo import models
from maskzoo.errors import WeightsError
from maskzoo.models.encoders.code_bases import CODE_BASES, code_base_of
from maskzoo.models.encoders.torch_padding import with_torch_padding
from maskzoo.models.encoders.torch_resnet import torch_resnet
from maskzoo.models.encoders.weights import IMAGENET_MEAN, IMAGENET_STD


def mobilenet_tensors(rng):
    """MobileNet of timm, by the shapes of its paper."""
    tensors = {"conv_stem.weight": (32, 3, 3, 3), "classifier.weight": (10, 1024), "classifier.bias": (10,)}
    norms = {"bn1": 32}
    widths = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))
    into = 32
    for stage, out in enumerate(widths):
        for place, width in enumerate(out):
            block = f"blocks.{stage}.{place}."
            tensors |= {f"{block}conv_dw.weight": (into, 1, 3, 3), f"{block}conv_pw.weight": (width, into, 1, 1)}
            norms |= {f"{block}bn1": into, f"{block}bn2": width}
            into = width
    for name, width in norms.items():
        tensors |= {f"{name}.{kind}": (width,) for kind in ("weight", "bias", "running_mean", "running_var")}
    return {
        name: (
            rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        ).astype("float32")
        for name, shape in tensors.items()
    }


@pytest.fixture(scope="module")
def mobilenet():
    return mobilenet_tensors(np.random.default_rng(0))


def correlated(image, kernel, stride, groups):
    """A convolution of PyTorch: padded by half a kernel on both sides; `(channels, height, width)`."""
    half = kernel.shape[-1] // 2
    padded = np.pad(image, [(0, 0), (half, half), (half, half)])
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[-2:], (1, 2))[:, ::stride, ::stride]
    if groups == 1:
        return np.einsum("chwij,ocij->ohw", views, kernel)
    return np.einsum("chwij,cij->chw", views, kernel[:, 0])


def normalised(x, tensors, name):
    weight, bias, mean, variance = (
        tensors[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias", "running_mean", "running_var")
    )
    return np.clip((x - mean) / np.sqrt(variance + 1e-5) * weight + bias, 0, 6)


def test_features_are_those_of_convolutions_padded_on_both_sides(mobilenet, tmp_path):
    save_file(mobilenet, tmp_path / "mobilenet.safetensors")
    encoder = models.build_encoder("mobilenet_torch", (32, 64, 3), encoder_weights=tmp_path / "mobilenet.safetensors")
    image = np.random.default_rng(1).normal(size=(32, 64, 3)).astype("float32")
    x = (2 * (image * np.float32(IMAGENET_STD) + np.float32(IMAGENET_MEAN)) - 1).transpose(2, 0, 1)
    x = normalised(correlated(x, mobilenet["conv_stem.weight"], 2, 1), mobilenet, "bn1")
    for block, stride in (("blocks.0.0.", 1), ("blocks.1.0.", 2)):
        x = correlated(x, mobilenet[f"{block}conv_dw.weight"], stride, 32)
        x = normalised(x, mobilenet, f"{block}bn1")
        x = normalised(correlated(x, mobilenet[f"{block}conv_pw.weight"], 1, 1), mobilenet, f"{block}bn2")
        if stride == 1:
            np.testing.assert_allclose(encoder(image[None])[0][0], x.transpose(1, 2, 0), atol=1e-4)
    halfway = keras.Model(encoder.input, encoder.get_layer("conv_pw_2_relu").output)
    np.testing.assert_allclose(halfway(image[None])[0], x.transpose(1, 2, 0), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 5])
def test_a_grey_image_gives_the_same_features_over_any_number_of_channels(channels, mobilenet, tmp_path):
    path = tmp_path / "mobilenet.safetensors"
    save_file(mobilenet, path)
    grey = np.random.default_rng(1).normal(size=(1, 32, 32, 1)).astype("float32")
    carried = models.build_encoder("mobilenet_torch", (32, 32, channels), encoder_weights=path)
    # What is grey to three channels differs between them once it is standardised by their statistics.
    value = 2 * (grey * np.mean(IMAGENET_STD) + np.mean(IMAGENET_MEAN)) - 1
    colour = models.build_encoder("mobilenet_torch", (32, 32, 3))
    colour.set_weights(models.build_encoder("mobilenet_torch", (32, 32, 3), encoder_weights=path).get_weights())
    for layer in colour.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-5
    expected = colour(np.repeat(value, 3, -1).astype("float32"))[-1]
    np.testing.assert_allclose(carried(np.repeat(grey, channels, -1))[-1], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", ["module.", "module.backbone.encoder."])
def test_tensors_of_whole_models_are_found(wrapper, mobilenet, tmp_path):
    whole = {f"{wrapper}{name}": tensor for name, tensor in mobilenet.items()}
    whole["segmentation_head.0.weight"] = np.zeros((1, 16, 3, 3), "float32")
    save_file(whole, tmp_path / "whole.safetensors")
    encoder = models.build_encoder("mobilenet_torch", (32, 32, 3), encoder_weights=tmp_path / "whole.safetensors")
    kernel = mobilenet["blocks.4.1.conv_pw.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(encoder.get_layer("conv_pw_13").get_weights()[0], kernel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"blocks.1.0.conv_pw.weight": np.zeros((96, 64, 1, 1), "float32")},
            r"tensor blocks\.1\.0\.conv_pw\.weight to have shape \(128, 64, 1, 1\); received shape \(96, 64, 1, 1\)",
        ),
        (
            lambda t: {n: v for n, v in t.items() if n != "blocks.2.1.bn1.running_var"},
            r"tensor blocks\.2\.1\.bn1\.running_var; received none",
        ),
        (
            lambda t: t | {"blocks.5.0.conv_dw.weight": np.zeros((1024, 1, 3, 3), "float32")},
            r"no tensor beyond those of the encoder; received blocks\.5\.0\.conv_dw\.weight",
        ),
        (
            lambda t: {f"layer.{n}": v for n, v in t.items()},
            r"weights of mobilenet_torch as timm, transformers name them; received others: layer\.",
        ),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(change, message, mobilenet, tmp_path):
    save_file(change(mobilenet), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=rf"other\.safetensors: expected {message}"):
        models.build_encoder("mobilenet_torch", (32, 32, 3), encoder_weights=tmp_path / "other.safetensors")


def test_networks_that_are_padded_in_another_way_are_refused(mobilenet, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(mobilenet, path)
    message = "pad convolutions with strides on both sides, as PyTorch does: encoder mobilenet_torch does"
    with pytest.raises(WeightsError, match=message):
        models.build_encoder("mobilenet", (32, 32, 3), encoder_weights=path)
    save_file({"mobilenet_v1.conv_stem.convolution.weight": np.zeros((32, 3, 3, 3), "float32")}, path)
    with pytest.raises(WeightsError, match="at the end, as TensorFlow does: encoder mobilenet does"):
        models.build_encoder("mobilenet_torch", (32, 32, 3), encoder_weights=path)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (
            "efficientnet_b0",
            "taken as timm's tf_efficientnet_b0; its efficientnet_b0 needs encoder efficientnet_b0_torch",
        ),
        (
            "efficientnet_b0_torch",
            "taken as timm's efficientnet_b0; its tf_efficientnet_b0 needs encoder efficientnet_b0",
        ),
    ],
)
def test_which_of_two_networks_with_the_same_names_is_meant_is_said(encoder, said, caplog):
    caplog.set_level(logging.INFO, "maskzoo")
    base, _ = code_base_of(
        encoder, "EfficientNetB0", ["conv_stem.weight"], "x.pth", torch_padding=encoder.endswith("_torch")
    )
    assert base.title == "timm"
    assert base.epsilon_of(encoder) == (1e-5 if encoder.endswith("_torch") else 1e-3)
    assert [record.getMessage() for record in caplog.records] == [f"x.pth: {said}"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "normalise and activate after convolutions, not before: encoder resnet18_torch is theirs"),
        ("resnet50", "strides in 3x3 convolutions, not in 1x1 ones: encoder resnet50_torch is theirs"),
        ("resnet101v2", "strides and shortcuts in other places, and no _torch encoder stands for them"),
        ("inceptionv3", "are not padded, and no _torch encoder stands for them"),
    ],
)
def test_other_networks_of_the_same_name_are_refused(name, reason, tmp_path):
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), "float32")}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=rf"weights\.safetensors: expected .* for {name}; received .*{reason}"):
        models.build_encoder(name, (32, 32, 3), encoder_weights=tmp_path / "weights.safetensors")


def test_padding_on_both_sides_moves_the_windows_by_a_pixel():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(1, 3, strides=2, padding="same", use_bias=False, name="same")(inputs)
    x = keras.layers.ZeroPadding2D(((1, 2), (1, 2)), name="pad")(x)
    x = keras.layers.DepthwiseConv2D(5, strides=2, use_bias=False, name="padded")(x)
    network = keras.Model(inputs, x)
    image = keras.Input((8, 8, 1))
    both = with_torch_padding(network, image)
    both = keras.Model(image, [both.get_layer(name).output for name in ("same", "padded")])
    both.set_weights([np.ones((3, 3, 1, 1)), np.ones((5, 5, 1, 1))])
    corner = np.zeros((1, 8, 8, 1), "float32")
    corner[0, 0, 0] = corner[0, 1, 1] = 1
    first, second = both(corner)
    # Windows begin at pixel -1: the first holds pixels 0 and 1, the second pixels 1, 2 and 3.
    assert np.asarray(first)[0, :2, :2, 0].tolist() == [[2, 1], [1, 1]]
    assert second.shape == (1, 2, 2, 1)
    assert np.asarray(second)[0, 0, 0, 0] == 5


def small_resnet(convolutions, **options):
    return torch_resnet((32, 32, 3), (1, 1, 1, 1), convolutions, **options)


@pytest.mark.parametrize("source", ["torchvision", "transformers"])
@pytest.mark.parametrize("convolutions", [2, 3])
def test_resnets_take_tensors_by_the_names_of(source, convolutions, tmp_path):
    rng = np.random.default_rng(0)
    tensors, expected = {"fc.weight": np.zeros((10, 512), "float32")}, {}
    for layer in small_resnet(convolutions).layers:
        for weight in layer.weights:
            value = rng.uniform(0.5, 1, weight.shape).astype("float32")
            ending = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(weight.name, weight.name)
            ending = ending.replace("moving_mean", "running_mean").replace("moving_variance", "running_var")
            expected[weight.path] = value
            name = f"{layer.name.replace('-', '.')}.{ending}"
            if source == "transformers":
                name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
                name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
                name = re.sub(r"^layer(\d)\.", lambda found: f"encoder.stages.{int(found[1]) - 1}.layers.", name)
                name = name.replace("downsample.0", "shortcut.convolution").replace(
                    "downsample.1", "shortcut.normalization"
                )
                for kind, theirs in (("conv", "convolution"), ("bn", "normalization")):
                    name = re.sub(
                        rf"\.{kind}(\d)\.", lambda found, theirs=theirs: f".layer.{int(found[1]) - 1}.{theirs}.", name
                    )
                name = f"resnet.{name}"
            tensors[name] = np.ascontiguousarray(value.transpose(3, 2, 0, 1)) if value.ndim == 4 else value
    save_file(tensors, tmp_path / "resnet.safetensors")
    encoder = small_resnet(convolutions, encoder_weights=tmp_path / "resnet.safetensors")
    for weight in encoder.weights:
        np.testing.assert_array_equal(weight.numpy(), expected[weight.path])


def test_every_code_base_can_be_told_from_the_others_of_its_family():
    markers = {
        "VGG": ["features.0.weight"],
        "DenseNet": [
            "features.denseblock1.denselayer1.conv1.weight",
            "features.denseblock1.denselayer1.conv.1.weight",
        ],
        "ConvNeXt": [
            "stem.0.weight",
            "features.1.0.layer_scale",
            "downsample_layers.0.0.weight",
            "convnext.embeddings.patch_embeddings.weight",
        ],
        "MobileNetV2": [
            "features.1.conv.0.0.weight",
            "conv_stem.weight",
            "mobilenet_v2.conv_stem.first_conv.convolution.weight",
        ],
        "MobileNet": ["conv_stem.weight", "mobilenet_v1.conv_stem.convolution.weight"],
        "EfficientNet": [
            "features.1.0.block.0.0.weight",
            "conv_stem.weight",
            "_conv_stem.weight",
            "efficientnet.embeddings.convolution.weight",
        ],
    }
    assert list(markers) == list(CODE_BASES)
    for family, names in markers.items():
        for number, name in enumerate(names):
            fits = [bool(re.search(f"(?:^|\\.)(?:{base.marker})$", name)) for base in CODE_BASES[family]]
            assert fits == [place == number for place in range(len(names))]
