"""The shortest halo within a tolerance is taken, as measured on the image, with a margin and not by luck."""

import logging

import keras
import numpy as np
import pytest
from noise_runs import as_run, global_model

from maskzoo import data, inference
from maskzoo.inference import halo_search


def far_seeing(reach):
    """Adds to every pixel what lies `reach` pixels to its left, a thousandth as strong, and has a stride of 8."""
    image = keras.Input((None, None, 1))
    kernel = np.zeros((1, 2 * reach + 1, 1, 1), np.float32)
    kernel[0, reach], kernel[0, 0] = 1, 1e-3
    far = keras.layers.Conv2D(1, (1, 2 * reach + 1), padding="same", use_bias=False)
    near = keras.layers.UpSampling2D(8)(keras.layers.AveragePooling2D(8)(image))
    model = keras.Model(image, keras.layers.Add()([far(image), near]))
    far.set_weights([kernel])
    return model


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 104), (1e-4, 104), (1e-2, 8)])
def test_the_halo_is_the_shortest_within_the_tolerance(caplog, tolerance, expected):
    """Without its far pixel a logit is wrong by up to a thousandth, a probability by up to a quarter of that."""
    pixels = np.random.default_rng(0).random((2000, 6000)).astype(np.float32)
    run = as_run(far_seeing(100))
    options = inference.TileOptions(seam_tolerance=tolerance, tile=256)
    with caplog.at_level(logging.INFO):
        plan = inference.plan_image(run, data.open_source(pixels, spatial_dims=2), options)
    assert plan.halo[1][0] == expected
    assert bool(caplog.messages) == bool(tolerance)
    if tolerance:
        error = float(caplog.messages[0].splitlines()[2].split()[2])
        assert 1e-4 < error <= 2.5e-4


@pytest.mark.parametrize("slope", [0, 1])
def test_how_far_blended_tiles_differ_is_said(slope):
    """Neighbouring tiles of 32 overlap by 8: their means on a slope differ by 24 steps of it, wherever they lie."""
    run = as_run(global_model())
    pixels = np.broadcast_to(slope * np.linspace(-1e-2, 1e-2, 400, dtype=np.float32)[:, None], (400, 400))
    source = data.open_source(np.array(pixels), spatial_dims=2)
    plan = inference.plan_image(run, source)
    assert plan.tiles >= 32
    # A sigmoid has a slope of a quarter at 0.
    expected = slope * 24 * 2e-2 / 399 / 4
    found = float(run.blending_report(source, plan).split("differ by ")[1].split()[0])
    assert found == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.fixture
def planned_with(monkeypatch):
    """A function that plans with errors that are given for every halo, instead of measured; the exact halo is 104."""
    run = as_run(far_seeing(100))
    pixels = np.zeros((2000, 6000), np.float32)

    def plan(errors, tolerance):
        monkeypatch.setattr(halo_search, "largest_error", lambda probe, windows, references, halo: errors[halo])
        options = inference.TileOptions(seam_tolerance=tolerance, tile=256)
        return run.plan(data.open_source(pixels, spatial_dims=2), options).halo[1][0]

    return plan


def test_the_error_on_a_few_windows_may_be_twice_as_large_elsewhere(planned_with):
    """Half the tolerance is the most that a measured error may be."""
    rising = dict.fromkeys((8, 16, 24, 32, 48, 64, 96), 0.9e-3)
    assert planned_with(rising, 1e-3) == 104
    assert planned_with(dict.fromkeys(rising, 0.5e-3), 1e-3) == 8
    assert planned_with(dict.fromkeys(rising, 0.51e-3), 1e-3) == 104


def test_a_halo_that_holds_by_luck_is_not_taken(planned_with):
    """The errors of 8 are small, those of 16 are not: two halos in a row must hold."""
    errors = {8: 0, 16: 1, 24: 0, 32: 0, 48: 1, 64: 1, 96: 1}
    assert planned_with(errors, 1e-3) == 24
    assert planned_with(errors | {32: 1}, 1e-3) == 104
    assert planned_with(errors | {16: 0}, 1e-3) == 8
