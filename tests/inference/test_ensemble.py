"""An ensemble is the mean of its members, on tiles as on the whole image."""

from dataclasses import replace

import keras
import nibabel
import numpy as np
import pytest
from noise_runs import as_run

from maskzoo import data, inference, metrics, models
from maskzoo.errors import ImageError, RunError
from maskzoo.inference.ensemble import Ensemble
from maskzoo.inference.run_files import Decision

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(0, 40, (90, 123, 2)).astype(np.float32) + 10


def convolution(seed, kernel=3, channels=2, classes=1):
    """A model that sees `kernel` pixels and mirrors nothing: pads with zeros, as all padded models do."""
    image = keras.Input((None, None, channels))
    rng = np.random.default_rng(seed)
    layer = keras.layers.Conv2D(classes, kernel, padding="same")
    model = keras.Model(image, layer(image), name=f"convolution{kernel}")
    layer.set_weights([rng.normal(0, 0.3, layer.kernel.shape), rng.normal(size=classes)])
    return model


def exact(**options):
    return inference.TileOptions(seam_tolerance=0, **options)


def answer(ensemble, image, **options):
    source = data.open_source(image, spatial_dims=2)
    plan = ensemble.plan(source, exact(**options))
    answers = np.full((*plan.shape, len(ensemble.data.class_names)), np.nan, np.float32)
    for window, logits in inference.predict_tiles(ensemble.scorer(plan), ensemble.reader(source), plan):
        assert np.isnan(answers[window.slices]).all(), "a pixel was written twice"
        answers[window.slices] = logits
    return answers


def whole(model, image):
    """The logits of an image in one piece, its surroundings mirrored so far that its border does not show."""
    mirrored = np.pad(image, ((64, 64), (64, 64), (0, 0)), mode="reflect")
    return model.predict_on_batch(mirrored[None])[0, 64:-64, 64:-64]


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


@pytest.mark.parametrize("tile", [None, 17, 40])
def test_members_that_see_and_normalise_otherwise_give_the_mean_of_their_probabilities(tile):
    models_ = [convolution(0, 3), convolution(1, 9), convolution(2, 5)]
    kinds = ["none", "image", "none"]
    runs = [as_run(model, normalization=kind) for model, kind in zip(models_, kinds, strict=True)]
    weights = [1, 2, 5]
    images = {"none": IMAGE / 40, "image": (IMAGE / 40 - (IMAGE / 40).mean((0, 1))) / (IMAGE / 40).std((0, 1))}
    expected = sum(
        weight / 8 * sigmoid(whole(model, images[kind]))
        for model, kind, weight in zip(models_, kinds, weights, strict=True)
    )
    received = answer(Ensemble(runs, weights=weights), IMAGE / 40, tile=tile)
    np.testing.assert_allclose(sigmoid(received), expected, atol=1e-5)


def test_logits_votes_and_temperature():
    runs = [as_run(convolution(seed), decision={"thresholds": [0.3]}) for seed in range(3)]
    logits = np.stack([whole(run.model, IMAGE / 40) for run in runs]).astype(np.float64)
    image = IMAGE / 40
    np.testing.assert_allclose(answer(Ensemble(runs, reduction="logits"), image), logits.mean(0), atol=1e-4)
    sharpened = answer(Ensemble(runs, temperature=0.5), image)
    np.testing.assert_allclose(sigmoid(sharpened), sigmoid(2 * logits).mean(0), atol=1e-5)
    votes = Ensemble(runs, reduction="votes")
    assert votes.thresholds == (0.5,)
    majority = metrics.predicted_labels(answer(votes, image), "binary", votes.thresholds)
    np.testing.assert_array_equal(majority, (sigmoid(logits) >= 0.3).sum(0) >= 2)


def test_a_multiclass_ensemble_votes_for_the_likeliest_class():
    runs = [as_run(convolution(seed, classes=3), task="multiclass") for seed in range(3)]
    logits = np.stack([whole(run.model, IMAGE / 40) for run in runs]).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    received = metrics.probabilities(answer(Ensemble(runs), IMAGE / 40), "multiclass")
    np.testing.assert_allclose(received, chances.mean(0), atol=1e-5)
    winners = (logits.argmax(-1)[..., None] == np.arange(3)).sum(0)
    shares = metrics.probabilities(answer(Ensemble(runs, reduction="votes"), IMAGE / 40), "multiclass")
    np.testing.assert_allclose(shares, winners / 3, atol=1e-5)


@pytest.mark.parametrize("name", ["unet_padded", "unet"])
@pytest.mark.parametrize("text", ["flips", "symmetries"])
def test_transforms_of_tiles_equal_transforms_of_the_whole_image(name, text):
    keras.utils.set_random_seed(0)
    first = models.build_model(name, (None, None, 2), 1, filters=(4, 8, 8))
    ensemble = Ensemble([as_run(first), as_run(convolution(3, 5))], reduction="logits", tta=text)
    one_piece = answer(ensemble, IMAGE / 40, tile=200)
    assert np.ptp(one_piece) > 1e-2
    for tile in (24, 64):
        np.testing.assert_allclose(answer(ensemble, IMAGE / 40, tile=tile), one_piece, atol=1e-4)


def test_the_symmetries_of_an_image_have_the_symmetries_of_the_answer():
    ensemble = Ensemble([as_run(convolution(0, 5))], tta="symmetries", reduction="logits")
    image = IMAGE[:90, :90] / 40
    np.testing.assert_allclose(answer(ensemble, np.rot90(image)), np.rot90(answer(ensemble, image)), atol=1e-5)


def test_a_symmetric_model_does_not_need_augmentation():
    model = convolution(0, 3)
    ring = np.ones((3, 3, 2, 1)) * [[[[0.2], [-0.1]]]]
    model.layers[-1].set_weights([ring, np.zeros(1)])
    received = answer(Ensemble([as_run(model)], tta="symmetries", reduction="logits"), IMAGE / 40, tile=24)
    np.testing.assert_allclose(received, whole(model, IMAGE / 40), atol=1e-4)


def test_a_member_that_sees_everything_is_blended_with_the_others():
    image = keras.Input((None, None, 2))
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True)(image)
    single = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")
    seer = keras.Model(image, single(keras.layers.Add()([image, mean])), name="seer")
    flat = convolution(0, 1)
    constant = np.full((70, 101, 2), 0.5, np.float32)
    received = answer(Ensemble([as_run(flat), as_run(seer)], reduction="logits", tta="flips"), constant, tile=32)
    expected = (flat.predict_on_batch(constant[:1, None, :1])[0, 0, 0] + 2) / 2
    np.testing.assert_allclose(received, np.broadcast_to(expected, received.shape), atol=1e-5)


def test_the_memory_counts_every_member():
    runs = [as_run(convolution(seed)) for seed in range(2)]
    source = data.open_source(IMAGE, spatial_dims=2)
    alone, together = (Ensemble(part).plan(source, exact(tile=64)) for part in (runs[:1], runs))
    assert together.memory - alone.memory >= 4 * runs[1].model.count_params()
    with pytest.raises(ValueError, match=r"^memory: expected at least"):
        Ensemble(runs).plan(source, exact(memory=1000))


def test_what_was_decided_for_these_runs_is_taken_whatever_their_order():
    together = {"members": ["a", "b"], "weights": [0.25, 0.75], "thresholds": [0.4], "minimum_area": [9]}
    decision = {"thresholds": [0.2], "minimum_area": [5], "ensemble": together}
    a, b = (as_run(convolution(0), name, decision=decision) for name in "ab")
    c = as_run(convolution(0), "c", decision={"thresholds": [0.6], "minimum_area": [5]})
    ensemble = Ensemble([b, a])
    assert (ensemble.weights, ensemble.thresholds) == ((0.75, 0.25), (0.4,))
    assert ensemble.decision.minimum_area == (9,)
    other = Ensemble([a, c], weights=[1, 3])
    assert other.thresholds == pytest.approx((0.5,))
    assert other.decision == Decision(minimum_area=(5,))


def test_members_that_do_not_fit_are_refused():
    run = as_run(convolution(0))
    others = {
        "task": as_run(convolution(0), task="multilabel"),
        "classes": as_run(convolution(0, classes=2), task="binary"),
        "channels": as_run(convolution(0, channels=3)),
    }
    for word, other in others.items():
        with pytest.raises(ValueError, match=rf"^run: expected .*{word} of run, .*; received"):
            Ensemble([run, other])
    for options in (
        {"weights": [1]},
        {"weights": [0, 0]},
        {"weights": [1, -1]},
        {"weights": [1, float("nan")]},
        {"reduction": "mean"},
        {"temperature": 0},
        {"temperature": float("nan")},
    ):
        option = next(iter(options))
        with pytest.raises(ValueError, match=rf"^{option}: expected .*; received"):
            Ensemble([run, run], **options)
    with pytest.raises(ValueError, match="expected at least one run"):
        Ensemble([])
    valid = as_run(models.build_model("unet", (None, None, 2), 1, filters=(4, 8)))
    with pytest.raises(ValueError, match="expected no scales for a model with valid padding"):
        Ensemble([valid], tta="scales:0.5")


@pytest.mark.parametrize(
    ("spacing", "tta", "is_refused"),
    [
        ((0.5, 0.5, 3.0), "symmetries", False),
        ((0.5, 3.0, 0.5), "symmetries", True),
        ((0.5, 3.0, 0.5), "rotations", True),
        ((0.5, 3.0, 0.5), "flips", False),
        ((0.5, 0.502, 3.0), "rotations", False),
    ],
)
def test_axes_of_unequal_pixels_are_not_exchanged(tmp_path, spacing, tta, is_refused):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.diag([*spacing, 1])), tmp_path / "a.nii")
    image = keras.Input((None, None, None, 1))
    ensemble = Ensemble([as_run(keras.Model(image, keras.layers.Conv3D(1, 1, name="mask")(image)))], tta=tta)
    source = data.open_source(tmp_path / "a.nii")
    if is_refused:
        with pytest.raises(ImageError, match=r"or `tta` flips; received pixels of 0.5 x 3 x 0.5"):
            ensemble.reader(source)
    else:
        ensemble.reader(source)


def test_members_with_channels_in_other_files_are_refused():
    image = keras.Input((None, None, 2))
    run = as_run(keras.Model(image, keras.layers.Conv2D(1, 1, name="mask")(image)))
    specs = [{"channels": {"a": "_0000", "b": "_0001"}}, {"channels": {"b": "_0001", "a": "_0000"}}]
    runs = [replace(run, data=replace(run.data, spec=spec)) for spec in specs]
    with pytest.raises(RunError, match=r"expected the channels of run, \['_0000', '_0001'\]; received"):
        Ensemble(runs)
    other = replace(run, data=replace(run.data, spec={"bands": [2, 1]}))
    with pytest.raises(RunError, match=r"expected the bands of run, all; received \[2, 1\]"):
        Ensemble([run, other])
    # Names of channels are only names.
    named = replace(run, data=replace(run.data, spec={"channels": {"c": "_0000", "d": "_0001"}}))
    Ensemble([runs[0], named])


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ({"spacing": [1, 1, 3]}, {"spacing": [1, 1, 2]}, True),
        ({"spacing": [1, 1, 3]}, {"spacing": [1.001, 1, 3]}, False),
        ({"spacing": 1.0}, {}, True),
        ({"level": 1}, {"level": 0}, True),
        ({"resize": 0.5}, {"resize": [40, 40, 40]}, True),
        ({"orientation": "RAS"}, {"orientation": "LPS"}, True),
        ({"orientation": "RAS"}, {}, False),
    ],
)
def test_members_that_read_images_at_other_scales_are_refused(first, second, is_refused):
    image = keras.Input((None, None, None, 1))
    run = as_run(keras.Model(image, keras.layers.Conv3D(1, 1, name="mask")(image)))
    runs = [replace(run, data=replace(run.data, spec=spec)) for spec in (first, second)]
    if is_refused:
        with pytest.raises(RunError, match=rf"expected a run whose `{next(iter(first))}` is that of run"):
            Ensemble(runs)
    else:
        Ensemble(runs)
