"""What is measured on large files is kept by content; a cache that does not work costs time only."""

import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from maskzoo.data import open_source
from maskzoo.data.images.measurement_cache import cache_folder, remembered


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((2100, 2050, 1), np.uint8))
    return tmp_path / "image.npy"


def test_a_measurement_is_kept_until_the_content_changes(file, tmp_path):
    cache, measured = tmp_path / "cache", []

    def measure():
        measured.append(1)
        return [np.array(len(measured))]

    assert [remembered("sum", [open_source(file)], measure, cache)[0] for _ in range(2)] == [1, 1]
    assert remembered("other", [open_source(file)], measure, cache) == [2]
    (kept, _) = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    kept.write_bytes(b"damaged")
    assert remembered("sum", [open_source(file)], measure, cache) == [3]
    np.save(file, np.ones((2100, 2050, 1), np.uint8))
    assert remembered("sum", [open_source(file)], measure, cache) == [4]


def test_small_images_and_arrays_leave_nothing_behind(tmp_path):
    small, array = tmp_path / "small.npy", np.zeros((3000, 3000), np.uint8)
    np.save(small, array[:9, :9])
    for source in (open_source(small), open_source(array)):
        assert remembered("sum", [source], lambda: [np.array(7)], tmp_path / "cache") == [7]
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_time_only(file, tmp_path):
    (tmp_path / "taken").touch()
    for _ in range(2):
        assert remembered("sum", [open_source(file)], lambda: [np.array(7)], tmp_path / "taken") == [7]
    assert (tmp_path / "taken").is_file()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MASKZOO_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("MASKZOO_CACHE")
    assert cache_folder() == Path(platformdirs.user_cache_dir("maskzoo", appauthor=False))
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
        assert cache_folder() == tmp_path / "b" / "maskzoo"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "maskzoo"
