"""Values come part by part; of an image that was resized, as one part of its own size."""

import keras
import numpy as np
import pytest
from noise_runs import as_run

from maskzoo import data, inference
from maskzoo.errors import OptionError
from maskzoo.inference.results import Result
from maskzoo.inference.tiles import TileSelection
from maskzoo.inference.values import ImageTask, resized_source, values_of


@pytest.fixture(scope="module")
def run():
    """A run whose model returns its input as logits."""
    image = keras.Input((None, None, 1))
    return as_run(keras.Model(image, keras.layers.Activation("linear")(image)))


def test_parts_that_are_not_kept_are_background(run):
    source = data.open_source(np.full((8, 8, 1), 4, np.float32), spatial_dims=2)
    plan = run.plan(source, inference.TileOptions(tile=4))
    task = ImageTask(plan, Result("binary", ("a",), (0.5,)))
    found = list(values_of(run, run.reader(source), task, TileSelection(keep=lambda window: window.offset[0] == 0)))
    assert [part.max() for part in found] == [1, 1, 0, 0]
    assert [window.offset for window in task.parts()] == [(0, 0), (0, 4), (4, 0), (4, 4)]


def test_a_resized_image_is_one_part_of_its_own_size(run):
    source = data.open_source(np.full((6, 10, 1), 4, np.float32), spatial_dims=2)
    small = resized_source(source, [3, 5], 1 << 30)
    assert (small.shape, small.name) == ((3, 5), source.name)
    assert resized_source(source, 0.25, 1 << 30).shape == (2, 2)
    plan = run.plan(small, inference.TileOptions())
    task = ImageTask(plan, Result("binary", ("a",), (0.5,), "float32"), source.shape)
    (window,), (part,) = task.parts(), values_of(run, run.reader(small), task)
    assert (window.size, part.shape) == ((6, 10), (6, 10, 1))
    np.testing.assert_allclose(part, 1 / (1 + np.exp(-4)), rtol=1e-5)


def test_whole_numbers_stay_whole_when_they_are_averaged():
    source = data.open_source(np.array([[0, 5], [5, 5]], np.uint8)[..., None], spatial_dims=2)
    small = resized_source(source, 1, 1 << 30)
    assert (small.dtype, small.read(data.Window((0, 0), (1, 1))).item()) == (np.uint8, 4)


@pytest.mark.parametrize(
    ("size", "memory", "message"),
    [
        (4, 100, "resize: expected an image that fits the memory"),
        ([4, 4, 4], 1 << 30, "resize: expected 2 sizes"),
        (0, 1 << 30, "resize: expected 2 sizes of at least 1"),
    ],
)
def test_an_image_that_cannot_be_resized_is_refused(size, memory, message):
    source = data.open_source(np.zeros((8, 8, 1), np.uint8), spatial_dims=2)
    with pytest.raises(OptionError, match=message):
        resized_source(source, size, memory)
