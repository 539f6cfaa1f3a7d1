"""Values come back from the scratch file as they were written, however they are laid out and cut."""

import errno
import os

import numpy as np
import pytest

from maskzoo import data
from maskzoo.errors import DiskFull
from maskzoo.inference import scratch
from maskzoo.inference.scratch import ScratchFile


@pytest.mark.parametrize(
    ("shape", "tile", "column_major"),
    [
        ((37, 29), (16, 10), False),
        ((5, 5), (9, 9), False),
        ((9, 8, 7), (4, 8, 3), False),
        # Run lengths, which are read column by column, are of images.
        ((37, 29), (16, 10), True),
        ((5, 5), (9, 9), True),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_window_of_any_band_is_read_back(tmp_path, shape, tile, column_major, dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (*shape, 2)).astype(dtype)
    parts = data.window_grid(shape, tile)
    values[parts[0].slices] = 0  # a part of zeros, which is not written
    file = ScratchFile(tmp_path / "values", parts, bands=2, dtype=dtype, column_major=column_major)
    file.open(resume=False)
    assert file.size == values.nbytes == (tmp_path / "values").stat().st_size
    for number, part in enumerate(parts):
        file.write(number, values[part.slices])
    windows = [data.Window((0,) * len(shape), shape)]
    for _ in range(20):
        offset = [int(rng.integers(0, n)) for n in shape]
        size = [int(rng.integers(1, n - o + 1)) for n, o in zip(shape, offset, strict=True)]
        windows.append(data.Window(tuple(offset), tuple(size)))
    for window in windows:
        for band in range(2):
            np.testing.assert_array_equal(file.read(window, band), values[(*window.slices, band)])
    file.close()


def test_what_was_there_is_found_again(tmp_path):
    parts = data.window_grid((8, 8), (4, 4))
    first = ScratchFile(tmp_path / "values", parts, bands=1, dtype="uint8")
    first.open(resume=False)
    first.write(2, np.full((4, 4, 1), 7))
    checksum = first.checksum(0, 4)
    first.close()
    again = ScratchFile(tmp_path / "values", parts, bands=1, dtype="uint8")
    assert again.is_there
    again.open(resume=True)
    assert again.checksum(0, 4) == checksum
    assert again.read(parts[2], 0).tolist() == [[7] * 4] * 4
    # Zeros take the place of what an earlier process has written.
    again.write(2, np.zeros((4, 4, 1)))
    assert not again.read(parts[2], 0).any()
    again.close()
    assert not ScratchFile(tmp_path / "values", parts, bands=2, dtype="uint8").is_there


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_what_is_needed(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no more")

    monkeypatch.setattr(scratch, "reserve", refuse)
    file = ScratchFile(tmp_path / "values", data.window_grid((64, 64), (64, 64)), bands=1, dtype="uint8")
    expected = rf"{tmp_path}: no space left: expected 4 KB; received .* free; the same command resumes where it stopped"
    with pytest.raises(DiskFull, match=expected):
        file.open(resume=False)


def test_another_error_of_the_disk_stays_what_it_is(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", refuse)
    file = ScratchFile(tmp_path / "values", data.window_grid((4, 4), (4, 4)), bands=1, dtype="uint8")
    file.open(resume=False)
    with pytest.raises(OSError, match="broken") as error:
        file.sync()
    assert not isinstance(error.value, DiskFull)
    file.close()


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1536, "1.5 KB"), (5 * 1024**3, "5 GB")]
)
def test_bytes_are_written_for_people(number, text):
    assert scratch.in_bytes(number) == text
