"""Joined sets are split together, and none of them trains on what another holds out."""

import shutil

import cv2
import numpy as np
import pytest

from maskzoo.data import (
    ImageIdentity,
    LabelMaker,
    Makers,
    identities_of,
    images_to_split,
    load_data,
    open_source,
    read_spec,
    write_folds,
)
from maskzoo.errors import DataError, OptionError


def contents(cases):
    return {identities_of([case.image])[0].content for case in cases}


def copy_as_tiff(source, target):
    """The same pixels under another name and in another format, with their label."""
    cv2.imwrite(str(target / "images" / "copy.tif"), cv2.imread(str(source / "images" / "im1.png")))
    shutil.copy(source / "masks" / "im1.png", target / "masks" / "copy.png")


def test_an_image_in_two_sets_is_held_out_of_both(tmp_path, save_blocks, caplog):
    one, two = save_blocks(tmp_path / "one", 5), save_blocks(tmp_path / "two", 5, seed=1)
    copy_as_tiff(one, two)
    folds = {f"one-im{n}": int(n != 1) for n in range(5)} | {f"two-im{n}": 1 for n in range(5)} | {"two-copy": 1}
    write_folds(tmp_path / "folds.json", folds)
    (tmp_path / "both.yaml").write_text("sets: {one: 1, two: 1}\nfolds: folds.json\n")
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert [case.name for case in loaded.validation] == ["one-im1"]
    assert not contents(loaded.train) & contents(loaded.validation)
    assert len(loaded.train) == 9
    assert "left out of training: 1 image (two-copy), held out under another name" in caplog.text
    np.testing.assert_allclose(sum(case.weight for case in loaded.train if case.name.startswith("two")), 1)
    mapping = loaded.as_mapping()
    assert set(mapping["images"]) == {*mapping["train"], *mapping["validation"]}
    assert ImageIdentity.from_mapping(mapping["images"]["one-im1"]).path == str(one / "images" / "im1.png")


def test_copies_within_a_set_are_split_together(tmp_path, save_blocks):
    one = save_blocks(tmp_path / "one", 5)
    copy_as_tiff(one, one)
    images = images_to_split(read_spec(one))
    groups = images.groups
    assert len(images.names) == 6
    assert groups["copy"] == groups["im1"]
    assert len(set(groups.values())) == 5
    for seed in range(6):
        loaded = load_data(one, spatial_dims=2, seed=seed)
        assert not contents(loaded.train) & contents(loaded.validation)
        assert len(loaded.train) + len(loaded.validation) == 6
    shutil.rmtree(one)
    assert images_to_split(read_spec(save_blocks(tmp_path / "one", 5))).groups is None


def test_a_set_of_nothing_but_held_out_images_is_trained_on_only_beside_others(tmp_path, save_blocks, caplog):
    one, two = save_blocks(tmp_path / "one", 2), save_blocks(tmp_path / "two", 2, spec="path: .\nvalidation: 0\n")
    (tmp_path / "both.yaml").write_text("sets: {one: 1, two/set.yaml: 1}\nfolds: folds.json\n")
    write_folds(tmp_path / "folds.json", {"one-im0": 0, "one-im1": 1})
    assert (one / "images" / "im1.png").read_bytes() == (two / "images" / "im1.png").read_bytes()
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert [case.name for case in loaded.train] == ["one-im1", "set-im1"]
    assert "left out of training: 1 image (set-im0), held out under another name" in caplog.text


def test_copies_join_groups(tmp_path, save_blocks):
    one = save_blocks(tmp_path / "one", 5, spec="path: .\ngroup: '^(im[01]|im[23]|im4|copy)'\n")
    copy_as_tiff(one, one)
    groups = images_to_split(read_spec(one / "set.yaml")).groups
    assert groups["copy"] == groups["im1"]
    assert len(set(groups.values())) == 5


def test_a_set_for_training_alone_is_not_split(tmp_path, save_blocks):
    save_blocks(tmp_path / "one", 4)
    save_blocks(tmp_path / "more", 3, seed=1, spec="path: .\nvalidation: 0\n")
    (tmp_path / "both.yaml").write_text("sets: {one: 1, more/set.yaml: 1}\n")
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert {case.name[:3] for case in loaded.validation} == {"one"}
    assert len([case for case in loaded.train if case.name.startswith("set-")]) == 3
    assert images_to_split(read_spec(tmp_path / "both.yaml")).names == [f"one-im{n}" for n in range(4)]
    everything = load_data(read_spec(tmp_path / "both.yaml", {"validation": 0}), spatial_dims=2)
    assert (len(everything.train), everything.validation) == (7, [])
    alone = load_data(tmp_path / "more" / "set.yaml", spatial_dims=2)
    assert (len(alone.train), alone.validation) == (3, [])


def test_folds_with_the_names_of_the_only_set_that_is_split(tmp_path, save_blocks):
    save_blocks(tmp_path / "one", 4)
    save_blocks(tmp_path / "more", 3, seed=1, spec="path: .\nvalidation: 0\n")
    write_folds(tmp_path / "folds.json", {f"im{n}": n % 2 for n in range(4)})
    (tmp_path / "both.yaml").write_text("sets: {one: 1, more/set.yaml: 1}\nfolds: folds.json\nfold: 1\n")
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert [case.name for case in loaded.validation] == ["one-im1", "one-im3"]
    with pytest.raises(OptionError, match="fold: expected one of several folds, 0, 1; received 2"):
        load_data(read_spec(tmp_path / "both.yaml", {"fold": 2}), spatial_dims=2)


def test_options_that_joined_sets_would_not_heed_are_refused(tmp_path, save_blocks):
    save_blocks(tmp_path / "one", 4)
    (tmp_path / "both.yaml").write_text("sets: {one: 1}\n")
    for name, value in [("task", "binary"), ("validation", 0.5), ("split", "block"), ("level", 1)]:
        with pytest.raises(OptionError, match=f"{name}: expected .* which says its own"):
            read_spec(tmp_path / "both.yaml", {name: value})


def test_labels_by_runs_that_saw_held_out_images_are_left_out(tmp_path, save_blocks, caplog):
    one = save_blocks(tmp_path / "one", 4)
    pseudo = save_blocks(tmp_path / "pseudo", 3, seed=1, spec="path: .\nvalidation: 0\n")
    seen = identities_of([open_source(one / "images" / f"im{n}.png") for n in range(4)])
    runs = (LabelMaker("fold0", "/0", "0", tuple(seen[1:])), LabelMaker("fold1", "/1", "1", (seen[0], *seen[2:])))
    Makers(runs, {"im0": (0,), "im1": (1,), "im2": (0, 1)}).write(pseudo)
    write_folds(tmp_path / "folds.json", {f"im{n}": min(n, 2) for n in range(4)})
    (tmp_path / "both.yaml").write_text("sets: {one: 1, pseudo/set.yaml: 1}\nfolds: folds.json\n")
    for fold, kept in [(0, ["set-im0"]), (1, ["set-im1"]), (2, [])]:
        loaded = load_data(read_spec(tmp_path / "both.yaml", {"fold": fold}), spatial_dims=2)
        assert [case.name for case in loaded.train if case.name.startswith("set-")] == kept
        before = {image.content for image in loaded.seen_before}
        assert not before & contents(loaded.validation)
        assert len(before) == (3 if kept else 0)
    assert "labelled by runs that were trained on held-out images" in caplog.text


def test_a_set_of_which_nothing_is_left_is_refused(tmp_path, save_blocks):
    pseudo = save_blocks(tmp_path / "pseudo", 3)
    seen = tuple(identities_of([open_source(pseudo / "images" / f"im{n}.png") for n in range(3)]))
    Makers((LabelMaker("run", "/run", "0", seen),), {f"im{n}": (0,) for n in range(3)}).write(pseudo)
    with pytest.raises(DataError, match=r"pseudo: expected images to train on .*; received none"):
        load_data(pseudo, spatial_dims=2)
