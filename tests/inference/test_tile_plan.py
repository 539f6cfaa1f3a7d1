"""A plan keeps within its memory, reads what the model sees, and takes no larger tile than is worth it."""

import math

import pytest
from noise_runs import global_model

from maskzoo import inference, models
from maskzoo.errors import OptionError
from maskzoo.inference import tile_plan
from maskzoo.models import analysis


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
    with pytest.raises(OptionError, match=r"memory: expected at least 1\.\d GB for unet_padded"):
        inference.plan_tiles(model, (1000, 1000), 1, inference.TileOptions(memory=1000))


@pytest.mark.parametrize("side", [600, 2000, 9000])
def test_the_smallest_tile_within_a_twentieth_of_the_least_work_is_taken(side):
    """The work of every candidate, counted by hand: inputs of all tiles per pixel of the image, and what they need."""
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8, 16))
    geometry = analysis.geometry(model)
    plan = inference.plan_tiles(model, (side, side), 3, inference.TileOptions(memory=1 << 40))
    works = {}
    for candidate in range(256, min(4096, side + 256) + 1, 256):
        tile = min(candidate, math.ceil(side / geometry.stride[0]) * geometry.stride[0])
        (before, after), _ = tile_plan.halo_and_crop(geometry, (tile, tile))[0]
        given = (before + tile + after,) * 2
        share = analysis.needed(model, given, [(before, before + tile)] * 2).work
        works[tile] = share * math.ceil(side / tile) ** 2 * math.prod(given) / side**2
    assert plan.work == pytest.approx(works[plan.tile[0]])
    assert plan.work <= 1.05 * min(works.values())
    assert all(work > 1.05 * min(works.values()) for tile, work in works.items() if tile < plan.tile[0])
    if side == 9000:
        assert any(1.05 < work / min(works.values()) < 1.6 for work in works.values())


def test_a_symmetric_plan_is_square_with_equal_halos():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8, 16))
    plan = inference.plan_tiles(model, (200, 230), 3, inference.TileOptions(tile=64), symmetric=True)
    assert len(set(plan.input_size)) == len({side for pair in plan.halo for side in pair}) == 1


def test_a_plan_is_the_same_after_a_journey_through_json():
    import json

    plan = inference.plan_tiles(global_model(), (100, 170), 1, inference.TileOptions(tile=32))
    assert tile_plan.TilePlan.from_notes(json.loads(json.dumps(plan.as_notes()))) == plan
