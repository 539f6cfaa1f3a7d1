"""Several data sets joined by weight, and labels that number objects."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from maskzoo.data import Window, labelled_cases, load_data, read_spec, spatial_dims_of


def whole(case):
    return Window((0,) * len(case.image.shape), case.image.shape)


def write_set(folder, count, *, channels=3, name="im", spec="", value=1, seed=0):
    """Writes images of 40 x 30 pixels with a block of label in each."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        shape = (40, 30) if channels == 1 else (40, 30, channels)
        cv2.imwrite(str(folder / "images" / f"{name}{number}.png"), rng.integers(0, 255, shape).astype(np.uint8))
        mask = np.zeros((40, 30), np.uint8)
        mask[5:20, 5 : 10 + number] = value
        cv2.imwrite(str(folder / "masks" / f"{name}{number}.png"), mask)
    if spec:
        (folder / "set.yaml").write_text(spec)
    return folder


def test_cases_of_joined_sets_weigh_what_their_sets_do(tmp_path):
    write_set(tmp_path / "small", 5, spec="path: .")
    write_set(tmp_path / "large", 20, value=255, seed=1, spec="path: .")
    (tmp_path / "both.yaml").write_text("sets: {small/set.yaml: 3, large/set.yaml: 1}\n")
    assert spatial_dims_of(read_spec(tmp_path / "both.yaml")) == 2
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    weights = {
        name: [case.weight for case in loaded.train if case.name.startswith(name)] for name in ("small", "large")
    }
    assert [len(weights["small"]), len(weights["large"]), len(loaded.validation)] == [4, 16, 5]
    np.testing.assert_allclose([sum(weights["small"]), sum(weights["large"])], [3, 1])
    assert len({case.name for case in loaded.train + loaded.validation}) == 25
    for case in loaded.train:
        number = int(case.name.split("im")[1])
        assert case.read_label(whole(case)).sum() == 15 * (5 + number)
    single = load_data(tmp_path / "small", spatial_dims=2)
    assert {case.weight for case in single.train} == {1.0}
    assert single.train[0].read_instances is None


def test_a_run_finds_what_it_held_out_of_joined_sets(tmp_path):
    write_set(tmp_path / "a", 5)
    write_set(tmp_path / "b", 5, value=255, seed=1, spec="classes: {foreground: 255}\n")
    (tmp_path / "c.yaml").write_text("path: a\nvalidation: 0.4\n")
    (tmp_path / "both.yaml").write_text("sets: {c.yaml: 1, b/set.yaml: 1}\nnormalization: none\n")
    (tmp_path / "b" / "set.yaml").write_text("path: .\nclasses: [foreground]\n")
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    mapping = json.loads(json.dumps(loaded.as_mapping()))
    assert len(mapping["validation"]) == 2 + 1
    again = labelled_cases(mapping)
    assert [case.name for case in again] == mapping["validation"]
    for case, before in zip(again, loaded.validation, strict=True):
        np.testing.assert_array_equal(case.read_label(whole(case)), before.read_label(whole(before)))
        np.testing.assert_array_equal(case.read_image(whole(case)), before.read_image(whole(before)))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("sets: {a: 1, b: 1}", {"channels": 1}, r"b: expected the channels 3 of .*a; received 1"),
        ("sets: {a: 1, b/set.yaml: 1}", {"spec": "classes: [b]"}, r"expected the classes \['foreground'\] of .*a; rec"),
        (
            "sets: {a: 1, b/set.yaml: 1}",
            {"spec": "task: multiclass"},
            "expected the task binary of .*a; received multi",
        ),
        ("sets: {a: 0}", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        ("sets: {a: .nan}", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        ("sets: [a, b]", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        (
            "sets: {a: 1}\ntask: binary",
            {},
            "both.yaml: expected `sets` with no other key than normalization or stain; received t",
        ),
        ("sets: {a: 1, missing: 1}", {}, "expected .*received .*missing, which is not there"),
        ("sets: {a: 1, both.yaml: 1}", {}, "expected sets that are data sets; received .*both.yaml"),
        ("sets: {a: 1, ./a: 1}", {}, "expected different sets; received a, ./a"),
    ],
)
def test_sets_that_do_not_fit_are_refused_in_one_line(tmp_path, spec, options, message):
    write_set(tmp_path / "a", 4)
    write_set(tmp_path / "b", 4, **options)
    (tmp_path / "both.yaml").write_text(spec)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_object_numbers_are_one_class_and_are_kept(tmp_path, dtype):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    numbers = {}
    for name in "abcde":
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), rng.integers(0, 255, (60, 50)).astype(np.uint8))
        ids = np.kron(rng.integers(0, 900, (6, 5)), np.ones((10, 10))).astype(dtype) * (70 if dtype == np.uint32 else 1)
        tifffile.imwrite(tmp_path / "masks" / f"{name}.tif", ids)
        numbers[name] = ids
    (tmp_path / "set.yaml").write_text("path: .\ninstances: true\nclasses: [nucleus]\n")
    loaded = load_data(tmp_path / "set.yaml", spatial_dims=2)
    assert (loaded.task, loaded.class_names) == ("binary", ["nucleus"])
    window = Window((-4, 13), (40, 60))
    for case in loaded.train + loaded.validation:
        shown = np.pad(numbers[case.name], [(4, 0), (0, 30)], mode="reflect")[:40, 13:73]
        read = case.read_instances(window)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, shown)
        np.testing.assert_array_equal(case.read_label(window)[..., 0], shown > 0)
    with pytest.raises(ValueError, match="instances: expected a binary task"):
        replace(loaded.spec, task="multiclass")


def test_nuclei_by_their_numbers_are_their_masks(tmp_path, shared_data):
    (tmp_path / "ids.yaml").write_text(f"path: {shared_data / 'nuclei'}\nlabels: instances\ninstances: true\n")
    (tmp_path / "masks.yaml").write_text(f"path: {shared_data / 'nuclei'}\nlabels: masks\n")
    numbered, masks = (load_data(tmp_path / f"{name}.yaml", spatial_dims=2) for name in ("ids", "masks"))
    assert [case.name for case in numbered.train] == [case.name for case in masks.train]
    for case, mask in list(zip(numbered.train, masks.train, strict=True))[:8]:
        np.testing.assert_array_equal(case.read_label(whole(case)), mask.read_label(whole(mask)))
        assert case.read_instances(whole(case)).max() >= 1


def test_damaged_object_numbers_are_refused(tmp_path):
    write_set(tmp_path, 3)
    tifffile.imwrite(tmp_path / "masks" / "im1.tif", np.full((40, 30), -3, np.int16))
    (tmp_path / "masks" / "im1.png").unlink()
    (tmp_path / "set.yaml").write_text("path: .\ninstances: true\n")
    with pytest.raises(ValueError, match=r"im1.tif: expected object numbers from 0 on; received -3"):
        load_data(tmp_path / "set.yaml", spatial_dims=2)
