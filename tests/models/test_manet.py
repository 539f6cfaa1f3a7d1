"""Attention between positions in MA-Net."""

import keras
import numpy as np
import pytest
from small_models import small_model

from maskzoo.models import analysis
from maskzoo.models.manet import PositionAttention


@pytest.mark.parametrize("size", [(2, 3), (1, 1)])
def test_values_are_summed_by_one_softmax_over_all_pairs_and_read_plane_by_plane(size):
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=(2, *size, channels)).astype("float32") for channels in (4, 4, 5))
    found = keras.ops.convert_to_numpy(PositionAttention()([query, key, value]))
    for image in range(2):
        pairs = np.exp(query[image].reshape(-1, 4) @ key[image].reshape(-1, 4).T)
        sums = (pairs / pairs.sum()) @ value[image].reshape(-1, 5)
        planes = sums.ravel().reshape(5, *size)
        np.testing.assert_allclose(found[image], np.moveaxis(planes, 0, -1), atol=1e-6)


def test_large_scores_stay_finite():
    large = np.full((1, 2, 2, 1), 100, "float32")
    assert np.isfinite(PositionAttention()([large, large, large])).all()


def test_its_geometry_is_global():
    assert any("attends to the whole image" in layer for layer in analysis.geometry(small_model("manet")).global_layers)
