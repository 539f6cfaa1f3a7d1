"""Windows of a synthetic slide meet without a seam; brightness does not tell its bodies from the tissue."""

import numpy as np

from maskzoo import data
from maskzoo.data.synthetic.slides import SyntheticSlide


def test_windows_of_a_slide_meet_without_a_seam():
    slide = SyntheticSlide(900, [1])
    everything = data.Window((0, 0), (900, 900))
    image, mask = slide.image(everything), slide.mask(everything)
    for window in data.window_grid((900, 900), (251, 400)):
        np.testing.assert_array_equal(slide.image(window), image[window.slices])
        np.testing.assert_array_equal(slide.mask(window), mask[window.slices])


def test_brightness_does_not_tell_bodies_from_tissue():
    slide = SyntheticSlide(1500, [3])
    everything = data.Window((0, 0), (1500, 1500))
    grey, body = slide.image(everything).mean(axis=-1), slide.mask(everything)[..., 0] > 0
    dice = [2 * (body & (grey < level)).sum() / (body.sum() + (grey < level).sum()) for level in range(0, 256, 5)]
    assert max(dice) < 0.3
