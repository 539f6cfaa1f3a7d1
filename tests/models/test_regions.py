"""Regions around large structures: geometry worked out by hand, image and label aligned."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from maskzoo import models
from maskzoo.models import regions


def box_of(mask, region="square", margin=0):
    return [tuple(float(x[0, 0]) for x in span) for span in regions.boxes_around(mask[None], region, margin)]


def test_boxes_are_those_worked_out_by_hand():
    mask = np.zeros((32, 64), bool)
    mask[8:12, 20:24] = True
    assert box_of(mask, "box") == [(8, 12), (20, 24)]
    assert box_of(mask, "box", margin=10) == [(0, 22), (10, 34)]
    # Of an image twice as wide as high: an eighth of both, about the middle (10, 22).
    assert box_of(mask, "square") == [(8, 12), (18, 26)]
    mask[8:12, 0:4] = True
    # 24 of 64 columns, so 12 of 32 rows, about row 10.
    assert box_of(mask, "square") == [(4, 16), (0, 24)]
    assert box_of(np.zeros((32, 64), bool)) == [(0, 32), (0, 64)]
    mask[0:2] = True
    assert box_of(mask, "square") == [(0, 32), (0, 64)]


@pytest.mark.parametrize("region", ["box", "square", "mask"])
def test_a_marker_lies_at_the_same_place_in_image_and_label(region):
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.01, (6, 48, 64, 2)).astype("float32")
    labels = np.zeros((6, 48, 64, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(2, 20, 2)
        label[top : top + 22, left : left + 30, 0] = 1
        row, column = top + rng.integers(3, 15), left + rng.integers(3, 22)
        label[row : row + 4, column : column + 4, 2] = 1
        image[row : row + 4, column : column + 4, 1] = 10
    found, parts = models.cut_regions(images, labels, large=[0, 1], fine=[2], region=region)
    found, fine = np.asarray(found), np.asarray(parts["fine"])
    np.testing.assert_array_equal(parts["mask"], labels[..., :2])
    assert (found.shape, fine.shape) == (images.shape, (6, 48, 64, 1))
    assert set(np.unique(fine)) == {0, 1}
    for index in range(6):
        # The marker, enlarged, where its flanks pass half its height: to half a pixel what is nearest to it.
        bright, marked = found[index, ..., 1] > 5, fine[index, ..., 0] == 1
        assert marked.sum() > 16
        assert (bright & ~ndimage.binary_dilation(marked)).sum() == 0
        assert (ndimage.binary_erosion(marked) & ~bright).sum() == 0
        middles = [ndimage.center_of_mass(where) for where in (bright, marked)]
        np.testing.assert_allclose(*middles, atol=0.51)
        if region == "mask":
            assert (found[index] == 0).any()


def test_a_box_is_enlarged_as_scipy_does_and_put_back_where_it_was():
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.normal(size=(40, 40)), 3).astype("float32")
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 10:30, 4:24] = True
    boxes = regions.boxes_around(mask, "square", 0)
    large = np.asarray(regions.enlarge_boxes(image[None, ..., None], boxes))[0, ..., 0]
    rows, columns = np.meshgrid(9.75 + 0.5 * np.arange(40), 3.75 + 0.5 * np.arange(40), indexing="ij")
    np.testing.assert_allclose(large, ndimage.map_coordinates(image, [rows, columns], order=1), atol=1e-5)
    back = np.asarray(regions.put_back(large[None, ..., None], boxes))[0, ..., 0]
    np.testing.assert_allclose(back[10:30, 4:24], image[10:30, 4:24], atol=0.02)
    outside = np.ones((40, 40), bool)
    outside[10:30, 4:24] = False
    assert (back[outside] == regions.OUTSIDE).all()


def test_pixels_that_do_not_count_stay_so():
    labels = np.zeros((1, 32, 32, 2), np.uint8)
    labels[0, 8:24, 8:24, 0] = 1
    labels[0, 12:20, 12:20, 1] = 255
    _, parts = models.cut_regions(np.zeros((1, 32, 32, 1)), labels, large=[0], fine=[1], region="box")
    assert set(np.unique(parts["fine"])) == {0, 255}


def reader_of_channels():
    """A model of two images whose logits are 10 times a channel of what it sees, less 5: no weights to train."""
    image, region = (keras.Input((None, None, 2), name=name) for name in ("image", "region"))
    heads = [keras.layers.Conv2D(1, 1, name=name) for name in ("mask", "fine")]
    outputs = {head.name: head(x) for head, x in zip(heads, (image, region), strict=True)}
    model = keras.Model([image, region], outputs)
    for channel, head in enumerate(heads):
        kernel = np.zeros((1, 1, 2, 1))
        kernel[0, 0, channel] = 10
        head.set_weights([kernel, np.array([-5.0])])
    return model


def test_tiny_structures_are_found_in_the_region_only_and_classes_keep_their_order(tmp_path):
    image = np.zeros((1, 48, 48, 2), "float32")
    image[0, 10:34, 10:34, 0] = 1
    image[0, 20:26, 14:20, 1] = 1
    image[0, 1, 45, :] = 1  # a stray pixel, and a tiny structure beside it, both far from the large one
    model = models.two_stage(reader_of_channels(), large=[1], fine=[0])
    logits = np.asarray(model(image))
    expected = image[..., 1] > 0.5
    expected[0, 1, 45] = False
    np.testing.assert_array_equal(logits[..., 0] > 0, expected)
    np.testing.assert_array_equal(logits[..., 1] > 0, image[..., 0] > 0.5)
    assert models.analysis.geometry(model).is_global
    model.save(tmp_path / "two_stage.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "two_stage.keras")(image), logits)
