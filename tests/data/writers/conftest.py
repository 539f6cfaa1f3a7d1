"""What tests of writers write and read back."""

import numpy as np
import pytest

from maskzoo.data import Window, WriterOptions, open_source, open_writer, window_grid


@pytest.fixture(scope="session")
def write():
    """Function that writes an array `(*spatial, bands)` by windows of a size, with the options of a writer."""

    def write_windows(path, array, size, **options):
        options = WriterOptions(bands=array.shape[-1], dtype=array.dtype, **options)
        with open_writer(path, array.shape[:-1], options) as writer:
            for window in window_grid(array.shape[:-1], size):
                writer.write(window, array[window.slices])

    return write_windows


@pytest.fixture(scope="session")
def read():
    """Function that reads the whole of a file as labels are read."""

    def read_labels(path, spatial_dims=None):
        source = open_source(path, spatial_dims=spatial_dims, palette="index")
        return source.read(Window((0,) * len(source.shape), source.shape))

    return read_labels


@pytest.fixture(scope="session")
def values():
    """Function that makes an array of class ids from 0 to 2."""
    return lambda shape, dtype="uint8": np.random.default_rng(0).integers(0, 3, shape).astype(dtype)
