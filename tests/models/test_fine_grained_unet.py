"""One trunk for a large structure and for a tiny one around it."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models.fine_grained_unet import locate_and_refine


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_both_images_of_a_fine_grained_unet_share_one_trunk():
    options = {"trunk": "backbone_unet", "trunk_options": {"encoder": "resnet18"}}
    model = models.build_model("fine_grained_unet", (None, None, 3), **options)
    trunk = models.build_model("backbone_unet", (None, None, 3), 1, encoder="resnet18")
    # By default heads of 2 and 1 classes, 3x3 kernels on 16 channels, instead of the trunk's own head of one class.
    assert model.count_params() - trunk.count_params() == 2 * (9 * 16 + 1)
    image, region = _images(1, 32, 64, 3), _images(1, 32, 64, 3) + 1
    outputs = model([image, region])
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "mask": (1, 32, 64, 2),
        "fine": (1, 32, 64, 1),
    }
    other = model([image, image])
    np.testing.assert_array_equal(_numpy(outputs["mask"]), _numpy(other["mask"]))
    assert np.abs(_numpy(outputs["fine"]) - _numpy(other["fine"])).max() > 1e-4


def _reader():
    """Returns a fine-grained model that reads its logits off the image: the mask off channel 0, the rest off 1."""
    image = keras.Input((None, None, 2))
    model = models.build_model(
        "fine_grained_unet", (None, None, 2), 1, trunk=keras.Model(image, keras.layers.Identity()(image))
    )
    for channel, name in enumerate(("mask", "fine")):
        kernel = np.zeros((3, 3, 2, 1))
        kernel[1, 1, channel] = 1
        model.get_layer(name).set_weights([kernel, np.zeros(1)])
    return model


def test_the_tiny_structure_is_found_around_the_large_one_and_put_back_in_its_place():
    image = -np.ones((32, 40, 2), "float32")
    image[8:16, 20:30, 0] = 1
    image[..., 1] = np.linspace(-1, 1, 32)[:, None] + np.linspace(0, 1, 40)
    mask, fine, box = locate_and_refine(_reader(), image, margin=2)
    np.testing.assert_array_equal(mask[..., 0], image[..., 0])
    assert box == (6, 18, 18, 32)
    # Resized to the full size and back, a plane stays what it was but for the clamped border.
    np.testing.assert_allclose(fine[8:16, 20:30, 0], image[8:16, 20:30, 1], atol=1e-2)
    outside = np.ones((32, 40), bool)
    outside[6:18, 18:32] = False
    assert np.isneginf(fine[outside]).all()
    assert np.isfinite(fine[~outside]).all()


def test_the_region_ends_at_the_image_and_is_absent_without_a_large_structure():
    image = -np.ones((16, 16, 2), "float32")
    _, fine, box = locate_and_refine(_reader(), image)
    assert box is None
    assert np.isneginf(fine).all()
    image[0, 15] = 1
    assert locate_and_refine(_reader(), image, margin=3)[2] == (0, 4, 12, 16)


def test_a_trunk_of_several_outputs_is_refused():
    image = keras.Input((None, None, 1))
    with pytest.raises(ValueError, match="trunk of fine_grained_unet: expected one output; received 2"):
        models.build_model("fine_grained_unet", (None, None, 1), trunk=keras.Model(image, [image, image]))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((None, None, 1), {"trunk": "unet", "trunk_options": {"filters": (4, 6)}}, "begin at pixel 8 x 8"),
        ((None, None, None, 1), {"trunk": "unet25d"}, r"input_shape of fine_grained_unet: expected \(height, width"),
    ],
)
def test_trunks_that_do_not_cover_the_image_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("fine_grained_unet", shape, **options)
