"""Attention maps are trained on the truth at their own level."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from maskzoo import losses, models
from maskzoo.training.attention import attention_loss, attention_strides, pooled_foreground
from maskzoo.training.step import Objective


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def _unet25d(**options):
    return models.build_model("unet25d", (None, None, None, 1), filters=(2, 2, 2, 2, 2), attention_maps=True, **options)


def test_the_strides_of_the_maps_are_those_of_the_paper_for_any_number_of_slices():
    strides = {"attention0": (1, 1, 1), "attention1": (2, 2, 1), "attention2": (4, 4, 1), "attention3": (8, 8, 2)}
    assert attention_strides(models.with_logits(_unet25d())) == {**strides, "attention4": (16, 16, 4)}
    assert attention_strides(models.build_model("unet_padded", (None, None, 1), filters=(2, 2))) == {}


def test_a_small_tumour_stays_on_every_level_and_slices_stay_in_place():
    network = models.with_logits(_unet25d())
    outputs = network(np.zeros((1, 32, 16, 5, 1), "float32"))
    labels = np.zeros((1, 32, 16, 5, 1), "float32")
    labels[0, 13, 6, 4] = 1  # a single voxel in the last of five slices
    places = {"attention0": (13, 6, 4), "attention1": (6, 3, 4), "attention2": (3, 1, 4), "attention3": (1, 0, 2)}
    for name, strides in attention_strides(network).items():
        shown, counts = pooled_foreground(labels, outputs[name], strides, "binary")
        assert shown.shape == outputs[name].shape
        place = places.get(name, (0, 0, 1))
        np.testing.assert_array_equal(np.argwhere(_numpy(shown)[0, ..., 0]), [place])
        assert _numpy(counts).max() == 1
    # Five slices go 5, 5, 5, 3, 2 and levels 2 and 3 are given one more: that one is background.
    assert [outputs[f"attention{level}"].shape[3] for level in range(5)] == [5, 5, 6, 4, 2]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_any_class_is_foreground_and_ignored_pixels_are_none(task):
    logits = np.zeros((1, 2, 2, 1), "float32")
    labels = np.zeros((1, 4, 4) if task == "multiclass" else (1, 4, 4, 1 + (task == "multilabel")), np.uint8)
    labels[0, 3, 0] = 2 if task == "multiclass" else 1
    labels[0, :2, :2] = 255
    labels[0, 2, 3] = 255
    shown, counts = pooled_foreground(labels, logits, (2, 2), task, ignore_index=255)
    np.testing.assert_array_equal(_numpy(shown)[0, ..., 0], [[0, 0], [1, 0]])
    np.testing.assert_array_equal(_numpy(counts)[0, ..., 0], [[0, 1], [1, 1]])


def test_the_loss_is_plain_dice_averaged_over_levels_beside_that_of_the_mask():
    rng = np.random.default_rng(0)
    labels = (rng.random((2, 4, 4, 1)) > 0.7).astype("float32")
    outputs = {"mask": rng.normal(size=(2, 4, 4, 1)), "attention0": rng.normal(size=(2, 4, 4, 1))}
    outputs["attention1"] = rng.normal(size=(2, 2, 2, 1))
    outputs = {name: x.astype("float32") for name, x in outputs.items()}
    objective = Objective(losses.build_loss("bce"), attention={"attention0": (1, 1), "attention1": (2, 2)})
    pooled = labels.reshape(2, 2, 2, 2, 2, 1).max((2, 4))

    def dice(truth, logits):
        maps = expit(logits)
        return 1 - 2 * (truth * maps).sum((1, 2, 3)) / (truth.sum((1, 2, 3)) + maps.sum((1, 2, 3)))

    levels = dice(labels, outputs["attention0"]), dice(pooled, outputs["attention1"])
    mask = np.logaddexp(0, outputs["mask"]) - labels * outputs["mask"]
    np.testing.assert_allclose(objective(labels, outputs), mask.mean((1, 2, 3)) + np.mean(levels, axis=0), rtol=1e-4)
    weighted = Objective(losses.build_loss("bce"), {"attention1": 3.0}, attention=objective.attention)
    expected = mask.mean((1, 2, 3)) + levels[0] / 2 + 3 * levels[1]
    np.testing.assert_allclose(weighted(labels, outputs), expected, rtol=1e-4)


def test_empty_maps_of_an_empty_truth_cost_nothing():
    nothing = np.zeros((1, 4, 4, 1), "float32")
    assert float(attention_loss(nothing, np.ones_like(nothing), nothing - 100)[0]) == pytest.approx(0, abs=1e-6)
