"""2D models opened as 2.5D."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo import models
from maskzoo.models import analysis

RNG = np.random.default_rng(0)
SMALL = {
    "backbone_unet": {"encoder": "resnet18", "decoder_filters": (16, 8, 8, 4, 4)},
    "segformer": {"encoder": "mit_b0"},
    "unet_padded": {"filters": (4, 8, 8)},
}


def small(name, channels=1):
    return models.build_model(name, (None, None, channels), 2, **SMALL[name])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "unet_padded" else pytest.mark.slow) for name in SMALL]
)
def test_equal_slices_give_what_the_2d_model_gives(name):
    model = small(name, channels=3)
    image = RNG.normal(size=(2, 64, 96, 3)).astype("float32")
    volume = np.repeat(image[:, :, :, None], 6, axis=3)
    expected = model.predict_on_batch(image)
    maps = models.inflate_25d(model, 3).predict_on_batch(volume)
    assert maps.shape == (2, 64, 96, 6, 2)
    for index in range(6):
        np.testing.assert_allclose(maps[:, :, :, index], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_first_convolution_averages_over_the_slices():
    image = keras.Input((None, None, 2))
    scaled = keras.layers.Rescaling([2.0, 3.0], [1.0, -1.0])(image)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(scaled))
    volume = RNG.normal(size=(1, 8, 9, 7, 2)).astype("float32")
    single = np.stack([model.predict_on_batch(volume[:, :, :, index]) for index in range(7)], axis=3)
    ends = np.pad(single, [(0, 0)] * 3 + [(2, 2), (0, 0)], mode="edge")
    expected = np.mean([ends[:, :, :, first : first + 7] for first in range(5)], axis=0)
    np.testing.assert_allclose(models.inflate_25d(model, 5).predict_on_batch(volume), expected, atol=1e-5)


def test_a_map_depends_on_its_slice_and_the_neighbours_alone():
    model = models.inflate_25d(small("unet_padded"), 3)
    geometry = analysis.geometry(model)
    assert geometry.crop == (0, 0, 0)
    assert geometry.halo[2] == (1, 1)
    assert geometry.halo[:2] == analysis.geometry(small("unet_padded")).halo
    volume = RNG.normal(size=(1, 32, 32, 9, 1)).astype("float32")
    before = model.predict_on_batch(volume)
    volume[:, :, :, 4] += 1
    changed = np.abs(model.predict_on_batch(volume) - before).max(axis=(0, 1, 2, 4)) > 0
    assert np.flatnonzero(changed).tolist() == [3, 4, 5]


@pytest.mark.slow
def test_saved_loaded_and_exported_with_any_number_of_slices(tmp_path):
    model = models.inflate_25d(small("backbone_unet"), 3)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    loaded, exported = keras.saving.load_model(tmp_path / "model.keras"), tf.saved_model.load(tmp_path / "saved")
    for shape in ((1, 32, 64, 1, 1), (2, 64, 32, 5, 1)):
        volume = RNG.normal(size=shape).astype("float32")
        expected = model.predict_on_batch(volume)
        np.testing.assert_array_equal(loaded.predict_on_batch(volume), expected)
        np.testing.assert_allclose(exported.serve(volume), expected, atol=1e-5 * np.abs(expected).max())


def test_an_encoder_and_named_outputs_are_opened_too():
    encoder = models.inflate_25d(models.build_encoder("resnet18", (None, None, 1), freeze_encoder=True), 3)
    assert [x.shape[-1] for x in encoder.outputs] == [64, 64, 128, 256, 512]
    assert not encoder.trainable_weights
    model = models.add_auxiliary_heads(small("unet_padded"), {"aux1": "decoder1_1_relu"}, full_size=False)
    outputs = models.inflate_25d(model, 3).predict_on_batch(np.zeros((1, 16, 16, 4, 1), "float32"))
    assert {name: x.shape for name, x in outputs.items()} == {"mask": (1, 16, 16, 4, 2), "aux1": (1, 8, 8, 4, 1)}


def test_cost_is_that_of_the_slices():
    model = small("backbone_unet")
    opened = models.inflate_25d(model, 3)
    first = 7 * 7 * 64 * 32 * 32 * 2  # the first kernel has two more slices, of one channel each
    for slices in (1, 6):
        cost = slices * (analysis.multiply_adds(model, (64, 64, 1)) + first)
        assert analysis.multiply_adds(opened, (64, 64, slices, 1)) == cost


def test_what_cannot_be_opened_is_refused():
    with pytest.raises(ValueError, match=r"slices: expected an odd number, .* received 4"):
        models.inflate_25d(small("unet_padded"), 4)
    with pytest.raises(ValueError, match="slices: expected a whole number of at least 1"):
        models.inflate_25d(small("unet_padded"), 0)
    with pytest.raises(ValueError, match="expected a 2D model from one image to maps"):
        models.inflate_25d(models.build_model("vnet3d", (None, None, None, 1)))
    with pytest.raises(ValueError, match="expected a 2D model from one image to maps"):
        models.inflate_25d(models.add_label_head(small("unet_padded"), 1))
