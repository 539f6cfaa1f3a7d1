"""SegNet: the marks of the encoder's maxima, and what the decoder makes of them."""

import keras
import numpy as np
import pytest
from keras import ops

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.segnet import WindowMaxima

# Windows of different order, and one of equal elements, whose first counts.
PLANE = [[1, 5, 7, 7, 9], [2, 3, 7, 7, 9], [0, -1, -4, -3, 9], [-1, 4, -2, -1, 9]]
MARKS = [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]


def test_the_first_largest_element_of_every_window_is_marked():
    marks = WindowMaxima()(np.array(PLANE, "float32")[None, :, :, None])
    np.testing.assert_array_equal(marks[0, ..., 0], MARKS)


def test_marks_in_volumes_pick_out_what_pooling_finds():
    volume = np.random.default_rng(0).normal(size=(2, 4, 6, 2, 3)).astype("float32")
    marks = ops.convert_to_numpy(WindowMaxima()(volume))
    windows = (volume * marks).reshape(2, 2, 2, 3, 2, 1, 2, 3)
    pooled = keras.layers.MaxPooling3D(2)(volume)
    np.testing.assert_array_equal(windows.sum((2, 4, 6)), pooled)
    assert set(np.unique(marks.reshape(windows.shape).sum((2, 4, 6)))) == {1}


def test_the_decoder_puts_features_back_where_the_encoder_found_its_maxima():
    model = models.build_model("segnet", (4, 4, 1), filters=(1, 1), convs=(1, 1))
    layers = ("encoder0_maxima", "decoder1_0_relu", "decoder0_unpool")
    places = [model.get_layer(name).output for name in layers]
    image = np.random.default_rng(1).normal(size=(1, 4, 4, 1)).astype("float32")
    marks, coarse, unpooled = (ops.convert_to_numpy(x)[0, ..., 0] for x in keras.Model(model.input, places)(image))
    for row, column in np.ndindex(2, 2):
        window = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_array_equal(unpooled[window], marks[window] * coarse[row, column])


def test_a_mark_depends_on_its_whole_window():
    inputs = keras.Input((None, None, 1))
    geometry = analysis.geometry(keras.Model(inputs, WindowMaxima()(inputs)))
    assert (geometry.stride, geometry.receptive_field, geometry.halo) == ((2, 2), (2, 2), ((1, 1), (1, 1)))


def test_it_sees_as_far_as_its_geometry_says():
    """Gaps hide most of what it sees in one image: what changes is gathered from many."""
    keras.utils.set_random_seed(0)
    model = models.build_model("segnet", (None, None, 1), filters=(4, 4), convs=(1, 1))
    size, rng = 40, np.random.default_rng(0)
    seen = np.zeros((size, size), bool)
    for _ in range(12):
        image = rng.normal(size=(size, 4, 1)).astype("float32")
        stack = np.stack([image] * (size + 1))
        for plane in range(size):
            stack[plane + 1, plane] += 10 * rng.normal(size=(4, 1))
        answers = model.predict_on_batch(stack)
        seen |= (answers[1:] != answers[:1]).any((2, 3))
    planes, rows = np.nonzero(seen)
    inside = (rows >= 12) & (rows < size - 12)
    before, after = (rows - planes)[inside].max(), (planes - rows)[inside].max()
    assert (before, after) == analysis.geometry(model).halo[0]


def test_convolutions_are_given_for_every_level():
    with pytest.raises(ValueError, match=r"convs: expected 5 numbers, one per level; received \(2, 2\)"):
        models.build_model("segnet", (None, None, 3), convs=(2, 2))
    with pytest.raises(ValueError, match="convs: expected a whole number of at least 1; received 0"):
        models.build_model("segnet", (None, None, 3), filters=(4, 4), convs=(2, 0))
