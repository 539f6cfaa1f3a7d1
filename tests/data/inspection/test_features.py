"""Features of waves are those of their period and amplitude."""

import numpy as np
import pytest

from maskzoo.data.inspection.features import band_powers, describe, feature_names


@pytest.mark.parametrize(
    ("period", "name"), [(32, "waves over 16 px"), (12, "waves of 16 to 8 px"), (3, "waves of 4 to 2 px")]
)
def test_features_of_a_wave(period, name):
    names = feature_names(1)
    columns = np.broadcast_to(np.arange(64), (64, 64))[..., None]
    found = dict(zip(names, describe(100 + 50 * np.sin(2 * np.pi * columns / period)), strict=True))
    assert max((n for n in names if n.startswith("waves")), key=found.get) == name
    assert found["mean channel 1"] == pytest.approx(100, abs=3)
    assert found["deviation channel 1"] == pytest.approx(50 / 2**0.5, rel=0.05)
    # The mean of |cos| is 2 / pi, of waves that are long enough, and half of the steps are along the other axis.
    if period > 3:
        assert found["edges"] == pytest.approx(2**0.5 * 2 / np.pi * 2 * np.sin(np.pi / period) / 2, rel=0.05)


def test_features_of_nothing_are_finite():
    assert np.isfinite(describe(np.full((16, 16, 3), 7, np.uint8))).all()


def test_every_feature_has_a_name():
    for channels, shape in ((1, (16, 16)), (3, (16, 16)), (2, (8, 8, 8))):
        pixels = np.random.default_rng(0).normal(0, 1, (*shape, channels))
        assert len(feature_names(channels)) == len(describe(pixels))


def test_powers_are_fractions_of_the_whole():
    assert band_powers(np.random.default_rng(0).normal(0, 1, (32, 20, 24))).sum() == pytest.approx(1)
