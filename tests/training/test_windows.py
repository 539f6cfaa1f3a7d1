"""The size of windows: as asked for, or the default, rounded up to what the model accepts."""

import keras
import pytest

from maskzoo import models
from maskzoo.errors import OptionError
from maskzoo.training.windows import input_patch


def padded(spatial_dims):
    return models.build_model("unet_padded", (*(None,) * spatial_dims, 1), 1, filters=(2, 4, 8))


@pytest.mark.parametrize(
    ("patch", "expected"), [(None, (256, 256)), (64, (64, 64)), ([65, 32], (68, 32)), ((1, 2), (4, 4))]
)
def test_windows_are_rounded_up_to_the_stride_of_the_model(patch, expected):
    assert input_patch(padded(2), patch) == expected


def test_volumes_have_a_default_of_their_own():
    image = keras.Input((None, None, None, 1))
    assert input_patch(keras.Model(image, keras.layers.Conv3D(1, 1)(image)), None) == (32, 32, 32)


@pytest.mark.parametrize("patch", [[8], [8, 8, 8], 0, [8, -1]])
def test_sizes_that_are_not_one_per_axis_are_refused(patch):
    with pytest.raises(OptionError, match=r"^patch: expected one positive size, or one for each of 2 axes"):
        input_patch(padded(2), patch)
