"""The field behind a model, against the update written out pixel by pixel."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo import data, inference, models
from maskzoo.models import analysis
from maskzoo.models.crf import LocalCRF

RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_pixel(image, logits, task, weight, radius, iterations, position, color):
    """Mean field of Krähenbühl and Koltun's equation 4 with one kernel, cut off and normalised, in float64."""
    scores, shape = logits.astype(float), image.shape[:-1]
    for _ in range(iterations):
        labels = softmax(scores) if task == "multiclass" else sigmoid(scores)
        new = np.empty_like(scores)
        for p in itertools.product(*map(range, shape)):
            total, ties = 0.0, 0.0
            for step in itertools.product(range(-radius, radius + 1), repeat=len(shape)):
                q = tuple(np.add(p, step))
                if any(step) and all(0 <= x < n for x, n in zip(q, shape, strict=True)):
                    distance = sum(x**2 for x in step)
                    difference = np.mean((image[p] - image[q]) ** 2)
                    tie = np.exp(-distance / (2 * position**2) - difference / (2 * color**2))
                    total, ties = total + tie * labels[q], ties + tie
            message = total / ties
            new[p] = logits[p] + weight * (message if task == "multiclass" else 2 * message - 1)
        scores = new
    return scores


@pytest.mark.parametrize(
    ("task", "shape", "classes"), [("binary", (7, 9), 1), ("multilabel", (6, 5), 2), ("multiclass", (4, 5, 3), 3)]
)
def test_equals_the_update_pixel_by_pixel(task, shape, classes):
    image = RNG.normal(size=(*shape, 2)).astype("float32")
    logits = RNG.normal(size=(*shape, classes)).astype("float32")
    options = {"weight": 2.0, "radius": 2, "iterations": 3, "position": 1.5, "color": 0.8}
    received = np.asarray(LocalCRF(task, **options)([image[None], logits[None]]))[0]
    np.testing.assert_allclose(received, by_pixel(image, logits, task, *options.values()), atol=1e-4)


def test_a_weak_label_follows_the_pixels_that_look_like_it():
    image = np.zeros((1, 12, 12, 1), "float32")
    image[:, :, 6:] = 1
    logits = np.where(image > 0, 2.0, -2.0).astype("float32")
    logits[0, 5, 2], logits[0, 5, 9] = 0.5, -0.5  # wrong, and unsure of it
    refined = np.asarray(LocalCRF("binary", color=0.1)([image, logits]))
    assert ((refined > 0) == (image > 0)).all()
    unchanged = np.asarray(LocalCRF("binary", weight=0)([image, logits]))
    np.testing.assert_array_equal(unchanged, logits)


def small(task, classes):
    keras.utils.set_random_seed(1)
    model = models.build_model("unet_padded", (None, None, 1), classes, filters=(4, 6))
    return model, models.with_crf(model, task, radius=2, iterations=2)


def test_tiles_with_the_halo_of_both_equal_the_whole():
    model, refined = small("multiclass", 3)
    before, after = analysis.geometry(refined).halo[0]
    assert (before, after) == tuple(side + 4 for side in analysis.geometry(model).halo[0])
    source = data.open_source(RNG.normal(size=(83, 61)).astype("float32"), spatial_dims=2)
    results = []
    for tile in (96, 16, 40):
        plan = inference.plan_tiles(refined, source.shape, 1, inference.TileOptions(tile=tile))
        result = np.empty((*source.shape, 3), "float32")
        for window, logits in inference.predict_tiles(refined, source.read, plan):
            result[window.slices] = logits
        results.append(result)
    np.testing.assert_allclose(results[1], results[0], atol=1e-4)
    np.testing.assert_allclose(results[2], results[0], atol=1e-4)


@pytest.mark.slow
def test_saved_loaded_and_exported(tmp_path):
    _, refined = small("binary", 1)
    refined.save(tmp_path / "model.keras")
    refined.export(tmp_path / "saved", verbose=False)
    loaded, exported = keras.saving.load_model(tmp_path / "model.keras"), tf.saved_model.load(tmp_path / "saved")
    for shape in ((1, 16, 24, 1), (2, 32, 16, 1)):
        image = RNG.normal(size=shape).astype("float32")
        expected = refined.predict_on_batch(image)
        np.testing.assert_array_equal(loaded.predict_on_batch(image), expected)
        np.testing.assert_allclose(exported.serve(image), expected, atol=1e-4)


def test_other_outputs_stay():
    model, _ = small("binary", 1)
    refined = models.with_crf(models.add_label_head(model, 1), "binary", weight=1.0)
    assert sorted(refined.output) == ["label", "mask"]
    image = RNG.normal(size=(1, 16, 16, 1)).astype("float32")
    assert refined.predict_on_batch(image)["mask"].shape == (1, 16, 16, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected a model of one image with a mask of its size"):
        models.with_crf(models.build_model("unet", (None, None, 1), filters=(4, 6)), "binary")
    with pytest.raises(ValueError, match="radius: expected a whole number of at least 1; received 0"):
        LocalCRF("binary", radius=0)
    with pytest.raises(ValueError, match=r"color: expected at least 0\.001; received 0"):
        LocalCRF("binary", color=0)
    with pytest.raises(ValueError, match="task: expected one of"):
        LocalCRF("regression")
