"""Factorised attention."""

import math

import numpy as np
from small_models import arrays

from maskzoo.models.encoders.coat import FactorizedAttention


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_factorized_attention_weighs_a_summary_of_all_tokens():
    image, token = _images(1, 2, 3, 12), _images(1, 1, 1, 12)
    found = [x.reshape(-1, 4) for x in arrays(FactorizedAttention(2)([image, token]))]
    tokens = np.concatenate([token.reshape(-1, 12), image.reshape(-1, 12)])
    query, key, value = np.split(tokens, 3, axis=1)
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(key[:, head])
        summary = (weights / weights.sum(axis=0)).T @ value[:, head]
        expected = query[:, head] @ summary / math.sqrt(2)
        np.testing.assert_allclose(np.concatenate(found[::-1])[:, head], expected, atol=1e-5)
