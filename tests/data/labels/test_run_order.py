"""Runs that were counted along the rows and are read down the columns, or the other way, are noticed."""

import numpy as np
import pytest

from maskzoo.data.labels.run_lengths import Dialect, encode_rle, parse_runs
from maskzoo.data.labels.run_order import overlap, require_written_order
from maskzoo.data.labels.run_source import RunSource
from maskzoo.errors import LabelError


def disc(shape, radius=9):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - 15) ** 2 + (columns - 18) ** 2 < radius**2


def source(mask, *, written, read):
    """A label that was written in one order and is read in another."""
    runs = parse_runs(encode_rle(mask, column_major=written), mask.shape, Dialect(column_major=read))
    return RunSource("t.csv (a)", mask.shape, [runs], read)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 42), (64, 60), (60, 61)])
@pytest.mark.parametrize("written", [True, False])
def test_torn_areas_are_refused_and_whole_ones_are_not(shape, written):
    labels = [disc(shape, radius) for radius in range(14)]
    require_written_order([source(mask, written=written, read=written) for mask in labels])
    other = str(written).lower()
    with pytest.raises(LabelError, match=rf"t.csv \(a\): .* with `rle: \{{column_major: {other}\}}`"):
        require_written_order([source(mask, written=written, read=not written) for mask in labels])


def test_what_tells_nothing_is_taken_as_it_is():
    noise = np.random.default_rng(0).random((30, 50)) > 0.5
    square = disc((40, 40))
    few = np.zeros((30, 50), bool)
    few[3:6, 4:7] = True
    for mask in (noise, square, few, np.ones((30, 50), bool)):
        require_written_order([source(mask, written=False, read=True)])


@pytest.mark.parametrize("step", [0, 1, 7, 30, 2000])
def test_overlap_counts_pixels(step):
    flat = np.random.default_rng(1).random(500) > 0.4
    edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0, append=0)).reshape(-1, 2)
    assert overlap(edges, step) == (flat[: max(0, 500 - step)] & flat[step:]).sum()


def test_square_masks_do_not_hide_others_in_the_wrong_order():
    squares = [source(disc((40, 40), radius), written=False, read=True) for radius in range(14)] * 20
    torn = [source(disc((30, 50)), written=False, read=True)]
    require_written_order(squares)
    with pytest.raises(LabelError, match="column_major: false"):
        require_written_order(squares + torn)
