"""The cache of readers stays within its limit, in every thread and process."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images import tifffile_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.images.rasterio_source import OPEN_FILES_PER_THREAD
from maskzoo.data.images.reader_cache import ReaderCache


def test_the_least_recently_used_values_go():
    cache = ReaderCache(3)
    for key in "abc":
        cache.get(key, lambda key=key: key.upper())
    assert cache.get("a", lambda: "made again") == "A"
    cache.get("d", lambda: "D")
    assert len(cache) == 3
    assert cache.get("a", lambda: "made again") == "A"
    assert cache.get("b", lambda: "made again") == "made again"


def test_sizes_add_up_to_at_most_the_limit():
    cache = ReaderCache(100, len)
    for key in range(20):
        cache.get(key, lambda: bytes(30))
    assert len(cache) == 3


def test_a_value_larger_than_the_limit_is_kept_alone():
    cache = ReaderCache(100, len)
    cache.get("small", lambda: bytes(10))
    large = cache.get("large", lambda: bytes(1000))
    assert cache.get("large", lambda: pytest.fail("made again")) is large
    assert len(cache) == 1


def test_a_dropped_value_is_made_again():
    cache = ReaderCache(3)
    cache.get("a", lambda: 1)
    cache.drop("a")
    cache.drop("never there")
    assert cache.get("a", lambda: 2) == 2


def test_concurrent_threads_get_equal_values():
    cache = ReaderCache(5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: cache.get(number % 7, lambda: number % 7), range(2000)))
    assert found == [number % 7 for number in range(2000)]
    assert len(cache) <= 5


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system does not fork")
def test_a_forked_process_starts_empty_and_leaves_its_parents_values_alone():
    cache = ReaderCache(3)
    cache.get("a", lambda: "the parent's")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        size = len(cache)
        found = cache.get("a", lambda: "the child's")
        os.write(writer, f"{size} {found}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"0 the child's"
    assert cache.get("a", lambda: "made again") == "the parent's"
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_a_thread_holds_few_files_open(tmp_path):
    layout = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8"}
    paths = [tmp_path / f"{number}.tif" for number in range(OPEN_FILES_PER_THREAD + 20)]
    for path in paths:
        with open_raster(path, "w", **layout) as file:
            file.write(np.ones((1, 4, 4), np.uint8))

    def open_here():
        targets = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        return sum(target.startswith(str(tmp_path)) for target in targets)

    for path in paths:
        assert open_source(path).read(Window((0, 0), (4, 4))).all()
        assert open_here() <= OPEN_FILES_PER_THREAD + 1


def test_decoded_tiles_take_no_more_than_their_limit(tmp_path, monkeypatch):
    import tifffile

    monkeypatch.setattr(tifffile_source, "_tiles", ReaderCache(3 * 64 * 64, lambda tile: tile.nbytes))
    image = np.random.default_rng(0).integers(0, 255, (640, 640)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", image, photometric="minisblack", compression="jpegxl", tile=(64, 64))
    source = open_source(tmp_path / "slide.tif")
    np.testing.assert_array_equal(source.read(Window((0, 0), (640, 640)))[..., 0], image)
    assert len(tifffile_source._tiles) == 3
