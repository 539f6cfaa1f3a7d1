"""Tiled prediction equals whole prediction, and the plan keeps within its memory."""

import logging
from dataclasses import replace

import keras
import numpy as np
import pytest
from random_weights import randomised

from maskzoo import data, inference, models
from maskzoo.inference.run import Run
from maskzoo.inference.run_files import RunData
from maskzoo.inference.tile_plan import tile_windows
from maskzoo.inference.tiles import ramp, read_batch
from maskzoo.models import analysis

CASES = {
    "unet": ((300, 330, 3), {"filters": (4, 8, 16)}, (64, 100, 128)),
    "unet_padded": ((300, 330, 3), {"filters": (4, 8, 16)}, (64, 100, 128)),
    "vnet3d": ((32, 40, 48, 1), {"depth": 3, "start_filters": 4}, (24, 32, 40)),
}


def lively_model(name, channels, spatial_dims, **options):
    keras.utils.set_random_seed(1)
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
    shape, options, tiles = CASES[name]
    source = data.open_source(
        np.random.default_rng(2).normal(0, 64, shape).astype(np.float32), spatial_dims=len(shape) - 1
    )
    model = lively_model(name, shape[-1], len(shape) - 1, **options)
    whole = one_tile(model, source)
    for tile in tiles:
        plan = inference.plan_tiles(model, source.shape, source.channels, inference.TileOptions(tile=tile))
        assert plan.tiles > 1
        assert np.abs(predict(model, source, plan) - whole).max() < 1e-4


@pytest.mark.parametrize("name", ["unet_padded", "vnet3d"])
def test_a_halo_cut_by_one_stride_shows(name):
    shape, options, tiles = CASES[name]
    source = data.open_source(
        np.random.default_rng(2).normal(0, 64, shape).astype(np.float32), spatial_dims=len(shape) - 1
    )
    model = lively_model(name, shape[-1], len(shape) - 1, **options)
    plan = inference.plan_tiles(model, source.shape, source.channels, inference.TileOptions(tile=tiles[0]))
    cut = predict(model, source, cut_by_a_stride(plan, analysis.geometry(model)))
    assert np.abs(cut - one_tile(model, source)).max() > 1e-2


@pytest.mark.parametrize("name", ["unet", "unet_padded"])
def test_a_slide_has_no_seams(shared_data, name):
    slide = data.open_source(shared_data / "raster" / "wsi" / "CMU-1-Small-Region.svs")
    pixels = slide.read(data.Window((900, 700), (500, 620)))
    source = data.open_source(pixels)
    model = lively_model(name, 3, 2, filters=(4, 8, 16, 32))
    whole = one_tile(model, source)
    for tile in (96, 128, 200):
        plan = inference.plan_tiles(model, source.shape, 3, inference.TileOptions(tile=tile))
        assert np.abs(predict(model, source, plan) - whole).max() < 1e-4


def test_the_halo_of_a_five_level_unet_is_92():
    model = models.build_model("unet", (None, None, 1), 2, filters=(2, 2, 2, 2, 2))
    geometry = analysis.geometry(model)
    # 188 input pixels give outputs 0 to 3 and 204 give 0 to 19: a block of 16 needs 204 = 92 + 16 + 96.
    assert geometry.tile_halo == ((92, 96), (92, 96))
    plan = inference.plan_tiles(model, (1000, 1000), 1, inference.TileOptions(tile=400))
    # Rounded up to the stride of 16, on which the model's sampling grid lies.
    assert plan.halo[0][0] == 96
    assert (plan.input_size[0] - 12) % 16 == 0


def test_a_larger_memory_gives_larger_tiles_and_less_work():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(16, 32, 64, 128))
    plans = [
        inference.plan_tiles(model, (20_000, 20_000), 3, inference.TileOptions(memory=gb * 1024**3))
        for gb in (1.5, 3, 12)
    ]
    assert all(plan.memory <= gb * 1024**3 for plan, gb in zip(plans, (1.5, 3, 12), strict=True))
    assert plans[0].tile < plans[1].tile <= plans[2].tile
    assert plans[0].work > plans[1].work >= plans[2].work >= 1


def test_a_small_image_is_one_tile_no_larger_than_needed():
    model = models.build_model("unet_padded", (None, None, 1), 1, filters=(4, 8, 16))
    plan = inference.plan_tiles(model, (61, 90), 1)
    assert plan.tile == (64, 92)
    assert plan.tiles == 1


def test_too_little_memory_says_how_much_is_needed():
    model = models.build_model("unet_padded", (None, None, 1), 1, filters=(4, 8))
    with pytest.raises(ValueError, match=r"memory: expected at least 1\.\d GB for unet_padded"):
        inference.plan_tiles(model, (1000, 1000), 1, inference.TileOptions(memory=1000))


def global_model(spatial_dims=2):
    """Adds the mean of its input to every pixel."""
    image = keras.Input((*(None,) * spatial_dims, 1))
    pool = {2: keras.layers.GlobalAveragePooling2D, 3: keras.layers.GlobalAveragePooling3D}[spatial_dims]
    return keras.Model(image, keras.layers.Add()([image, pool(keepdims=True)(image)]))


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
    model = lively_model(name, 3, 2, filters=(4, 8, 16))
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


@pytest.mark.parametrize("overlap", [0, 0.51, -1, float("nan")])
def test_an_overlap_that_tiles_cannot_have_is_refused(overlap):
    with pytest.raises(ValueError, match=r"overlap: expected a fraction of a tile above 0, up to 0\.5; received"):
        inference.plan_tiles(global_model(), (100, 170), 1, inference.TileOptions(overlap=overlap))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_answers_once_for_tiles_of_one_colour(batch):
    """The answers are those of a model that is asked for every tile."""
    pixels = np.zeros((160, 176, 3), np.float32)
    pixels[64:96, 32:64] = np.random.default_rng(0).random((32, 32, 3))
    pixels[96:] = 1, 2, 3
    pixels[96:128, :32] = 3, 2, 1
    source = data.open_source(pixels, spatial_dims=2)
    model = lively_model("unet_padded", 3, 2, filters=(4,))
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


def far_seeing(reach):
    """Adds to every pixel what lies `reach` pixels to its left, a thousandth as strong, and has a stride of 8."""
    image = keras.Input((None, None, 1))
    kernel = np.zeros((1, 2 * reach + 1, 1, 1), np.float32)
    kernel[0, reach], kernel[0, 0] = 1, 1e-3
    far = keras.layers.Conv2D(1, (1, 2 * reach + 1), padding="same", use_bias=False)
    near = keras.layers.UpSampling2D(8)(keras.layers.AveragePooling2D(8)(image))
    model = keras.Model(image, keras.layers.Add()([far(image), near]))
    far.set_weights([kernel])
    return model


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 104), (1e-4, 104), (1e-2, 8)])
def test_the_halo_is_the_shortest_within_the_tolerance(tmp_path, caplog, tolerance, expected):
    """Without its far pixel a logit is wrong by up to a thousandth, a probability by up to a quarter of that."""
    pixels = np.random.default_rng(0).random((2000, 6000)).astype(np.float32)
    described = {"task": "binary", "class_names": ["a"], "channels": 1, "rank": 2, "patch": [64, 64]}
    described["normalization"] = {"kind": "none", "channels": 1}
    run = Run(tmp_path, far_seeing(100), RunData.from_mapping(described), (0.5,))
    options = inference.TileOptions(seam_tolerance=tolerance, tile=256)
    with caplog.at_level(logging.INFO):
        plan = inference.plan_image(run, data.open_source(pixels, spatial_dims=2), options)
    assert plan.halo[1][0] == expected
    assert bool(caplog.messages) == bool(tolerance)
    if tolerance:
        error = float(caplog.messages[0].splitlines()[2].split()[2])
        assert 1e-4 < error <= 2.5e-4


@pytest.mark.parametrize("slope", [0, 1])
def test_how_far_blended_tiles_differ_is_told(tmp_path, caplog, slope):
    """Neighbouring tiles of 32 overlap by 8: their means on a slope differ by 24 steps of it, wherever they lie."""
    described = {"task": "binary", "class_names": ["a"], "channels": 1, "rank": 2, "patch": [32, 32]}
    described["normalization"] = {"kind": "none", "channels": 1}
    run = Run(tmp_path, global_model(), RunData.from_mapping(described), (0.5,))
    pixels = np.broadcast_to(slope * np.linspace(-1e-2, 1e-2, 400, dtype=np.float32)[:, None], (400, 400))
    with caplog.at_level(logging.INFO):
        plan = inference.plan_image(run, data.open_source(np.array(pixels), spatial_dims=2))
    assert plan.tiles >= 32
    # A sigmoid has a slope of a quarter at 0.
    expected = slope * 24 * 2e-2 / 399 / 4
    found = float(caplog.messages[0].split("differ by ")[1].split()[0])
    assert found == pytest.approx(expected, rel=0.05, abs=1e-9)
