"""Normalisation in a graph against that of prediction."""

import numpy as np
import pytest
import tensorflow as tf

from maskzoo import data
from maskzoo.deployment.normalization import normalized


@pytest.mark.parametrize("kind", ["none", "dataset", "image", "percentile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_normalisation_is_that_of_prediction(kind, dtype, noise):
    image = noise((33, 20), 2, dtype)
    image[..., 1] = 7  # a channel without contrast
    measured = data.open_source(noise((9, 9), 2, dtype, seed=1), spatial_dims=2)
    normalizer = data.Normalizer.measured(kind, [measured])
    expected = normalizer(data.open_source(image, spatial_dims=2))(data.Window((0, 0), (33, 20)))
    received = normalized(tf.constant(image[None]), normalizer.as_dict())[0].numpy()
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)
