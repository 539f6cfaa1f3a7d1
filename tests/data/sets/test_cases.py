"""Cases read normalised images, labels of known meaning and, if there are any, object numbers."""

import numpy as np
import pytest

from maskzoo.data import LabelScheme, Normalizer, Window, open_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.labels.instances import InstanceSource
from maskzoo.data.sets.cases import make_cases
from maskzoo.data.sets.pairs import Pair

CELL = LabelScheme("binary", ("cell",), ((0,), (1, 255)))
WINDOW = Window((0, 0), (1, 3))


def test_a_case_of_a_pair():
    image = open_source(np.array([[0, 51, 255]], np.uint8), spatial_dims=2)
    label = open_source(np.array([[0, 255, 1]], np.uint8), spatial_dims=2)
    numbers = InstanceSource(open_source(np.array([[0, 9, 4]], np.uint16), spatial_dims=2))
    pairs = [Pair("masks", image, label), Pair("numbers", image, numbers)]
    plain, numbered = make_cases(pairs, CELL, Normalizer("none", 1))
    for case in (plain, numbered):
        np.testing.assert_allclose(case.read_image(WINDOW)[..., 0], [[0, 0.2, 1]], rtol=1e-6)
        assert case.read_label(WINDOW)[..., 0].tolist() == [[0, 1, 1]]
        assert (case.path, case.image, case.weight) == (None, image, 1)
    assert (plain.name, plain.read_instances) == ("masks", None)
    assert numbered.name == "numbers"
    assert numbered.read_instances(WINDOW).tolist() == [[0, 9, 4]]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_pixels_that_an_image_lacks_do_not_count(tmp_path, task):
    profile = {"driver": "GTiff", "width": 3, "height": 1, "count": 2, "dtype": "uint8", "nodata": 0}
    with open_raster(tmp_path / "a.tif", "w", **profile) as file:
        # Of the second pixel one channel is held, of the third none.
        file.write(np.array([[[5, 0, 0]], [[5, 7, 0]]], np.uint8))
    scheme = {
        "binary": CELL,
        "multilabel": LabelScheme("multilabel", ("a", "b"), ((1,), (1, 2))),
        "multiclass": LabelScheme("multiclass", ("a", "b"), ((0,), (1,))),
    }[task]
    label = open_source(np.array([[0, 1, 1]], np.uint8), spatial_dims=2)
    image = open_source(tmp_path / "a.tif")
    whole = open_source(np.full((1, 3, 2), 5, np.uint8), spatial_dims=2)
    lacking, plain = make_cases([Pair("a", image, label), Pair("b", whole, label)], scheme, Normalizer("none", 2))
    assert (lacking.ignore_index, plain.ignore_index, scheme.ignore_index) == (255, None, None)
    expected, found = plain.read_label(WINDOW), lacking.read_label(WINDOW)
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    assert (found[:, 2] == 255).all()
    mirrored = lacking.read_label(Window((0, 1), (1, 4)))
    assert [bool((mirrored[:, n] == 255).all()) for n in range(4)] == [False, True, False, False]
