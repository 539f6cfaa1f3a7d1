"""Images that are the same are split together, as long as something is left to split."""

import logging
import shutil

import nibabel
import numpy as np
import pytest

from maskzoo.data import ImageIdentity, images_to_split, load_data, make_folds, read_spec, write_folds
from maskzoo.data.sets.copies import group_images, listed_copies, listed_names
from maskzoo.errors import OptionError


def images(**contents):
    return {name: ImageIdentity(f"/{name}", content) for name, content in contents.items()}


def copies_of_one(save_blocks, folder, number):
    """A folder in which all images are the same."""
    save_blocks(folder, number)
    for other in range(1, number):
        shutil.copy(folder / "images" / "im0.png", folder / "images" / f"im{other}.png")
    return folder


def test_copies_are_one_group(caplog):
    caplog.set_level(logging.INFO)
    groups = group_images(images(a="1", b="2", c="1", d="3"), None)
    assert groups["a"] == groups["c"]
    assert len(set(groups.values())) == 3
    assert "never split, since they are the same images: a = c" in caplog.text
    assert group_images(images(a="1", b="2"), None) is None
    assert group_images({"a": ImageIdentity("/a"), "b": ImageIdentity("/b")}, None) is None


def test_copies_join_the_groups_of_a_pattern(caplog):
    groups = group_images(images(p1_a="1", p1_b="2", p2_a="2", p3_a="3"), "^(p.)")
    assert groups["p1_a"] == groups["p1_b"] == groups["p2_a"] != groups["p3_a"]
    # One image that all patients have would leave nothing to hold out.
    groups = group_images(images(p1_a="1", p1_b="2", p2_a="3", p2_b="2"), "^(p.)")
    assert groups == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2", "p2_b": "p2"}
    assert "split, though they are the same images: p1_b = p2_b; else there would be nothing to hold out" in caplog.text


def test_voxels_of_other_sizes_are_no_copies():
    sizes = {"a": (0.5, 0.5, 3.0), "b": (0.8, 0.8, 5.0), "c": (0.5, 0.5, 3.0)}
    known = {name: ImageIdentity(f"/{name}", "1", size) for name, size in sizes.items()}
    groups = group_images(known, None)
    assert groups["a"] == groups["c"] != groups["b"]


@pytest.mark.parametrize("number", [2, 4])
def test_a_set_of_one_image_under_several_names_is_split_all_the_same(tmp_path, save_blocks, caplog, number):
    one = copies_of_one(save_blocks, tmp_path / "one", number)
    loaded = load_data(one, spatial_dims=2)
    assert len(loaded.validation) == 1
    assert len(loaded.train) == number - 1
    assert "split, though they are the same images: im0 = im1" in caplog.text
    assert f"trained on, though held out under another name: {number - 1} image" in caplog.text
    assert "scores of held-out images say nothing about new ones" in caplog.text


def test_such_a_set_has_folds(tmp_path, save_blocks):
    one = copies_of_one(save_blocks, tmp_path / "one", 3)
    found = images_to_split(read_spec(one))
    write_folds(tmp_path / "folds.json", make_folds(found.names, 3, groups=found.groups))
    for fold in range(3):
        loaded = load_data(read_spec(one, {"folds": str(tmp_path / "folds.json"), "fold": fold}), spatial_dims=2)
        assert (len(loaded.train), len(loaded.validation)) == (2, 1)


def test_a_fold_that_copies_would_leave_empty_is_refused(tmp_path, save_blocks):
    one = save_blocks(tmp_path / "one", 3)
    shutil.copy(one / "images" / "im0.png", one / "images" / "im1.png")
    found = images_to_split(read_spec(one))
    with pytest.raises(OptionError, match="folds: expected 2 to 2, the number of images or groups; received 3"):
        make_folds(found.names, 3, groups=found.groups)


def test_equal_voxels_of_two_spacings_train_and_are_split(tmp_path, caplog):
    voxels = np.random.default_rng(0).integers(0, 99, (12, 10, 6)).astype(np.int16)
    for name, spacing in (("a", (0.5, 0.5, 3)), ("b", (0.8, 0.8, 5))):
        for part, values in (("images", voxels), ("masks", (voxels > 50).astype(np.uint8))):
            (tmp_path / part).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1.0])), tmp_path / part / f"{name}.nii.gz")
    for spacing in ([1, 1, 3], "median"):
        loaded = load_data(read_spec(tmp_path, {"spacing": spacing}), spatial_dims=3)
        (first,), (other,) = loaded.train, loaded.validation
        # 12 voxels of 0.5 or 0.8 mm at 1 mm: 6 or 10; the median of both sizes is 0.65.
        assert {first.image.shape[0], other.image.shape[0]} == ({6, 10} if spacing != "median" else {9, 15})
    assert not caplog.text


def test_names_are_listed():
    assert listed_names("abcdefg") == "7 images (a, b, c, d, e, ...)"
    assert listed_names("b") == "1 image (b)"
    assert listed_copies(["ab", "cdefghi"]) == "a = b, c = d = e = f = g = ..."
    assert listed_copies(["ab"] * 7) == "a = b, a = b, a = b, a = b, a = b and 2 more"
