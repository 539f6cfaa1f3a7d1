"""A plan takes half of what is free unless it is told, says so, and is kept when it is resumed with less."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from noise_runs import interrupt_after, make_run_folder, read_image

from maskzoo import data, inference, machine, models
from maskzoo.errors import ExistingFile
from maskzoo.inference import memory_bound
from maskzoo.inference.cluster import Cluster
from maskzoo.inference.ensemble_plan import EnsemblePlan, noted_plan
from maskzoo.inference.memory_bound import GIGABYTE, bounded_tiles
from maskzoo.inference.predict_image import plan_identity


@pytest.fixture
def free(monkeypatch):
    """A function that says how much memory is free, in GB."""

    def say(gigabytes):
        monkeypatch.setattr(machine, "free_memory", lambda: round(gigabytes * GIGABYTE))
        monkeypatch.setattr(machine, "held_memory", lambda: 0)
        monkeypatch.setattr(machine, "has_graphics", lambda: False)

    return say


def test_half_of_what_is_free_is_taken_up_to_a_cap(free, monkeypatch):
    free(6)
    tiles = bounded_tiles(inference.TileOptions(tile=64))
    assert (tiles.memory, tiles.reason, tiles.tile) == (3 * GIGABYTE, "memory 3.0 GB: half of what is free", 64)
    free(500)
    # What was looked up stays.
    assert bounded_tiles(tiles) is tiles
    assert bounded_tiles(inference.TileOptions()).memory == memory_bound.LARGEST_SHARE
    monkeypatch.setattr(machine, "has_graphics", lambda: True)
    assert bounded_tiles(inference.TileOptions()).memory == memory_bound.SHARE_OF_GPU
    given = bounded_tiles(inference.TileOptions(memory=7 * GIGABYTE))
    assert (given.memory, given.reason) == (7 * GIGABYTE, "")
    # What a process holds it may use again, and workers of a cluster have memory of their own.
    free(6)
    for held in (2, 50):
        monkeypatch.setattr(machine, "held_memory", lambda held=held: held * GIGABYTE)
        assert bounded_tiles(inference.TileOptions()).memory == 4 * GIGABYTE
    assert bounded_tiles(inference.TileOptions(), free=3 * GIGABYTE).memory == round(1.5 * GIGABYTE)


def test_tiles_grow_with_what_is_free_and_are_never_refused_for_it(free):
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(16, 32, 64, 128))
    sizes = []
    for gigabytes in (0, 3, 24):
        free(gigabytes)
        plan = inference.plan_tiles(model, (20_000, 20_000), 3)
        assert plan.memory <= gigabytes * GIGABYTE / 2 or gigabytes == 0
        assert f"GB (memory {gigabytes / 2:.1f} GB: half of what is free)" in str(plan)
        sizes.append(plan.tile)
    assert sizes[0] <= sizes[1] < sizes[2]


@pytest.mark.parametrize("members", [1, 2])
def test_what_is_interrupted_is_resumed_with_its_plan(members, image, tmp_path, free, monkeypatch, caplog):
    folders = [make_run_folder(tmp_path / f"run{number}", "binary", ["cell"]) for number in range(members)]
    predictor = inference.load_run(folders)
    # Memory has no part in the tiles of a tiny network: here it chooses them.
    planned = inference.plan_image

    def plan(predictor, source, tiles):
        made = planned(predictor, source, inference.TileOptions(tile=16 if tiles.memory < GIGABYTE else 32))
        return replace(made, bound=tiles.reason)

    # Beside the module there is a function of its name.
    module = import_module("maskzoo.inference.predict_image")
    monkeypatch.setattr(module, "plan_image", plan)

    def predict(output, **options):
        with data.open_source(image, spatial_dims=2) as source:
            inference.predict_image(predictor, source, output, **options)
        return read_image(output)

    free(1)
    expected = predict(tmp_path / "whole.tif")
    output = tmp_path / "out.tif"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="3 of"):
            predict(output)
    notes = json.loads((tmp_path / ".out.tif.journal").read_text().splitlines()[0])["notes"]
    kept = noted_plan(notes)
    assert kept.tile == (16, 16)
    assert isinstance(kept, EnsemblePlan) == (members > 1)
    assert "half of what is free" in kept.bound
    # What the caller says is another thing than what is free.
    free(100)
    with pytest.raises(ExistingFile, match="memory"):
        predict(output, tiles=inference.TileOptions(memory=2 * GIGABYTE))
    assert "`restart` plans again" not in caplog.text
    free(0.5)
    with monkeypatch.context() as patch:
        patch.setattr(module, "plan_image", None)
        np.testing.assert_array_equal(predict(output), expected)
    assert "GB of memory, and 0.5 are free; `restart` plans again" in caplog.text


def test_a_plan_of_what_was_free_is_no_other_image_or_option_later(free):
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(16, 32, 64, 128))
    identities = []
    for gigabytes in (3, 24):
        free(gigabytes)
        plan = inference.plan_tiles(model, (20_000, 20_000), 3)
        identities += [plan_identity(plan), plan_identity(bounded_tiles(inference.TileOptions()))]
    assert identities[:2] == identities[2:]
    assert identities[1] == plan_identity(inference.TileOptions())
    given = [inference.TileOptions(memory=gigabytes * GIGABYTE) for gigabytes in (3, 24)]
    assert plan_identity(given[0]) != plan_identity(given[1])
    assert plan_identity(bounded_tiles(given[0])) == plan_identity(given[0])


@pytest.mark.parametrize(
    ("workers", "expected"),
    [({"a": ("one", 8), "b": ("one", 9), "c": ("two", 5)}, 4), ({"a": ("one", 8)}, 8), ({}, None), (None, None)],
)
def test_workers_on_one_machine_share_what_is_free(workers, expected):
    class Client:
        def run(self, function):
            if workers is None:
                raise OSError("gone")
            return workers

    assert Cluster(Client()).free_memory() == expected
