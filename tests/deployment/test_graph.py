"""A graph answers as `predict` does, for every kind of plan, task and ensemble."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from maskzoo import data, models
from maskzoo.deployment import parity
from maskzoo.deployment.graph import BundleGraph
from maskzoo.errors import RunError
from maskzoo.inference.ensemble import Ensemble

SIZES = ((5, 3), (40, 57), (64, 64))


def assert_as_predict(run, image, tolerance=1e-5):
    """Compares with what `predict` writes."""
    source = data.open_source(image, spatial_dims=image.ndim - 1)
    expected_mask, expected = parity.predict_whole(run, source)
    outputs = BundleGraph(run, image.dtype.name).both(tf.constant(image[None]))
    mask, received = outputs["mask"].numpy()[0], outputs["probabilities"].numpy()[0]
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance)
    assert mask.dtype == np.uint8
    assert np.mean(mask != expected_mask) < 1e-3
    if mask.size > 100:
        assert len(np.unique(mask)) > 1, "a mask of one value shows nothing"


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("unet_padded", {"filters": (4, 8)}, SIZES),
        ("unet", {"filters": (4, 8)}, SIZES),
        pytest.param(
            "pspnet",
            {"encoder": "resnet18", "pyramid_filters": 4},
            ((5, 3), (64, 61)),
            marks=pytest.mark.slow,
        ),
        ("vnet3d", {"depth": 2, "start_filters": 4}, ((3, 9, 6), (16, 20, 17))),
    ],
)
def test_every_kind_of_plan(name, options, sizes, make_model, make_run, noise):
    spatial_dims = len(sizes[0])
    run = make_run(make_model(name, (*(None,) * spatial_dims, 3), **options))
    for size in sizes:
        assert_as_predict(run, noise(size))


@pytest.mark.parametrize(("task", "classes"), [("multilabel", 2), ("multiclass", 3)])
def test_tasks_and_thresholds(task, classes, make_model, make_run, noise):
    run = make_run(
        make_model("unet_padded", (None, None, 3), classes, filters=(4, 8)), task, thresholds=[0.3, 0.6, 0.5][:classes]
    )
    assert_as_predict(run, noise((40, 57)))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"tta": "symmetries", "reduction": "votes"}, marks=pytest.mark.slow),
        {"tta": "rotations", "reduction": "logits", "temperature": 0.5},
        {"tta": "scales:0.75", "weights": [3, 1]},
    ],
)
def test_ensembles_and_views(unet, options, make_model, make_run, noise):
    other = make_model("unet_padded", (None, None, 3), filters=(3, 5, 6))
    runs = [make_run(unet, thresholds=[0.4]), make_run(other, normalization=data.Normalizer("percentile", 3))]
    assert_as_predict(Ensemble(runs, **options), noise((36, 50)), tolerance=1e-4)


def test_what_no_graph_can_hold_is_refused(unet, make_model, make_run):
    run = make_run(unet)
    stained = replace(run, data=replace(run.data, normalization={**run.data.normalization, "stain": {"method": "m"}}))
    with pytest.raises(RunError, match="expected a run without stain normalisation"):
        BundleGraph(stained, "uint8")
    with pytest.raises(RunError, match="expected a model that takes images of any size"):
        BundleGraph(make_run(models.build_model("unet_padded", (32, 32, 3), filters=(4, 8))), "uint8")
    pyramid = make_model("pspnet", (None, None, 3), encoder="resnet18", pyramid_filters=4)
    valid = make_model("unet", (None, None, 3), filters=(4, 8))
    with pytest.raises(RunError, match="expected models with same padding beside one that sees the whole image"):
        BundleGraph(Ensemble([make_run(pyramid), make_run(valid)]), "uint8")
