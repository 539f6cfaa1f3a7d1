"""Outlines of a mask's areas: burned again they give the mask back, one for each area, whatever the blocks."""

import numpy as np
import pytest
from rasterio.features import rasterize
from scipy import ndimage

from maskzoo.data import trace_outlines

RINGS = np.kron(np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], np.uint8), np.ones((9, 7), np.uint8))
NOISE = np.random.default_rng(0).integers(0, 3, (40, 53)).astype(np.uint8)
SPIRAL = np.ones((31, 31), np.uint8)
SPIRAL[1:-1:2, 1:] = 0
SPIRAL[1::4, -1] = 1
SPIRAL[3::4, 0] = 0
SPIRAL[3::4, 1] = 1
MASKS = {
    "nothing": np.zeros((9, 9), np.uint8),
    "one pixel": np.pad(np.ones((1, 1), np.uint8), 4),
    "everything": np.full((30, 20), 2, np.uint8),
    "ring": RINGS,
    "noise": NOISE,
    "spiral": SPIRAL,
    "chequers": (np.indices((12, 13)).sum(0) % 2).astype(np.uint8),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("block", [1, 3, 8, 64])
def test_outlines_give_the_mask_back(name, block):
    mask = MASKS[name]
    found = list(trace_outlines(lambda window: mask[window.slices], mask.shape, block=block))
    again = np.zeros_like(mask)
    for kind, pixels, rings in found:
        # One pixel of ground around: rasterio takes the identity for a missing transform, and warns.
        shape = {"type": "Polygon", "coordinates": [(ring + 1).tolist() for ring in rings]}
        area = rasterize([shape], [n + 2 for n in mask.shape], dtype="uint8")[1:-1, 1:-1]
        assert area.sum() == pixels
        assert not again[area > 0].any(), "two outlines of one pixel"
        again[area > 0] = kind
        for ring in rings:
            np.testing.assert_array_equal(ring[0], ring[-1])
            steps = np.diff(ring, axis=0)
            assert (np.count_nonzero(steps, axis=1) == 1).all(), "a side that is not straight"
            turns = np.count_nonzero(steps, axis=1) * (steps[:, 0] != 0)
            assert (turns != np.roll(turns, 1)).all(), "a corner in the middle of a side"
    np.testing.assert_array_equal(again, mask)
    # Areas that hang together over the sides of their pixels, counted by another library.
    assert len(found) == sum(ndimage.label(mask == kind)[1] for kind in np.unique(mask[mask > 0]))


def test_outlines_read_block_by_block():
    largest = []

    def read(window):
        largest.append(max(window.size))
        return NOISE[window.slices]

    assert sum(pixels for _, pixels, _ in trace_outlines(read, NOISE.shape, block=16)) == np.count_nonzero(NOISE)
    assert max(largest) == 16
