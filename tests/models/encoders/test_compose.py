"""Custom blocks inside an encoder."""

import keras
import numpy as np
import pytest
from small_models import arrays, shared_encoder

from maskzoo.models.encoders import insert_blocks


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _assert_close(ones, others, atol=1e-5):
    for one, other in zip(arrays(ones), arrays(others), strict=True):
        np.testing.assert_allclose(one, other, atol=atol * max(1, np.abs(other).max()))


@pytest.mark.parametrize("family", ["coat_lite", "resnet18", pytest.param("mobilenet", marks=pytest.mark.slow)])
def test_a_custom_block_changes_what_follows_it_and_nothing_before(family):
    encoder = shared_encoder(family)
    images = _images(1, 64, 64, 2)
    before = arrays(encoder(images))
    kept = insert_blocks(encoder, {16: keras.layers.Identity(name="own")})
    _assert_close(kept(images), before, atol=1e-6)
    changed = arrays(insert_blocks(encoder, {16: keras.layers.Rescaling(2.0, 0.5, name="own")})(images))
    deep = len(before) - 2
    for index in range(deep):
        np.testing.assert_array_equal(changed[index], before[index])
    np.testing.assert_allclose(changed[deep], 2 * before[deep] + 0.5, rtol=1e-5)
    assert np.abs(changed[-1] - before[-1]).max() > 1e-3 * np.abs(before[-1]).max()
    _assert_close(encoder(images), before)
    with pytest.raises(ValueError, match=r"expected the name of a layer or one of the strides .*received 64"):
        insert_blocks(encoder, {64: keras.layers.Identity()})
