import numpy as np
import pytest

from maskzoo import models
from maskzoo.models.unetr import InterpolatedPositions


def positions(grid, values):
    layer = InterpolatedPositions(grid)
    layer.build((None, *[None] * len(grid), 1))
    layer.table.assign(np.reshape(np.array(values, "float32"), layer.table.shape))
    return layer


def test_positions_are_those_of_the_table_at_its_size_and_between_them_at_others():
    layer = positions((2, 3), [[0, 3, 6], [10, 13, 16]])
    same = np.asarray(layer(np.ones((1, 2, 3, 1), "float32")))[0, ..., 0]
    np.testing.assert_allclose(same, [[1, 4, 7], [11, 14, 17]], atol=1e-5)
    # Twice as long: four elements lie at -0.25, 0.25, 0.75 and 1.25 of the two rows, and those beyond are the ends.
    larger = np.asarray(layer(np.zeros((1, 4, 3, 1), "float32")))[0, ..., 0]
    np.testing.assert_allclose(larger[:, 0], [0, 2.5, 7.5, 10], atol=1e-5)
    smaller = np.asarray(layer(np.zeros((1, 1, 1, 1), "float32")))[0, ..., 0]
    np.testing.assert_allclose(smaller, [[8]], atol=1e-5)


SMALL = {"filters": 2, "hidden_filters": 4, "mlp_filters": 4, "heads": 2, "depth": 4}


@pytest.mark.parametrize(
    ("shape", "options", "grid"),
    [
        ((32, 48, 1), {}, (2, 3)),
        ((None, 48, 1), {}, (6, 3)),
        ((None, None, 1), {"image_size": 64}, (4, 4)),
        ((32, 32, 1), {"image_size": (16, 48)}, (1, 3)),
    ],
)
def test_positions_are_learned_for_the_size_of_the_image_unless_told_otherwise(shape, options, grid):
    model = models.build_model("unetr", shape, 2, **SMALL, **options)
    assert model.get_layer("positions").grid == grid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "hidden_filters: expected a multiple of the 3 heads; received 4"),
        ({"depth": 6}, "depth: expected a multiple of 4; received 6"),
        ({"image_size": 40}, "image_size: expected a multiple of 16, or 2 of them, one per axis; received 40"),
        ({"image_size": (16, 16, 16)}, "image_size: expected a multiple of 16, or 2 of them, one per axis"),
        ({"norm": "group"}, "norm: expected one of instance, batch; received group"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("unetr", (None, None, 1), 2, **{**SMALL, **options})
