"""Where inner tensors lie in the image."""

from fractions import Fraction

import keras
import numpy as np

from maskzoo import models
from maskzoo.models import analysis


def test_the_levels_of_the_2015_unet_lie_where_its_figure_shows_them():
    model = models.build_model("unet", (572, 572, 1), 2, filters=(1, 1, 1, 1, 1))
    names = ["decoder3_1_relu", "decoder2_1_relu", "decoder1_1_relu"]
    mask, *levels = analysis.places(model, [model.output, *(model.get_layer(name).output for name in names)])
    assert (mask.start, mask.sizes[0][0]) == ((92, 92), 388)
    # Figure 1: 52 x 52 at stride 8, 100 x 100 at stride 4, 196 x 196 at stride 2: in all 416, 400, 392 pixels.
    assert [(place.stride[0], place.sizes[0][0]) for place in levels] == [(8, 52), (4, 100), (2, 196)]
    assert [place.crop(mask) for place in levels] == [(14, 14), (6, 6), (2, 2)]
    assert not any(place.fills(mask) for place in levels)


def test_padding_and_even_kernels_do_not_move_what_fills_the_image():
    image = keras.Input((None, None, 1))
    x = keras.layers.ZeroPadding2D(3)(image)
    x = keras.layers.Conv2D(1, 7, strides=2, name="stem")(x)
    model = keras.Model(image, x)
    own, stem = analysis.places(model, [image, x])
    assert stem.stride == (2, 2)
    assert stem.fills(own)
    assert stem.crop(own) == (0, 0)


def test_strides_differ_by_axis_and_finer_tensors_cover_nothing_coarser():
    model = models.build_model("unet25d", (None, None, None, 1), filters=(2, 4, 4, 6), in_plane_levels=1)
    own, bottom = analysis.places(model, [model.inputs[0], model.get_layer("bottom_1_relu").output])
    assert bottom.stride == (8, 8, 4)
    assert bottom.crop(own) == (0, 0, 0)
    assert not bottom.fills(own)
    assert own.factors(bottom) is None
    assert own.crop(bottom) is None


def test_pooled_vectors_and_slices_in_the_batch_have_no_place():
    flat = models.build_model("unet_padded", (None, None, 1), filters=(2, 4))
    model = models.inflate_25d(flat, 3)
    folded, image = analysis.places(model, [model.get_layer("encoder0_0_relu").output, model.output])
    assert folded is None
    assert image.stride == (1, 1, 1)
    pooled = keras.layers.GlobalAveragePooling2D()(flat.output)
    assert analysis.places(keras.Model(flat.input, pooled), [pooled]) == [None]


def test_tensors_of_half_a_stride_are_described_exactly():
    image = keras.Input((None, None, 1))
    up = keras.layers.UpSampling2D(2)(image)
    (place,) = analysis.places(keras.Model(image, up), [up])
    assert place.stride == (Fraction(1, 2), Fraction(1, 2))
    assert np.all(place.sizes[0] % 2 == 0)
