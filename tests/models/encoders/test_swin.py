"""Attention within windows."""

import math

import keras
import numpy as np
import pytest

from maskzoo.models.encoders.swin import WindowAttention


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _attend(query, keys, values, bias=0.0):
    scores = keys @ query / math.sqrt(len(query)) + bias
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


@pytest.mark.parametrize(("shift", "size"), [(0, (6, 9)), (1, (6, 9)), (1, (3, 6)), (2, (9, 5))])
def test_window_attention_is_attention_among_the_pixels_of_a_window(shift, size):
    window, heads, width = 3, 2, 4
    padded = [-(-length // window) * window for length in size]
    projections = _images(1, *padded, 3 * width)
    layer = WindowAttention(heads, window, shift)
    found = keras.ops.convert_to_numpy(layer([projections, np.zeros((1, *size, width), "float32")]))
    assert found.shape == (1, *size, width)
    table = keras.ops.convert_to_numpy(layer.table)

    def window_of(position):
        # The shift moves the windows' borders; the strip before the first border is a window of its own. An axis of a
        # single window stays whole.
        return tuple(
            (index + window - (shift if length > window else 0)) // window
            for index, length in zip(position, padded, strict=True)
        )

    query, key, value = np.split(projections[0], 3, axis=-1)
    for position in np.ndindex(*size):
        mates = [other for other in np.ndindex(*padded) if window_of(other) == window_of(position)]
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            bias = np.array(
                [
                    table[(position[0] - row + window - 1) * (2 * window - 1) + position[1] - column + window - 1, head]
                    for row, column in mates
                ]
            )
            keys, values = (np.array([x[mate][part] for mate in mates]) for x in (key, value))
            expected = _attend(query[position][part], keys, values, bias)
            np.testing.assert_allclose(found[0][position][part], expected, atol=1e-5)
