"""Which level answers to which class: on runs of every task."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from noise_runs import as_run

from maskzoo import data, inference, models
from maskzoo.data.images.array_source import ArraySource
from maskzoo.errors import OptionError
from maskzoo.evaluation import draw_levels
from maskzoo.evaluation.level_response import MASK, level_responses


def labelled(model, task, values, ignore=()):
    """A run of a model, whose labels have the given values per class."""
    run = as_run(model, task=task, normalization="image")
    names = run.data.class_names
    scheme = data.LabelScheme(task, names, values, ignore)
    return dataclasses.replace(run, data=dataclasses.replace(run.data, labels=scheme.as_dict()))


@pytest.fixture(scope="module")
def flat():
    """A tiny 2D U-Net of three classes."""
    keras.utils.set_random_seed(0)
    return models.build_model("unet_padded", (None, None, 1), 3, filters=[4, 6, 8])


@pytest.fixture
def three():
    """An image of three classes, each of its own brightness, and its label."""
    label = np.zeros((64, 64), np.uint8)
    label[4:30, 6:40] = 1
    label[36:60, 20:62] = 2
    noise = np.random.default_rng(0).normal(size=label.shape)
    return (100 * label + 5 * noise).astype("float32"), label


def test_the_levels_of_a_run_are_measured_by_its_labels_or_its_prediction(trained_run, squares):
    run = inference.read_run(trained_run)
    with data.open_source(squares / "images" / "0.tif") as source:
        by_label = level_responses(run, source, data.open_source(squares / "masks" / "0.tif"), size=64)
        alone = level_responses(run, source, size=64)
    assert by_label.window.size == (64, 64)
    assert by_label.window.offset == (16, 24)
    with data.open_source(squares / "masks" / "0.tif") as source:
        np.testing.assert_array_equal(by_label.truth[..., 0], source.read(by_label.window)[..., 0] == 255)
    levels = [response for response in by_label.responses if response.level != MASK]
    assert [response.stride for response in levels] == sorted(by_label.levels.values())
    for response in levels:
        # A bright rectangle on dark noise: every level sees it.
        assert response.separation > 0.8
        assert response.with_mask > 0.8
        assert by_label.maps[response.level].shape[:2] == (64 // response.stride,) * 2
    assert by_label.response(MASK, "foreground").with_mask == by_label.response(MASK, "foreground").separation
    assert not alone.by_label
    assert all(np.isnan(response.with_mask) for response in alone.responses)
    json.dumps([response.as_mapping() for response in alone.responses], allow_nan=False)


def test_classes_of_a_multiclass_run(flat, three, tmp_path):
    image, label = three
    run = labelled(flat, "multiclass", ((0,), (1,), (2,)))
    found = level_responses(run, ArraySource(image), ArraySource(label))
    assert found.class_names == ("class0", "class1", "class2")
    np.testing.assert_array_equal(found.truth, label[..., None] == np.arange(3))
    # Random features of a brightness of its own tell the darkest and the brightest class from the rest.
    for name in ("class0", "class2"):
        assert found.best_level(name).separation > 0.8
    draw_levels(tmp_path / "levels.png", found)
    assert (tmp_path / "levels.png").stat().st_size > 10_000


def test_ignored_pixels_do_not_count(flat, three):
    image, label = three
    label[:, 40:] = 11
    image[:, 40:] = 1000
    found = level_responses(
        labelled(flat, "multiclass", ((0,), (1,), (2,)), (11,)), ArraySource(image), ArraySource(label)
    )
    np.testing.assert_array_equal(found.known.all(-1), label != 11)
    assert found.response(MASK, "class2").elements == (label == 2).sum()


def test_a_class_that_is_not_there_has_no_numbers(flat, three, tmp_path):
    image, label = three
    label[label == 2] = 0
    found = level_responses(labelled(flat, "multiclass", ((0,), (1,), (2,))), ArraySource(image), ArraySource(label))
    assert found.best_level("class2") is None
    for response in found.responses:
        if response.class_name == "class2":
            assert response.as_mapping()["separation"] is None
            assert response.as_mapping()["inside"] is None
            assert response.elements == 0
    draw_levels(tmp_path / "levels.png", found)


def test_overlapping_classes_have_a_mask_each(flat, three):
    image, label = three
    run = labelled(flat, "multilabel", ((1, 2), (2,), (1,)))
    found = level_responses(run, ArraySource(image), ArraySource(label))
    np.testing.assert_array_equal(found.truth, np.stack([label > 0, label == 2, label == 1], -1))


@pytest.mark.parametrize("heads", ["label", "auxiliary"])
def test_further_outputs_are_passed_over(heads, three):
    keras.utils.set_random_seed(0)
    image, label = three
    model = models.build_model("unet_padded", (None, None, 1), 1, filters=[4, 6, 8])
    with_heads = (
        models.add_label_head(model, 3) if heads == "label" else models.add_auxiliary_heads(model, 1, full_size=True)
    )
    found, plain = (
        level_responses(labelled(each, "binary", ((0,), (1, 2))), ArraySource(image), ArraySource(label))
        for each in (with_heads, model)
    )
    assert found.levels == plain.levels
    assert found.responses == plain.responses


def test_volumes(tmp_path):
    keras.utils.set_random_seed(0)
    model = models.build_model("unet3d_padded", (None, None, None, 1), 1, filters=[2, 3, 4])
    label = np.zeros((32, 32, 16), np.uint8)
    label[4:20, 6:26, 3:11] = 1
    image = (100 * label + 5 * np.random.default_rng(0).normal(size=label.shape)).astype("float32")
    found = level_responses(
        labelled(model, "binary", ((0,), (1,))), ArraySource(image, spatial_dims=3), ArraySource(label, spatial_dims=3)
    )
    assert found.truth.shape == (32, 32, 16, 1)
    assert found.best_level("class0").separation > 0.8
    draw_levels(tmp_path / "levels.png", found)


@pytest.mark.parametrize("size", [1, 3, 17])
def test_images_that_are_smaller_than_the_model_takes(size, flat):
    rng = np.random.default_rng(0)
    label = (rng.random((size, size)) < 0.5).astype(np.uint8)
    image = (100 * label + rng.normal(size=label.shape)).astype("float32")
    found = level_responses(labelled(flat, "multiclass", ((0,), (1,), (2,))), ArraySource(image), ArraySource(label))
    assert found.window.size[0] >= min(size, 4)
    assert all(response.elements <= max(size, 4) ** 2 for response in found.responses)


def test_halves_are_drawn_by_the_seed(flat, three):
    image, label = three
    run = labelled(flat, "multiclass", ((0,), (1,), (2,)))
    one, again, other = (
        level_responses(run, ArraySource(image), ArraySource(label), seed=seed).responses for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


def test_models_without_a_decoder_are_refused():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Dense(2, name="label")(keras.layers.GlobalAveragePooling2D()(image)))
    with pytest.raises(OptionError, match="run: expected a model from one image to a mask"):
        level_responses(as_run(model), ArraySource(np.zeros((32, 32), "float32")))
