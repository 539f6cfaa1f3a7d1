"""Data sets are split, joined by weight, measured, and found again as a run was trained on them."""

import json

import numpy as np
import pytest

from maskzoo.data import (
    DataSpec,
    Window,
    labelled_cases,
    load_data,
    make_folds,
    read_spec,
    spatial_dims_of,
    write_folds,
)
from maskzoo.errors import DataError, LabelError, MissingFile, OptionError


def whole(case):
    return Window((0,) * len(case.image.shape), case.image.shape)


@pytest.mark.parametrize("name", ["masks", "labels"])
def test_a_folder_is_a_data_set(tmp_path, name, save_folder, pictures, masks):
    images, labels = pictures(5), masks(5)
    data = load_data(str(save_folder(tmp_path, images, labels, name)), spatial_dims=2, seed=3)
    assert (data.task, data.num_classes, data.channels, data.spatial_dims) == ("binary", 1, 3, 2)
    assert (len(data.train), len(data.validation)) == (4, 1)
    assert data.class_names == ["foreground"]
    case = data.train[0]
    number = int(case.name)
    window = Window((3, 5), (20, 30))
    assert case.path == tmp_path / "images" / f"{case.name}.png"
    np.testing.assert_array_equal(case.read_label(window)[..., 0], labels[number][3:23, 5:35] > 0)
    rgb = np.stack(images)[[int(c.name) for c in data.train]][..., ::-1].reshape(-1, 3)
    expected = (images[number][3:23, 5:35, ::-1] - rgb.mean(0)) / rgb.std(0)
    np.testing.assert_allclose(case.read_image(window), expected, atol=1e-5)
    assert case.read_image(window).dtype == np.float32


def test_real_data_sets_load(shared_data):
    membrane = load_data(
        DataSpec(path=str(shared_data / "membrane"), classes={"membrane": 0}, split="block"), spatial_dims=2
    )
    assert [case.name for case in membrane.validation] == ["16", "17", "18", "19"]
    share = np.mean([case.read_label(Window((0, 0), (512, 512))).mean() for case in membrane.train])
    assert 0.2 < share < 0.24  # the data's README: membrane is about 22 %
    volumes = load_data(DataSpec(path=str(shared_data / "hippocampus"), normalization="image"), spatial_dims=3)
    assert (volumes.task, volumes.num_classes) == ("multiclass", 3)
    image = volumes.train[0]
    whole = image.read_image(Window((0, 0, 0), image.image.shape))
    assert abs(whole.mean()) < 1e-3
    assert abs(whole.std() - 1) < 1e-3


def test_the_held_out_part(tmp_path, save_folder, pictures, masks):
    path = str(save_folder(tmp_path, pictures(7), masks(7)))

    def held_out(**options):
        data = load_data(read_spec(path, options), spatial_dims=2)
        names = [case.name for case in data.validation]
        assert sorted(names + [case.name for case in data.train]) == [f"{i:02}" for i in range(7)]
        return names

    assert held_out(split="block", validation=0.4) == ["04", "05", "06"]
    assert len(held_out(validation=0.01)) == 1
    assert len(held_out(validation=0.99)) == 6
    assert held_out() == held_out()
    names = {tuple(c.name for c in load_data(path, spatial_dims=2, seed=seed).validation) for seed in range(6)}
    assert len(names) > 1


def test_one_image_is_split_into_regions(tmp_path, save_folder, pictures, masks):
    loaded = load_data(str(save_folder(tmp_path, pictures(1, side=64), masks(1, side=64))), spatial_dims=2)
    assert [case.name for case in loaded.validation] == ["00-region1"]
    assert {case.name[:11] for case in loaded.train} == {"00-training"}
    assert set(loaded.regions) == {case.name for case in loaded.train + loaded.validation}


def test_groups_and_folds(tmp_path, save_folder, save_yaml, pictures, masks):
    save_folder(tmp_path, pictures(6), masks(6))
    path = save_yaml(tmp_path / "set.yaml", path=".", group="^(.)", validation=0.5)
    with pytest.raises(OptionError, match="expected at least 2 groups of images"):
        load_data(path, spatial_dims=2)
    write_folds(tmp_path / "folds.json", make_folds([f"{number:02}" for number in range(6)], 3, split="block"))
    save_yaml(path, path=".", folds="folds.json", fold=1)
    data = load_data(path, spatial_dims=2)
    assert [case.name for case in data.validation] == ["02", "03"]
    assert [case.name for case in labelled_cases(data.as_mapping())] == ["02", "03"]
    save_yaml(path, path=".", folds="folds.json", fold=3)
    with pytest.raises(OptionError, match="fold: expected one of several folds, 0, 1, 2; received 3"):
        load_data(path, spatial_dims=2)


def test_evaluation_sees_what_training_saw(tmp_path, save_folder, pictures, masks):
    for name in ("train", "other"):
        (tmp_path / name).mkdir()
    save_folder(tmp_path / "train", pictures(5), masks(5))
    save_folder(tmp_path / "other", pictures(2), masks(2, (0, 1)))
    data = load_data(str(tmp_path / "train"), spatial_dims=2)
    mapping = json.loads(json.dumps(data.as_mapping()))
    window = Window((0, 0), (40, 40))
    again = labelled_cases(mapping)
    assert [case.name for case in again] == [case.name for case in data.validation]
    np.testing.assert_array_equal(again[0].read_image(window), data.validation[0].read_image(window))
    np.testing.assert_array_equal(again[0].read_label(window), data.validation[0].read_label(window))
    other = labelled_cases(mapping, tmp_path / "other")
    assert len(other) == 2
    assert set(np.unique(other[0].read_label(window))) == {0, 1}
    (tmp_path / "other.yaml").write_text("path: other\nclasses: {nucleus: 1}")
    with pytest.raises(DataError, match=r"other.yaml: expected the classes of the run, foreground; received nucleus"):
        labelled_cases(mapping, tmp_path / "other.yaml")


def test_cases_of_joined_sets_weigh_what_their_sets_do(tmp_path, save_blocks):
    save_blocks(tmp_path / "small", 5, spec="path: .")
    save_blocks(tmp_path / "large", 20, value=255, seed=1, spec="path: .")
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


def test_a_run_finds_what_it_held_out_of_joined_sets(tmp_path, save_blocks):
    save_blocks(tmp_path / "a", 5)
    save_blocks(tmp_path / "b", 5, value=255, seed=1, spec="classes: {foreground: 255}\n")
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
        ("sets: {a: 1, b: 1}", {"channels": 1}, r"b: expected the same channels as in .*a, 3; received 1"),
        (
            "sets: {a: 1, b/set.yaml: 1}",
            {"spec": "classes: [b]"},
            r"the same classes as in .*a, foreground; received b",
        ),
        (
            "sets: {a: 1, b/set.yaml: 1}",
            {"spec": "task: multiclass"},
            r"expected the same task as in .*a, binary; received multiclass",
        ),
        ("sets: {a: 0}", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        ("sets: {a: .nan}", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        ("sets: [a, b]", {}, "both.yaml: sets: expected a mapping from data sets to weights above 0"),
        (
            "sets: {a: 1}\ntask: binary",
            {},
            "both.yaml: expected `sets` with no other keys than normalization, stain, .*; received task",
        ),
        ("sets: {a: 1, missing: 1}", {}, r"missing: expected .*; received nothing there"),
        ("sets: {a: 1, both.yaml: 1}", {}, "expected sets that are data sets; received .*both.yaml"),
        ("sets: {a: 1, ./a: 1}", {}, "expected different sets; received a, ./a"),
    ],
)
def test_sets_that_do_not_fit_are_refused_in_one_line(tmp_path, spec, options, message, save_blocks):
    save_blocks(tmp_path / "a", 4)
    save_blocks(tmp_path / "b", 4, **options)
    (tmp_path / "both.yaml").write_text(spec)
    with pytest.raises((DataError, OptionError, MissingFile), match=message) as caught:
        load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert "\n" not in str(caught.value)


def test_a_run_is_evaluated_on_labels_that_are_declared_otherwise(tmp_path, save_folder, pictures, masks):
    save_folder(tmp_path / "train", pictures(4), masks(4))
    save_folder(tmp_path / "other", pictures(2), masks(2, (3, 9)))
    mapping = load_data(str(tmp_path / "train"), spatial_dims=2).as_mapping()
    (tmp_path / "other.yaml").write_text("path: other\nclasses: {background: 3, foreground: 9}\ntask: binary")
    for case, mask in zip(labelled_cases(mapping, tmp_path / "other.yaml"), masks(2, (3, 9)), strict=True):
        np.testing.assert_array_equal(case.read_label(whole(case))[..., 0], mask == 9)


def test_joined_sets_of_the_same_name(tmp_path, save_blocks):
    for folder in ("a", "b"):
        save_blocks(tmp_path / folder / "set", 3)
    (tmp_path / "both.yaml").write_text("sets: {a/set: 1, b/set: 1}")
    loaded = load_data(tmp_path / "both.yaml", spatial_dims=2)
    assert {case.name[:6] for case in loaded.train + loaded.validation} == {"a-set-", "b-set-"}
    for folder in ("c/a", "d/a"):
        save_blocks(tmp_path / folder / "set", 3)
    (tmp_path / "both.yaml").write_text("sets: {c/a/set: 1, d/a/set: 1}")
    with pytest.raises(DataError, match=r"both.yaml: expected sets whose files or folders have different names; rec"):
        load_data(tmp_path / "both.yaml", spatial_dims=2)


@pytest.mark.parametrize(
    ("convert", "ignored"),
    [
        (lambda mask: mask * 255, 0),
        (lambda mask: mask * 200, 0),
        (lambda mask: mask.astype(np.uint16) * 65535, 0),
        (lambda mask: np.where(np.arange(1600).reshape(40, 40) < 40, 255, mask).astype(np.uint8), 40),
        (lambda mask: mask * 0, 0),
    ],
)
def test_masks_of_another_set_mean_what_their_own_values_say(tmp_path, save_folder, pictures, convert, ignored):
    """Such as 255 that does not count beside 0 and 1, which is the class beside 0."""
    mask = np.zeros((40, 40), np.uint8)
    mask[5:15, 8:20] = 1
    trained = load_data(save_folder(tmp_path / "old", pictures(3), [mask * 255] * 3), spatial_dims=2).as_mapping()
    other = save_folder(tmp_path / "new", pictures(2), [convert(mask)] * 2)
    for case in labelled_cases(trained, other):
        labels = case.read_label(Window((0, 0), (40, 40)))
        assert (labels == 1).sum() == (120 if convert(mask).any() else 0)
        assert (labels == 255).sum() == ignored


def test_masks_of_another_set_mean_what_was_declared_for_the_run(tmp_path, save_folder, pictures, masks):
    old = save_folder(tmp_path / "old", pictures(3), masks(3, values=(0, 1)))
    trained = load_data(read_spec(old, {"classes": {"membrane": 0}}), spatial_dims=2).as_mapping()
    for case in labelled_cases(trained, save_folder(tmp_path / "new", pictures(2), masks(2, values=(0, 255)))):
        assert 0.4 < (case.read_label(Window((0, 0), (40, 40))) == 1).mean() < 0.6
    case, _ = labelled_cases(trained, save_folder(tmp_path / "wrong", pictures(2), masks(2, values=(0, 7))))
    with pytest.raises(LabelError, match="expected label values 0, 1, 255; received 7"):
        case.read_label(Window((0, 0), (40, 40)))


def test_what_does_not_count_for_a_run_does_not_count_in_another_set(tmp_path, save_folder, pictures, masks):
    old = save_folder(tmp_path / "old", pictures(3), masks(3, values=(0, 1, 255)))
    trained = load_data(old, spatial_dims=2).as_mapping()
    for case in labelled_cases(trained, save_folder(tmp_path / "new", pictures(2), masks(2, values=(0, 255)))):
        labels = case.read_label(Window((0, 0), (40, 40)))
        assert set(np.unique(labels)) == {0, 255}
