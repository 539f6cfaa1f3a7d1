"""What every encoder must do: published sizes, strides, any image size, training, saving, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import OURS, arrays, build_encoder, shared_encoder

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.encoders import feature_strides

# Trainable and all parameters without classifier. MiT and Swin: transformers 5.23 (SegformerModel, SwinBackbone);
# CoaT and ViT: timm 1.0.31 without the norms of its classifier; EfficientNet: timm's features; as in PyTorch:
# torchvision; others: keras.applications.
PUBLISHED = {
    "mit_b1": (13151424, 13151424),
    "swin_small": (48840138, 48840138),
    "vit_base_16": (85797120, 85797120),
    "vit_small_16": (21664896, 21664896),
    "coat_mini": (10118704, 10118704),
    "coat_lite_mini": (10497536, 10497536),
    "coat_lite_medium": (44057024, 44057024),
    "efficientnet_b0": (3595388, 3634844),
    "efficientnet_b2": (7202562, 7267314),
    "resnet50": (23534592, 23587712),
    "resnet50v2": (23519360, 23564800),
    "resnet18_torch": (11176512, 11186112),
    "resnet50_torch": (23508032, 23561152),
    "vgg16": (14714688, 14714688),
    "densenet121": (6953856, 7037504),
    "mobilenetv2": (2223872, 2257984),
    "convnext_tiny": (27820128, 27820128),
}


# Multiplications and additions at 224 x 224 in thousands of millions: Swin, CoaT and ConvNeXt papers, tables 1 to 3.
COSTS = {"swin_tiny": 4.5, "coat_tiny": 4.4, "coat_lite_small": 4.0, "coat_lite_tiny": 1.6, "convnext_tiny": 4.5}


LIBRARIES = (
    "resnet18",
    "resnet18_torch",
    "mobilenetv2_torch",
    "resnet50",
    "resnet50v2",
    "vgg16",
    "densenet121",
    "mobilenet",
    "mobilenetv2",
    "efficientnet_b0",
    "efficientnetv2_b0",
    "convnext_tiny",
)


TRAINED = ("resnet18", "vgg16", "mobilenet", "efficientnet_b0", "convnext_tiny")


# Large ones take seconds to build.
every_family = pytest.mark.parametrize(
    "family",
    [*OURS, *(pytest.param(name, marks=() if name == "resnet18" else pytest.mark.slow) for name in LIBRARIES)],
)


families_in_training = pytest.mark.parametrize("family", [*OURS, *TRAINED])


our_family = pytest.mark.parametrize("family", OURS)


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _assert_close(ones, others, atol=1e-5):
    for one, other in zip(arrays(ones), arrays(others), strict=True):
        np.testing.assert_allclose(one, other, atol=atol * max(1, np.abs(other).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    total, trainable = analysis.parameters(models.build_encoder(name, (None, None, 3)))
    assert (trainable, total) == PUBLISHED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTS)
def test_multiply_adds_are_the_published_ones(name):
    encoder = models.build_encoder(name, (None, None, 3))
    assert analysis.multiply_adds(encoder, (224, 224, 3)) / 1e9 == pytest.approx(COSTS[name], abs=0.1)


@every_family
def test_features_lie_at_the_strides_for_free_and_fixed_sizes(family):
    free = shared_encoder(family)
    fixed = build_encoder(family, (64, 96, 2))
    strides = [2, 4, 8, 16, 32][-len(fixed.outputs) :]
    assert len(strides) == (4 if family in OURS or family.startswith("convnext") else 5)
    assert [feature.shape[1:3] for feature in fixed.outputs] == [(64 // stride, 96 // stride) for stride in strides]
    assert feature_strides(free) == feature_strides(fixed) == strides
    assert [layer.name for layer in fixed.layers] == [layer.name for layer in free.layers]
    fixed.set_weights(free.get_weights())
    images = _images(2, 64, 96, 2)
    features = free(images)
    assert all(np.isfinite(feature).all() for feature in arrays(features))
    _assert_close(features, fixed(images))


@pytest.mark.slow
@families_in_training
def test_one_gradient_step_lowers_the_loss_and_reaches_every_weight(family):
    encoder = shared_encoder(family)
    start = encoder.get_weights()
    images = _images(1, 64, 64, 2)

    def loss():
        return sum(tf.reduce_mean((feature - 1.0) ** 2) for feature in encoder(images))

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, [variable.value for variable in encoder.trainable_variables])
    assert not [w.path for w, g in zip(encoder.trainable_variables, gradients, strict=True) if g is None]
    # A step that lowers the loss by 1 % to first order.
    rate = 0.01 * before / sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    after = loss()
    encoder.set_weights(start)
    assert after < before


@pytest.mark.slow
@families_in_training
def test_saves_and_loads_to_equal_features(family, tmp_path):
    encoder = shared_encoder(family)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    images = _images(1, 32, 64, 2)
    _assert_close(encoder(images), loaded(images), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", [*OURS, "efficientnet_b0", "convnext_tiny"])
def test_exports_to_a_saved_model_with_free_sizes(family, tmp_path):
    encoder = shared_encoder(family)
    encoder.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in ((64, 96), (32, 64)):
        images = _images(2, *size, 2)
        _assert_close(encoder(images), exported.serve(images))


@our_family
def test_one_transformer_takes_images_of_any_size(family):
    encoder = shared_encoder(family)
    for height, width in ((192, 160), (512, 512), (32, 32)):
        features = encoder(_images(1, height, width, 2))
        sizes = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
        assert [feature.shape[1:3] for feature in features] == sizes
        assert all(np.isfinite(feature).all() for feature in arrays(features))


@every_family
def test_a_wrong_size_is_refused_with_the_nearest_right_ones(family):
    with pytest.raises(ValueError, match=r"expected axis 1 to be a multiple of 32.*received 70 \(nearest: 64, 96\)"):
        build_encoder(family, (64, 70, 3))


@our_family
def test_stochastic_depth_acts_in_training_only(family):
    encoder = build_encoder(family, (32, 32, 2), drop_path=0.9)
    images = _images(1, 32, 32, 2)
    _assert_close(encoder(images), encoder(images))
    *_, one = arrays(encoder(images, training=True))
    *_, other = arrays(encoder(images, training=True))
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("family", ["mit", "resnet18"])
def test_a_frozen_encoder_has_nothing_to_train(family):
    assert not build_encoder(family, (None, None, 3), freeze_encoder=True).trainable_weights
    assert build_encoder(family, (None, None, 3)).trainable_weights
