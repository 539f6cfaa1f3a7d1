"""Tiled prediction equals whole prediction; blended tiles leave no step; what is not asked for is not predicted."""

import functools
from dataclasses import replace

import keras
import numpy as np
import pytest
from noise_runs import PIXELS, global_model
from random_weights import randomised

from maskzoo import data, inference, models
from maskzoo.inference.tile_plan import part_windows, tile_windows
from maskzoo.inference.tiles import ramp, read_batch
from maskzoo.models import analysis

CASES = {
    "unet": ((300, 330, 3), (4, 8, 16), (64, 100, 128)),
    "unet_padded": ((300, 330, 3), (4, 8, 16), (64, 100, 128)),
    "vnet3d": ((32, 40, 48, 1), (), (24,)),
}


@functools.cache
def random_model(name, channels, spatial_dims, filters=()):
    """A model with random weights; `filters` of a U-Net."""
    keras.utils.set_random_seed(1)
    options = {"filters": filters} if filters else {"depth": 3, "start_filters": 4}
    return randomised(models.build_model(name, (*(None,) * spatial_dims, channels), 2, **options))


def predict(model, source, plan):
    """The logits of a whole image, put together from the tiles of a plan."""
    logits = np.full((*plan.shape, 2), np.nan, np.float32)
    for window, tile in inference.predict_tiles(model, lambda w: source.read(w).astype(np.float32) / 64, plan):
        assert np.isnan(logits[window.slices]).all(), "a pixel was written twice"
        logits[window.slices] = tile
    return logits


def one_tile(model, source):
    plan = inference.plan_tiles(model, source.shape, source.channels, inference.TileOptions(tile=max(source.shape)))
    assert plan.tiles == 1
    return predict(model, source, plan)


def cut_by_a_stride(plan, geometry):
    return replace(
        plan,
        halo=tuple((b - s, a - s) for (b, a), s in zip(plan.halo, geometry.stride, strict=True)),
        crop=tuple(c - s for c, s in zip(plan.crop, geometry.stride, strict=True)),
    )


@pytest.mark.parametrize("name", CASES)
def test_tiled_equals_whole(name):
    shape, filters, tiles = CASES[name]
    source = data.open_source(
        np.random.default_rng(2).normal(0, 64, shape).astype(np.float32), spatial_dims=len(shape) - 1
    )
    model = random_model(name, shape[-1], len(shape) - 1, filters)
    whole = one_tile(model, source)
    for tile in tiles:
        plan = inference.plan_tiles(model, source.shape, source.channels, inference.TileOptions(tile=tile))
        assert plan.tiles > 1
        assert np.abs(predict(model, source, plan) - whole).max() < 1e-4


@pytest.mark.parametrize("name", ["unet_padded", "vnet3d"])
def test_a_halo_cut_by_one_stride_shows(name):
    shape, filters, tiles = CASES[name]
    source = data.open_source(
        np.random.default_rng(2).normal(0, 64, shape).astype(np.float32), spatial_dims=len(shape) - 1
    )
    model = random_model(name, shape[-1], len(shape) - 1, filters)
    plan = inference.plan_tiles(model, source.shape, source.channels, inference.TileOptions(tile=tiles[0]))
    cut = predict(model, source, cut_by_a_stride(plan, analysis.geometry(model)))
    assert np.abs(cut - one_tile(model, source)).max() > 1e-2


@pytest.mark.parametrize("name", ["unet", "unet_padded"])
def test_a_slide_has_no_seams(shared_data, name):
    slide = data.open_source(shared_data / "raster" / "wsi" / "CMU-1-Small-Region.svs")
    pixels = slide.read(data.Window((900, 700), (500, 620)))
    source = data.open_source(pixels)
    model = random_model(name, 3, 2, (4, 8, 16, 32))
    whole = one_tile(model, source)
    for tile in (96, 200):
        plan = inference.plan_tiles(model, source.shape, 3, inference.TileOptions(tile=tile))
        assert np.abs(predict(model, source, plan) - whole).max() < 1e-4


@pytest.mark.parametrize("shape", [(100, 170), (64, 64), (65, 40), (31, 200), (40, 50, 70)])
def test_blended_tiles_of_a_constant_image_are_constant(shape):
    """The mean is the same in every tile, so the answer is known: twice the value, everywhere, once."""
    model = global_model(len(shape))
    plan = inference.plan_tiles(model, shape, 1, inference.TileOptions(tile=32))
    assert any(plan.overlap) == (max(shape) > 32)
    answers = np.full((*shape, 1), np.nan, np.float32)
    for window, logits in inference.predict_tiles(model, lambda w: np.full((*w.size, 1), 1.5, np.float32), plan):
        assert np.isnan(answers[window.slices]).all(), "a pixel was written twice"
        answers[window.slices] = logits
    np.testing.assert_allclose(answers, 3.0, rtol=1e-6)


def test_blending_leaves_no_step_at_a_seam():
    """Beside tiles that are only put together, whose means differ, neighbouring pixels differ by far less."""
    model = global_model()
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0, 4, 150), np.linspace(0, 4, 200)).astype(np.float32)[..., None]
    source = data.open_source(smooth + 1e-3 * rng.random(smooth.shape, np.float32), spatial_dims=2)
    plan = inference.plan_tiles(model, (150, 200), 1, inference.TileOptions(tile=32))

    def largest_step(plan):
        answers = np.zeros((150, 200), np.float32)
        for window, logits in inference.predict_tiles(model, source.read, plan):
            answers[window.slices] = logits[..., 0]
        return max(np.abs(np.diff(answers, axis=axis)).max() for axis in (0, 1))

    abrupt = replace(plan, overlap=(0, 0), halo=((0, 0), (0, 0)), tile=(32, 32))
    assert largest_step(plan) < 0.25 * largest_step(abrupt)


def test_an_error_while_reading_ahead_reaches_the_caller():
    model = models.build_model("unet_padded", (None, None, 1), 1, filters=(4, 8))

    def read(window):
        raise OSError("slide.tif: truncated")

    plan = inference.plan_tiles(model, (200, 200), 1, inference.TileOptions(tile=64))
    with pytest.raises(OSError, match="truncated"):
        list(inference.predict_tiles(model, read, plan))


class Turned:
    """A scorer that averages a model over the eight symmetries of its square inputs, each undone."""

    def __init__(self, model):
        self.model = model

    def predict(self, images):
        total = 0
        for turns in range(4):
            for flip in (False, True):
                turned = np.rot90(images[:, :, ::-1] if flip else images, turns, (1, 2))
                answer = np.rot90(self.model.predict_on_batch(np.ascontiguousarray(turned)), -turns, (1, 2))
                total = total + (answer[:, :, ::-1] if flip else answer)
        return total / 8


@pytest.mark.parametrize("name", ["unet", "unet_padded"])
def test_symmetric_plans_stay_seamless_when_tiles_are_turned(name):
    source = data.open_source(np.random.default_rng(2).normal(0, 64, (200, 230, 3)).astype(np.float32), spatial_dims=2)
    model = random_model(name, 3, 2, (4, 8, 16))
    answers = []
    for tile in (64, 100, 256):
        plan = inference.plan_tiles(model, source.shape, 3, inference.TileOptions(tile=tile), symmetric=True)
        assert len(set(plan.input_size)) == len({side for pair in plan.halo for side in pair}) == 1
        answers.append(predict(Turned(model), source, plan))
    assert np.abs(answers[0] - answers[2]).max() < 1e-4
    assert np.abs(answers[1] - answers[2]).max() < 1e-4


def test_symmetric_blended_tiles_are_square():
    plan = inference.plan_tiles(global_model(), (100, 24), 1, inference.TileOptions(tile=32), symmetric=True)
    assert plan.input_size == (32, 32)
    answers = np.zeros((100, 24, 1), np.float32)
    for window, logits in inference.predict_tiles(
        Turned(global_model()), lambda w: np.full((*w.size, 1), 1.5, np.float32), plan
    ):
        answers[window.slices] = logits
    np.testing.assert_allclose(answers, 3.0, rtol=1e-6)


@pytest.mark.parametrize("overlap", [0.01, 0.25, 0.5])
@pytest.mark.parametrize("blend", ["cosine", "gaussian"])
def test_weights_of_neighbouring_tiles_sum_to_one(blend, overlap):
    """The answer on a constant image is known: twice the value, everywhere; and tiles count most in their middles."""
    plan = inference.plan_tiles(
        global_model(), (100, 170), 1, inference.TileOptions(tile=32, blend=blend, overlap=overlap)
    )
    assert plan.overlap == (max(1, 32 * overlap),) * 2
    answers = np.zeros((100, 170, 1), np.float32)
    read = lambda w: np.full((*w.size, 1), 1.5, np.float32)  # noqa: E731
    for window, logits in inference.predict_tiles(global_model(), read, plan):
        answers[window.slices] = logits
    np.testing.assert_allclose(answers, 3.0, rtol=1e-6)
    rising = ramp(blend, 8, 32)
    assert (np.diff(rising) > 0).all()
    np.testing.assert_allclose(rising + rising[::-1], 1)
    if blend == "gaussian":
        # Pixel 0 of the overlap is 15.5 from the middle of its own tile and 8.5 from that of the neighbour.
        own, other = np.exp(-(15.5**2) / 32), np.exp(-(8.5**2) / 32)
        np.testing.assert_allclose(rising[0], own / (own + other))


def test_tiles_that_are_not_kept_are_filled():
    model = models.build_model("unet_padded", (None, None, 1), 2, filters=(4, 8))
    source = data.open_source(np.random.default_rng(0).random((100, 90)).astype(np.float32), spatial_dims=2)
    plan = inference.plan_tiles(model, (100, 90), 1, inference.TileOptions(tile=32))
    whole = predict(model, source, plan)
    logits = np.zeros((100, 90, 2))
    read = lambda w: source.read(w) / 64  # noqa: E731
    for window, tile in inference.predict_tiles(
        model, read, plan, inference.TileSelection(keep=lambda w: w.offset[0] != 32, fill=np.array([7, -7]))
    ):
        logits[window.slices] = tile
    np.testing.assert_array_equal(logits[32:64], np.broadcast_to([7, -7], (32, 90, 2)))
    np.testing.assert_allclose(np.delete(logits, np.s_[32:64], 0), np.delete(whole, np.s_[32:64], 0), atol=1e-5)


class Counted:
    """A scorer that counts what it is asked."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def predict(self, images):
        self.calls += 1
        return self.model.predict_on_batch(images)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_answers_once_for_tiles_of_one_colour(batch):
    """The answers are those of a model that is asked for every tile."""
    pixels = np.zeros((160, 176, 3), np.float32)
    pixels[64:96, 32:64] = np.random.default_rng(0).random((32, 32, 3))
    pixels[96:] = 1, 2, 3
    pixels[96:128, :32] = 3, 2, 1
    source = data.open_source(pixels, spatial_dims=2)
    model = random_model("unet_padded", 3, 2, (4,))
    plan = replace(inference.plan_tiles(model, source.shape, 3, inference.TileOptions(tile=16)), batch=batch)
    counted, asked, colour = Counted(model), 0, None
    for number, (window, logits) in enumerate(inference.predict_tiles(counted, source.read, plan)):
        first = number // batch * batch
        images = read_batch(source.read, tile_windows(plan)[first : first + batch], plan)
        alone = model.predict_on_batch(images)[number - first]
        kept = tuple(slice(c, c + n) for c, n in zip(plan.crop, window.size, strict=True))
        np.testing.assert_array_equal(logits, alone[kept])
        colours = len(images), *map(tuple, np.unique(images.reshape(-1, 3), axis=0))
        if number == first and (len(colours) > 2 or colours != colour):
            asked += 1
            colour = colours if len(colours) == 2 else colour
    assert number + 1 == plan.tiles == 110
    assert counted.calls == asked < plan.tiles / batch


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
@pytest.mark.parametrize("is_global", [False, True])
def test_what_is_asked_for_later_is_what_came_there_before(skip, is_global):
    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(2, 3, padding="same")(image)
    if is_global:
        features = keras.layers.Add()([features, keras.layers.GlobalAveragePooling2D(keepdims=True)(features)])
    source = data.open_source(PIXELS)
    model = keras.Model(image, features)
    plan = inference.plan_tiles(model, source.shape, 3, inference.TileOptions(tile=48))
    assert any(plan.overlap) == is_global
    whole = list(inference.predict_tiles(model, source.read, plan))
    rest = list(inference.predict_tiles(model, source.read, plan, inference.TileSelection(skip)))
    assert len(rest) == len(whole) - skip
    for (window, logits), (other, again) in zip(whole[skip:], rest, strict=True):
        assert window == other
        np.testing.assert_array_equal(logits, again)


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize("batch", [1, 4])
def test_parts_end_where_it_is_asked_for(is_global, batch):
    """Also in the middle of a batch, and of rows that are blended."""
    model = global_model() if is_global else random_model("unet_padded", 1, 2, (4,))
    source = data.open_source(PIXELS[..., :1].astype(np.float32), spatial_dims=2)
    plan = replace(inference.plan_tiles(model, source.shape, 1, inference.TileOptions(tile=48)), batch=batch)
    whole = [window for window, _ in inference.predict_tiles(model, source.read, plan)]
    assert whole == list(part_windows(plan))
    for first, stop in ((0, 1), (1, 3), (2, 2), (0, len(whole))):
        found = inference.predict_tiles(model, source.read, plan, inference.TileSelection(first, stop))
        assert [window for window, _ in found] == whole[first:stop]
