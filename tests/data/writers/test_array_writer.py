"""Arrays in files: their space is reserved, their bands are written one by one or all at once."""

import numpy as np

from maskzoo.data import Window, WriterOptions
from maskzoo.data.writers.array_writer import ArrayWriter, put, reserved_array


def test_one_band_gets_no_axis_and_several_do(tmp_path):
    for bands, shape in ((1, (3, 4)), (2, (3, 4, 2))):
        ArrayWriter(tmp_path / "a.npy", (3, 4), WriterOptions(bands, "uint16")).finish()
        array = np.load(tmp_path / "a.npy")
        assert (array.shape, array.dtype, array.any()) == (shape, np.uint16, False)


def test_bands_are_written_one_by_one_or_together():
    window = Window((1, 1), (2, 2))
    values = np.arange(8).reshape(2, 2, 2)
    together, single = np.zeros((4, 4, 2), int), np.zeros((4, 4, 2), int)
    put(together, window, values, None, 2)
    for band in range(2):
        put(single, window, values[..., band, None], band, 2)
    np.testing.assert_array_equal(together, single)
    np.testing.assert_array_equal(together[1:3, 1:3], values)
    assert np.count_nonzero(together) == np.count_nonzero(values)


def test_space_is_reserved_behind_the_header(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"head")
    array = reserved_array(path, "int16", 4, (2, 3), "F")
    array[1, 0] = 258
    array.flush()
    del array
    assert path.stat().st_size == 4 + 12
    assert path.read_bytes()[4:10] == b"\0\0\x02\x01\0\0"
