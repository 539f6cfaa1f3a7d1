"""The loss of borders against scipy."""

import numpy as np
import pytest
from labelled_logits import sample
from scipy import ndimage

from maskzoo import losses
from maskzoo.errors import OptionError


@pytest.mark.parametrize("width", [3, 5])
def test_border_in_three_dimensions(width):
    labels, logits = sample("binary", (1, 5, 6, 7))
    y, p = labels[0, ..., 0], 1 / (1 + np.exp(-logits[0, ..., 0]))

    def border(x):
        return ndimage.maximum_filter(x, width, mode="nearest") * ndimage.maximum_filter(1 - x, width, mode="nearest")

    b, c = border(y), border(p)
    expected = 1 - (2 * (b * c).sum() + 1) / ((b**2).sum() + (c**2).sum() + 1)
    assert float(losses.build_loss("border_dice", width=width)(labels, logits)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(OptionError, match="width of border_dice to be an odd number from 3; received 4"):
        losses.build_loss("border_dice", width=4)(labels, logits)
