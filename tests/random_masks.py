"""Random masks, how their pixels are connected, and the height of the strips in which they are read."""

import numpy as np
from hypothesis import strategies as st

SHAPES = [(1, 1), (9, 1), (1, 9), (24, 31), (40, 17), (7, 8, 9), (12, 5, 1)]


@st.composite
def masks(draw):
    """A random mask, how its pixels are connected, and the height of the strips."""
    shape = draw(st.sampled_from(SHAPES))
    seed, fraction = draw(st.integers(0, 10_000)), draw(st.sampled_from([0, 0.2, 0.45, 0.55, 0.7, 1]))
    mask = np.random.default_rng(seed).random(shape) < fraction
    return mask, draw(st.integers(1, len(shape))), draw(st.integers(1, shape[0]))


def whole(strips):
    """All strips of a mask, one behind the other."""
    return np.concatenate([strips.read(first, last) for first, last in strips.borders])


def discs(shape, centres, radius):
    """A mask of discs."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.any([(rows - r) ** 2 + (columns - c) ** 2 <= radius**2 for r, c in centres], axis=0)
