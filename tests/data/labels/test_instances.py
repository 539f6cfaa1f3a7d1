"""Object numbers are read as they are, and as one class."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.labels.instances import InstanceSource, numbers_objects
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


def blocks(count, *, start=1, step=1, side=60):
    """A label of that many blocks of 3 x 3 pixels, numbered one after the other."""
    label = np.zeros((side, side), np.uint16)
    for number in range(count):
        top, left = 5 * (number // 10), 5 * (number % 10)
        label[top : top + 3, left : left + 3] = start + step * number
    return open_source(label, palette="index")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([blocks(9), blocks(12)], True),
        ([blocks(3), blocks(90)], True),
        ([blocks(9, start=70, step=3), blocks(9, start=500)], True),
        ([blocks(5), blocks(7)], False),  # few enough for classes
        ([blocks(12), blocks(12)], False),  # the same ones everywhere are classes
        ([blocks(5), blocks(5, start=6)], True),  # counted on from image to image
        ([blocks(1, start=number) for number in range(1, 12)], False),  # one class in each image
        ([blocks(9, step=2), blocks(12)], False),  # small ids with gaps are classes
        ([blocks(2, start=100, step=100)] * 3, False),  # a mask of grey levels
    ],
)
def test_numbers_of_objects_are_no_classes(labels, expected):
    assert numbers_objects(labels) == expected


def test_values_of_several_parts_each_are_no_objects():
    rng = np.random.default_rng(0)
    levels = [open_source(rng.integers(0, 200, (40, 40)).astype(np.uint8)) for _ in range(2)]
    assert not numbers_objects(levels)
    classes = [open_source(np.kron(rng.integers(0, n, (9, 9)), np.ones((4, 4), np.uint8))) for n in (9, 12)]
    assert not numbers_objects(classes)


def test_labels_without_background_number_no_objects():
    numbers = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert numbers_objects([open_source(numbers)])
    assert not numbers_objects([open_source(numbers + 1)])


def test_negative_values_fractions_and_colours_number_no_objects():
    numbers = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert numbers_objects([open_source(numbers)])
    assert not numbers_objects([open_source(numbers - 1)])
    assert not numbers_objects([open_source(numbers / 2)])
    assert not numbers_objects([open_source(np.stack([numbers, numbers + 1], axis=-1), spatial_dims=2)])
