"""Decoders over encoders: the counts and outputs of references, any encoder, and what they refuse."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.encoders.mit import mix_transformer

# All and trainable parameters for one class, three channels unless said: segmentation-models 1.0.1, transformers 5.23,
# and the public HuBMAP solutions with timm's encoders.
REFERENCES = [
    ("backbone_unet", {"encoder": "resnet18"}, 14340570, 14330644),
    ("backbone_unet", {"encoder": "vgg16"}, 23752273, 23748241),
    ("backbone_unet", {"encoder": "resnet34", "up": "transpose"}, 25678298, 25660948),
    ("fpn", {"encoder": "resnet18"}, 13815370, 13805124),
    ("linknet", {"encoder": "resnet18"}, 11521690, 11511668),
    ("linknet", {"encoder": "vgg16"}, 20325137, 20318321),
    ("pspnet", {"encoder": "resnet18"}, 2079946, 2073028),
    ("segformer", {"encoder": "mit_b1"}, 13677505 + 2 * 256, 13677505),
    ("daformer", {"encoder": "coat_lite_mini"}, 14518340, 14515140),
    ("daformer", {"encoder": "coat_small", "fuse_kernel_size": 1}, 22143148, 22139948),
    ("unet_aspp_fpn", {"encoder": "efficientnet_b0"}, 8215549, 8171357),
]


SMALL = {
    "backbone_unet": {"decoder_filters": [8, 8, 8, 8, 8]},
    "daformer": {"decoder_filters": 8},
    "deeplabv3": {"decoder_filters": 8},
    "deeplabv3plus": {"decoder_filters": 8},
    "dpt": {"level_filters": [4, 6, 8, 8], "decoder_filters": 8},
    "fpn": {"pyramid_filters": 8},
    "linknet": {"final_filters": 4},
    "lraspp": {"decoder_filters": 8},
    "manet": {"decoder_filters": [8, 8, 8, 8, 8]},
    "pan": {"decoder_filters": 8},
    "pspnet": {"pyramid_filters": 8},
    "segformer": {"decoder_filters": 8},
    "unet_aspp_fpn": {"aspp_filters": 16, "decoder_filters": [8, 8, 8, 8], "pyramid_filters": 4},
    "upernet": {"decoder_filters": 8},
}


every_decoder = pytest.mark.parametrize("name", SMALL)


def _encoder(input_shape=(None, None, 3)):
    return mix_transformer(input_shape, (4, 8, 10, 16), (1, 1, 1, 1))


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "total", "trainable"), REFERENCES)
def test_parameter_counts_are_those_of_the_reference(name, options, total, trainable):
    assert analysis.parameters(models.build_model(name, (None, None, 3), 1, **options)) == (total, trainable)


def test_parameter_counts_follow_the_number_of_channels():
    # segmentation-models: 7x7 kernels of 64 filters, and the image's own normalisation, for two channels less.
    model = models.build_model("backbone_unet", (None, None, 1), 1, encoder="resnet34")
    assert analysis.parameters(model) == (24449876, 24432530)


@every_decoder
def test_a_model_that_starts_at_stride_4_serves_as_encoder(name):
    model = models.build_model(name, (None, None, 3), 2, encoder=_encoder(), **SMALL[name])
    for size in ((64, 96), (32, 32)):
        logits = _numpy(model(_images(1, *size, 3)))
        assert logits.shape == (1, *size, 2)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()


@every_decoder
def test_an_activation_gives_probabilities(name):
    logits = models.build_model(name, (32, 64, 3), 2, encoder=_encoder((32, 64, 3)), **SMALL[name])
    probabilities = models.build_model(
        name, (32, 64, 3), 2, encoder=_encoder((32, 64, 3)), activation="softmax", **SMALL[name]
    )
    probabilities.set_weights(logits.get_weights())
    images = _images(1, 32, 64, 3)
    expected = keras.ops.softmax(logits(images))
    np.testing.assert_allclose(_numpy(probabilities(images)), _numpy(expected), atol=1e-5)


@every_decoder
def test_a_frozen_encoder_leaves_the_decoder_to_train(name):
    model = models.build_model(name, (None, None, 3), encoder=_encoder(), freeze_encoder=True, **SMALL[name])
    names = {layer.name for layer in _encoder().layers}
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trained
    assert not trained & names


@every_decoder
def test_encoders_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected axis 0 to be a multiple of 32.*received 48"):
        models.build_model(name, (48, 64, 3), **SMALL[name])
    with pytest.raises(ValueError, match=f"encoder of {name}: expected a model for images .*1.*received"):
        models.build_model(name, (None, None, 1), encoder=_encoder(), **SMALL[name])
    with pytest.raises(ValueError, match="encoder_weights: expected None beside a model"):
        models.build_model(name, (None, None, 3), encoder=_encoder(), encoder_weights="imagenet", **SMALL[name])
    with pytest.raises(ValueError, match="encoder: expected one of"):
        models.build_model(name, (None, None, 3), encoder="resnet35", **SMALL[name])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("backbone_unet", {"up": "linear"}, "up: expected one of nearest, transpose; received linear"),
        ("backbone_unet", {"decoder_filters": [8, 8]}, "decoder_filters: expected 5 numbers; received 2"),
        ("linknet", {"up": "linear"}, "up: expected one of"),
        ("fpn", {"aggregation": "max"}, "aggregation: expected one of concat, sum; received max"),
        ("pspnet", {"downsample_factor": 3}, "downsample_factor: expected one of 4, 8, 16, 32; received 3"),
        ("backbone_unet", {"attention": "se"}, "attention: expected one of None, scse; received se"),
        ("deeplabv3", {"output_stride": 4}, "output_stride: expected one of 8, 16, 32; received 4"),
        ("deeplabv3plus", {"output_stride": 4}, "output_stride: expected one of 8, 16, 32; received 4"),
        ("dpt", {"level_filters": [8, 8]}, "level_filters: expected 4 numbers; received 2"),
        ("manet", {"attention": "se"}, "attention: expected one of None, scse; received se"),
        ("manet", {"decoder_filters": [8, 8]}, "decoder_filters: expected 5 numbers; received 2"),
        ("pan", {"output_stride": 4}, "output_stride: expected one of 8, 16, 32; received 4"),
        ("unet_aspp_fpn", {"decoder_filters": [8]}, "decoder_filters: expected 4 numbers; received 1"),
        ("unet_aspp_fpn", {"groups": 3}, "groups: expected a divisor of the 16 deepest channels"),
    ],
)
def test_options_are_refused_with_what_was_expected(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, (None, None, 3), encoder=_encoder(), **{**SMALL[name], **options})


def test_weights_reach_the_encoder_inside_a_model(tmp_path):
    encoder = models.build_encoder("mit_b0", (None, None, 3))
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    model = models.build_model("segformer", (None, None, 3), encoder_weights=tmp_path / "encoder.weights.h5")
    for layer in encoder.layers:
        for one, other in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
