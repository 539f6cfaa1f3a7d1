"""Pooling over parts of the image, and the resizing of its result."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo.models.pspnet import AverageBins, ResizeLike


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(("size", "bins"), [((12, 6), 6), ((7, 5), 3), ((2, 4), 6), ((9, 9), 1)])
def test_bins_average_over_their_share_of_the_image(size, bins):
    image = _images(2, *size, 3)
    found = _numpy(AverageBins(bins)(image))
    for row, column in np.ndindex(bins, bins):
        # The rule of PyTorch's adaptive pooling: from the floor of the share's start to the ceiling of its end.
        rows, columns = (
            slice(index * length // bins, -(-(index + 1) * length // bins))
            for index, length in zip((row, column), size, strict=True)
        )
        np.testing.assert_allclose(found[:, row, column], image[:, rows, columns].mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("size", [(6, 6), (7, 20), (3, 1)])
def test_small_maps_are_resized_linearly(size):
    small = _images(2, 3, 6, 2)
    found = ResizeLike()([small, np.zeros((2, *size, 5), "float32")])
    np.testing.assert_allclose(_numpy(found), tf.image.resize(small, size).numpy(), atol=1e-5)


def test_pooled_pyramids_export_with_free_sizes_that_do_not_divide(tmp_path):
    image = keras.Input((None, None, 3))
    pooled = ResizeLike()([AverageBins(6)(image), image])
    # A small map may be of free size, too.
    model = keras.Model(image, keras.layers.Add()([pooled, ResizeLike()([keras.layers.MaxPooling2D(3)(image), image])]))
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in ((16, 20), (7, 5)):
        images = _images(1, *size, 3)
        np.testing.assert_allclose(_numpy(exported.serve(images)), _numpy(model(images)), atol=1e-5)
