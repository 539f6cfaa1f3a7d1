"""What builders refuse."""

import pytest

from maskzoo import models
from maskzoo.models import analysis, checks


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((64, 1), "unet: expected input_shape to have 2 spatial axes"),
        ((None, None, None), "unet: expected the channels in input_shape"),
        ((200, 572, 1), r"axis 0 to be 16\*k \+ 12, at least 188; received 200 \(nearest: 188, 204\)"),
        ((572, 100, 1), r"axis 1 to be 16\*k \+ 12, at least 188; received 100 \(nearest: 188\)"),
    ],
)
def test_input_shapes_are_checked(input_shape, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("unet", input_shape)


def test_sizes_and_crops_of_valid_u_nets_are_those_of_the_papers():
    assert checks.valid_sizes(5) == analysis.SizeRule(16, 12, 188)
    assert checks.valid_sizes(4) == analysis.SizeRule(8, 4, 92)
    assert checks.valid_crops(5) == [88, 40, 16, 4]


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_the_smallest_size_of_a_valid_u_net_is_the_smallest_that_leaves_something(levels):
    rule = checks.valid_sizes(levels)
    size = rule.minimum

    def left(size):
        for _ in range(levels - 1):
            size = (size - 4) // 2
        size -= 4
        for _ in range(levels - 1):
            size = 2 * size - 4
        return size

    assert size % rule.multiple == rule.remainder
    assert left(size) > 0
    assert left(size - rule.multiple) <= 0
