"""Object numbers are read as they are, and as one class."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.labels.instances import InstanceSource
from maskzoo.errors import LabelError


@pytest.mark.parametrize(("dtype", "kept"), [(np.uint8, np.uint16), (np.uint16, np.uint16), (np.int32, np.uint32)])
def test_numbers_are_kept_and_are_one_class(dtype, kept):
    source = InstanceSource(open_source(np.array([[0, 1, 1], [7, 0, 120]], dtype)))
    window = Window((0, 0), (2, 3))
    numbers = source.read_instances(window)
    assert numbers.dtype == kept
    assert numbers.tolist() == [[0, 1, 1], [7, 0, 120]]
    assert (source.dtype, source.channels) == (np.uint8, 1)
    assert source.read(window)[..., 0].tolist() == [[0, 1, 1], [1, 0, 1]]
    # Outside, the image is mirrored at its first row.
    assert source.read_instances(Window((-1, 0), (1, 3))).tolist() == [[7, 0, 120]]


@pytest.mark.parametrize(("value", "dtype"), [(-3, np.int16), (2**33, np.int64)])
def test_other_numbers_are_refused(value, dtype):
    source = InstanceSource(open_source(np.array([[0, 1], [1, value]], dtype)))
    with pytest.raises(LabelError, match=rf"array: expected object numbers from 0 to \d+; received {value}$"):
        source.read(Window((0, 0), (2, 2)))
