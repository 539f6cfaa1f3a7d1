"""Cases read normalised images, labels of known meaning and, if there are any, object numbers."""

import numpy as np

from maskzoo.data import LabelScheme, Normalizer, Window, open_source
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
