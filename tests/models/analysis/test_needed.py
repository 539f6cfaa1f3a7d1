"""What a part of a mask needs, counted by hand."""

import keras
import pytest

from maskzoo.models import analysis


def chain():
    """Two convolutions of kernel 3: 3 x 3 x 1 x 4 and 3 x 3 x 4 x 2 products per element."""
    image = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    return keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(x))


def test_each_convolution_needs_one_more_element_on_every_side():
    found = analysis.needed(chain(), (20, 20), ((8, 12), (8, 12)))
    first, second = found.steps
    # Elements 8 to 11 read 7 to 12 of the features, and these read 6 to 13 of the image.
    assert second.given == (((7, 13), (7, 13)),)
    assert first.given == (((6, 14), (6, 14)),)
    # Both are given what they read, and return as much of it.
    assert found.work == pytest.approx((8 * 8 * 36 + 6 * 6 * 72) / (20 * 20 * (36 + 72)))
    # The image, its cut copy and the features, while the first convolution runs.
    assert found.peak_bytes == 4 * (20 * 20 + 8 * 8 + 8 * 8 * 4)


def test_an_end_of_the_image_stays_one():
    _, second = analysis.needed(chain(), (20, 20), ((0, 4), (16, 20))).steps
    assert second.given == (((0, 5), (15, 20)),)


def test_what_a_strided_layer_is_given_begins_at_a_whole_step():
    image = keras.Input((None, None, 1))
    x = keras.layers.MaxPooling2D(4)(image)
    x = keras.layers.UpSampling2D(4)(x)
    model = keras.Model(image, keras.layers.Add()([x, image]))
    found = analysis.needed(model, (40, 40), ((9, 10), (13, 14)))
    pooling, upsampling, _ = found.steps
    assert pooling.given == (((8, 12), (12, 16)),)
    assert upsampling.given == (((2, 3), (3, 4)),)


def test_what_a_mask_does_not_depend_on_is_left_out():
    image = keras.Input((None, None, 1))
    mask = keras.layers.Conv2D(1, 1, name="conv")(image)
    label = keras.layers.GlobalAveragePooling2D(name="pooled")(image)
    model = keras.Model(image, {"mask": mask, "label": label})
    found = analysis.needed(model, (8, 8), ((0, 4), (0, 4)))
    assert [step.call.operation.name for step in found.steps] == ["conv"]


def test_a_layer_that_sees_the_whole_image_is_given_all_of_it():
    image = keras.Input((None, None, 2))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(image)
    model = keras.Model(image, keras.layers.Multiply()([image, pooled]))
    pooling, multiplied = analysis.needed(model, (16, 16), ((4, 8), (4, 8))).steps
    assert pooling.given == (((0, 16), (0, 16)),)
    assert multiplied.given[1] == ((0, 1), (0, 1))


def test_a_model_without_kernels_is_all_the_work_that_there_is():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.MaxPooling2D(3, 1, padding="same")(image))
    assert analysis.needed(model, (16, 16), ((4, 8), (4, 8))).work == 1


def test_the_kernels_of_folded_slices_are_counted_for_every_slice():
    image = keras.Input((4, 20, 1))
    folded = keras.ops.reshape(image, (-1, 20, 1))
    x = keras.layers.Conv1D(2, 1, name="folded")(folded)
    model = keras.Model(image, keras.layers.Conv2D(1, (1, 3), padding="same")(keras.ops.reshape(x, (-1, 4, 20, 2))))
    # All of 4 x 20 x 2 products before the slices come back, and behind 4 x 7 x 6 of 4 x 20 x 6.
    assert analysis.needed(model, (4, 20), ((0, 4), (5, 10))).work == pytest.approx((160 + 168) / 640)


def test_the_memory_inside_attention_is_counted():
    image = keras.Input((8, 8, 2))
    x = keras.layers.Reshape((64, 2))(image)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(image, keras.layers.Reshape((8, 8, 2))(x))
    found = analysis.needed(model, (8, 8), ((0, 8), (0, 8))).peak_bytes
    # Two heads compare 64 elements with 64.
    assert found >= 4 * 2 * 64 * 64
    assert found >= analysis.peak_activation_bytes(model, (8, 8, 2))
