"""Label values mean what is declared, or what they can only mean; everything else is refused with the file's name."""

import json

import cv2
import nibabel
import numpy as np
import pytest
import yaml

from maskzoo.data import (
    DataSpec,
    LabelScheme,
    Window,
    encode_rle,
    labelled_cases,
    load_data,
    open_source,
    read_spec,
)
from maskzoo.data.labels.scheme import find_scheme
from maskzoo.data.sets.folds import make_folds, write_folds


def label(values, spatial_dims=2):
    return open_source(np.asarray(values), spatial_dims=spatial_dims, palette="index")


def read(scheme, source):
    return scheme.reader(source)(Window((0,) * len(source.shape), source.shape))


def folder(path, images, masks, name="masks"):
    (path / "images").mkdir()
    (path / name).mkdir()
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        cv2.imwrite(str(path / "images" / f"{number:02}.png"), image)
        cv2.imwrite(str(path / name / f"{number:02}.png"), mask)
    return path


def pictures(number, side=40, colors=3):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, colors), np.uint8) for _ in range(number)]


def masks(number, values=(0, 255), side=40):
    rng = np.random.default_rng(1)
    return [rng.choice(np.array(values, np.uint8), (side, side)) for _ in range(number)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, bool])
def test_zero_and_one_is_binary_in_any_type(dtype):
    source = label(np.array([[0, 1], [1, 0]], dtype))
    scheme = find_scheme([source])
    assert (scheme.task, scheme.num_classes, scheme.ignore_index) == ("binary", 1, None)
    array = read(scheme, source)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[0], [1]], [[1], [0]]]


def test_zero_and_255_is_binary():
    source = label([[0, 255], [255, 255]])
    assert read(find_scheme([source]), source)[..., 0].tolist() == [[0, 1], [1, 1]]


def test_class_ids_are_multiclass():
    sources = [label([[0, 1], [1, 0]]), label([[0, 2], [2, 3]])]
    scheme = find_scheme(sources)
    assert (scheme.task, scheme.class_names) == ("multiclass", ("0", "1", "2", "3"))
    assert read(scheme, sources[1]).tolist() == [[0, 2], [2, 3]]


def test_bands_that_differ_are_multilabel():
    source = label([[[0, 1], [255, 1]], [[0, 0], [1, 0]]])
    scheme = find_scheme([source], classes=["lung", "heart"])
    assert (scheme.task, scheme.class_names) == ("multilabel", ("lung", "heart"))
    assert read(scheme, source).tolist() == [[[0, 1], [1, 1]], [[0, 0], [1, 0]]]
    swapped = find_scheme([source], classes={"heart": 2, "lung": 1})
    np.testing.assert_array_equal(read(swapped, source), read(scheme, source)[..., ::-1])
    with pytest.raises(ValueError, match="classes: expected bands between 1 and 2"):
        find_scheme([source], classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="array: expected one band of label values, or equal ones; received 2"):
        find_scheme([source], task="binary")


def test_grey_colours_are_one_band():
    source = label(np.array([[0, 255], [255, 0]])[..., None].repeat(3, -1))
    scheme = find_scheme([source])
    assert scheme.task == "binary"
    assert read(scheme, source)[..., 0].tolist() == [[0, 1], [1, 0]]


def test_the_class_of_interest_may_be_the_value_0():
    source = label([[0, 255], [255, 255]])
    scheme = find_scheme([source], classes={"membrane": 0})
    assert (scheme.task, scheme.class_names) == ("binary", ("membrane",))
    assert read(scheme, source)[..., 0].tolist() == [[1, 0], [0, 0]]
    both = find_scheme([source], task="binary", classes={"cell": 255, "membrane": 0})
    np.testing.assert_array_equal(read(both, source), read(scheme, source))


def test_names_alone_follow_the_label_values():
    assert find_scheme([label([[0, 1]])], classes=["nucleus"]).class_names == ("nucleus",)
    assert find_scheme([label([[0, 255]])], classes=["other", "nucleus"]).class_names == ("nucleus",)
    scheme = find_scheme([label([[0, 1, 2]])], classes=["air", "bone", "fat"])
    assert (scheme.task, scheme.class_names) == ("multiclass", ("air", "bone", "fat"))


def test_a_background_that_nobody_named_is_class_0():
    source = label([[0, 10, 20, 21]])
    scheme = find_scheme([source], classes={"anterior": 10, "posterior": [20, 21]})
    assert (scheme.task, scheme.class_names) == ("multiclass", ("background", "anterior", "posterior"))
    assert read(scheme, source).tolist() == [[0, 1, 2, 2]]


def test_classes_that_share_values_are_multilabel():
    source = label([[0, 1, 2]])
    scheme = find_scheme([source], classes={"kidney": [1, 2], "tumour": 2})
    assert scheme.task == "multilabel"
    assert read(scheme, source).tolist() == [[[0, 0], [1, 0], [1, 1]]]


def test_ignored_values_become_255():
    ids = label([[0, 1, 11]])
    scheme = find_scheme([ids], classes=["road", "car"], task="multiclass", ignore=[11])
    assert scheme.ignore_index == 255
    assert read(scheme, ids).tolist() == [[0, 1, 255]]
    binary = label([[0, 1, 255]])
    assert read(find_scheme([binary], ignore=[255]), binary)[..., 0].tolist() == [[0, 1, 255]]
    bands = label([[[0, 1], [255, 0]]])
    assert read(find_scheme([bands], ignore=[255]), bands).tolist() == [[[0, 1], [255, 0]]]


def test_a_scheme_survives_json():
    source = label([[0, 1, 2, 9]])
    scheme = find_scheme([source], classes={"kidney": [1, 2], "tumour": 2}, ignore=[9])
    again = LabelScheme.from_dict(json.loads(json.dumps(scheme.as_dict())))
    assert again == scheme
    np.testing.assert_array_equal(read(again, source), read(scheme, source))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[0, 1, 255]], {"task": "binary"}, "labels: expected values within 0, 1 or 0, 255"),
        ([[0, 0]], {}, "labels: expected a class besides the background"),
        ([[0, 300]], {}, "labels: expected class ids from 0 to 63"),
        ([[0, 3]], {"classes": ["a", "b", "c"]}, r"array: expected label values \[0, 1, 2\]; received 3"),
        ([[0.0, 0.5]], {}, "array: expected label values that are whole numbers; received 0.5"),
        ([[0, 1]], {"task": "multilabel"}, "classes: expected a mapping from name to label values"),
        ([[0, 1]], {"task": "multi"}, r"task: expected multilabel \(of .*\); received multi"),
        ([[0, 1]], {"classes": {"a": 1, "b": 1}, "task": "multiclass"}, "classes: expected every label value once"),
        ([[0, 1]], {"classes": {"a": 1}, "ignore": [1]}, "classes: expected every label value once"),
        ([[0, 1]], {"classes": {"a": "x"}}, "classes: expected whole numbers"),
        ([[0, 1]], {"classes": {"a": 1}, "ignore": [10**9]}, "classes: expected label values within a million"),
        ([[0, 1]], {"classes": {"a": 1, "b": 2, "c": 3}, "task": "binary"}, "classes: expected a class, or background"),
    ],
)
def test_contradictions_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        find_scheme([label(values)], **options)


def test_a_value_met_later_is_refused_with_the_files_name():
    scheme = find_scheme([label([[0, 1]])])
    with pytest.raises(ValueError, match=r"array: expected label values \[0, 1, 255\]; received 7"):
        read(scheme, label([[0, 7]]))


def test_labels_outside_the_image_are_mirrored():
    source = label([[0, 1, 1, 0]])
    assert find_scheme([source]).reader(source)(Window((0, -2), (1, 4)))[..., 0].tolist() == [[1, 1, 0, 1]]


@pytest.mark.parametrize("name", ["masks", "labels"])
def test_a_folder_is_a_data_set(tmp_path, name):
    images, labels = pictures(5), masks(5)
    data = load_data(str(folder(tmp_path, images, labels, name)), spatial_dims=2, seed=3)
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


def test_the_held_out_part(tmp_path):
    path = str(folder(tmp_path, pictures(7), masks(7)))

    def held_out(**options):
        data = load_data(read_spec(path, **options), spatial_dims=2, seed=options.pop("seed", 0))
        names = [case.name for case in data.validation]
        assert sorted(names + [case.name for case in data.train]) == [f"{i:02}" for i in range(7)]
        return names

    assert held_out(split="block", validation=0.4) == ["04", "05", "06"]
    assert len(held_out(validation=0.01)) == 1
    assert len(held_out(validation=0.99)) == 6
    assert held_out() == held_out()
    names = {tuple(c.name for c in load_data(path, spatial_dims=2, seed=seed).validation) for seed in range(6)}
    assert len(names) > 1


def test_one_image_cannot_be_split(tmp_path):
    with pytest.raises(ValueError, match="expected at least 2 images"):
        load_data(str(folder(tmp_path, pictures(1), masks(1))), spatial_dims=2)


def test_yaml_keys_and_options(tmp_path):
    (tmp_path / "set").mkdir()
    folder(tmp_path / "set", pictures(4), masks(4))
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump({"path": "set", "classes": {"nucleus": 255}, "validation": 0.5}))
    assert read_spec(path).path == str(tmp_path / "set")
    assert read_spec(path).classes == {"nucleus": 255}
    spec = read_spec(path, validation=0.25, split="block")
    assert (spec.validation, spec.split) == (0.25, "block")
    data = load_data(spec, spatial_dims=2)
    assert data.class_names == ["nucleus"]
    path.write_text("pth: set")
    with pytest.raises(ValueError, match=r"set.yaml: unknown key: expected path \(of .*\); received pth"):
        read_spec(path)
    path.write_text("path: elsewhere")
    with pytest.raises(FileNotFoundError, match=r"received .*elsewhere, which is not there"):
        read_spec(path)
    for text in ("- a", "path: [", "path: set\nvalidation: 2", "path: set\nsplit: blok", "path: set\nclasses: 3"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"set.yaml: ") as caught:
            read_spec(path)
        assert "\n" not in str(caught.value)


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere, which is not there"):
        read_spec(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="received no images/"):
        read_spec(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match="received no masks/ or labels/"):
        read_spec(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"images: expected files of type .*; received a folder without any"):
        load_data(str(tmp_path), spatial_dims=2)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), pictures(1)[0])
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), masks(1)[0])
    with pytest.raises(FileNotFoundError, match=r"b.png: expected a counterpart .* in .*masks; received none"):
        load_data(str(tmp_path), spatial_dims=2)
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), masks(1)[0])
    cv2.imwrite(str(tmp_path / "masks" / "c.png"), masks(1)[0])
    with pytest.raises(FileNotFoundError, match=r"c.png: expected a counterpart .* in .*images; received none"):
        load_data(str(tmp_path), spatial_dims=2)
    cv2.imwrite(str(tmp_path / "images" / "b.tif"), pictures(1)[0])
    with pytest.raises(ValueError, match=r"b.tif: expected one file of this name; received b.png as well"):
        load_data(str(tmp_path), spatial_dims=2)
    (tmp_path / "file.txt").touch()
    with pytest.raises(ValueError, match="received the file"):
        read_spec(tmp_path / "file.txt")


def test_pairs_that_do_not_fit_are_named(tmp_path):
    path = folder(tmp_path, pictures(3), masks(3))
    cv2.imwrite(str(path / "masks" / "01.png"), masks(1, side=41)[0])
    with pytest.raises(ValueError, match=r"masks/01.png: .* size of .*images/01.png, \(40, 40\); received \(41, 41\)"):
        load_data(str(path), spatial_dims=2)
    cv2.imwrite(str(path / "masks" / "01.png"), np.full((40, 40), 7, np.uint8))
    with pytest.raises(ValueError, match=r"masks/01.png: expected label values \[0, 1, 255\]; received 7"):
        load_data(read_spec(path, classes={"nucleus": 255}), spatial_dims=2)
    cv2.imwrite(str(path / "masks" / "01.png"), masks(1)[0])
    cv2.imwrite(str(path / "images" / "02.png"), pictures(1)[0][..., 0])
    with pytest.raises(ValueError, match=r"images/02.png: expected 3 channels as in .*00.png; received 1"):
        load_data(str(path), spatial_dims=2)


def test_evaluation_sees_what_training_saw(tmp_path):
    for name in ("train", "other"):
        (tmp_path / name).mkdir()
    folder(tmp_path / "train", pictures(5), masks(5))
    folder(tmp_path / "other", pictures(2), masks(2, (0, 1)))
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
    with pytest.raises(ValueError, match=r"other.yaml: expected the classes \['foreground'\] of the run; received"):
        labelled_cases(mapping, tmp_path / "other.yaml")


def test_the_fingerprint_follows_the_content(tmp_path):
    path = folder(tmp_path, pictures(3), masks(3))
    first = load_data(str(path), spatial_dims=2).fingerprint
    assert load_data(str(path), spatial_dims=2, seed=1).fingerprint == first
    cv2.imwrite(str(path / "images" / "01.png"), pictures(1)[0] // 2)
    assert load_data(str(path), spatial_dims=2).fingerprint != first


def test_volumes_with_float_labels(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 3, (6, 7, 8)).astype(np.float32)
        for name in ("images", "labels"):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name / f"{number}.nii.gz")
    data = load_data(str(tmp_path), spatial_dims=3)
    assert (data.task, data.num_classes, data.train[0].name) == ("multiclass", 3, data.train[0].path.name[:1])
    with pytest.raises(ValueError, match="expected an image with 2 spatial axes"):
        load_data(str(tmp_path), spatial_dims=2)


def written(path, /, **keys):
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return path


def test_run_length_labels(tmp_path):
    images, labels = pictures(4), masks(4)
    folder(tmp_path, images, labels)
    rows = [f"{number:02}.png,{encode_rle(label, relative=True)}" for number, label in enumerate(labels)]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows, "other.png,1 1"]))
    path = written(tmp_path / "set.yaml", path=".", labels="train.csv", rle={"relative": True})
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names) == ("binary", ["foreground"])
    for case in data.train:
        expected = labels[int(case.name)] > 0
        np.testing.assert_array_equal(case.read_label(Window((0, 0), (40, 40)))[..., 0], expected)
    again = labelled_cases(json.loads(json.dumps(data.as_mapping())))
    assert [case.name for case in again] == [case.name for case in data.validation]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows[1:]]))
    with pytest.raises(FileNotFoundError, match=r"00.png: expected a counterpart .* in .*train.csv"):
        load_data(path, spatial_dims=2)
    written(path, path=".", labels="train.csv", rle={"relativ": True})
    with pytest.raises(ValueError, match=r"rle: expected relative \(of"):
        load_data(path, spatial_dims=2)


def test_run_length_labels_of_several_classes(tmp_path):
    folder(tmp_path, pictures(3), masks(3))
    rows = [f"{number:02}.jpg_{kind},{start} 5" for number in range(3) for kind, start in [("Fish", 1), ("Sugar", 3)]]
    (tmp_path / "train.csv").write_text("\n".join(["Image_Label,EncodedPixels", *rows]))
    path = written(tmp_path / "set.yaml", path=".", labels="train.csv", classes=["Sugar", "Fish"])
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names, data.num_classes) == ("multilabel", ["Sugar", "Fish"], 2)
    label = data.train[0].read_label(Window((0, 0), (10, 1)))[:, 0]
    assert label.tolist() == [[0, 1], [0, 1], [1, 1], [1, 1], [1, 1], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]


def test_polygon_labels(tmp_path):
    folder(tmp_path, pictures(3), masks(3))
    (tmp_path / "outlines").mkdir()
    for number in range(3):
        ring = [[1, 2], [9, 2], [9, 6], [1, 6], [1, 2]]
        feature = {
            "type": "Feature",
            "properties": {"kind": "cell"},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        (tmp_path / "outlines" / f"{number:02}.geojson").write_text(json.dumps([feature]))
    data = load_data(written(tmp_path / "set.yaml", path=".", labels="outlines"), spatial_dims=2)
    assert (data.task, data.class_names) == ("binary", ["foreground"])
    label = data.train[0].read_label(Window((0, 0), (40, 40)))[..., 0]
    assert (label.sum(), label[2:6, 1:9].sum()) == (32, 32)
    keys = {"path": ".", "labels": "outlines", "class_property": "kind"}
    with pytest.raises(ValueError, match="classes: expected the values of kind in a list; received none"):
        load_data(written(tmp_path / "set.yaml", **keys), spatial_dims=2)
    several = load_data(written(tmp_path / "set.yaml", classes=["wall", "cell"], **keys), spatial_dims=2)
    assert (several.task, several.class_names) == ("multilabel", ["wall", "cell"])
    assert several.train[0].read_label(Window((0, 0), (40, 40))).sum(axis=(0, 1)).tolist() == [0, 32]


def test_one_file_per_class(tmp_path):
    lungs, hearts = masks(3), masks(3, (0, 1))[::-1]
    folder(tmp_path, pictures(3), lungs, "lungs")
    (tmp_path / "hearts").mkdir()
    for number, heart in enumerate(hearts):
        cv2.imwrite(str(tmp_path / "hearts" / f"{number:02}.png"), heart)
    path = written(tmp_path / "set.yaml", path=".", labels={"lung": "lungs", "heart": "hearts"})
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names) == ("multilabel", ["lung", "heart"])
    case = data.train[0]
    expected = np.stack([lungs[int(case.name)], hearts[int(case.name)]], axis=-1) > 0
    np.testing.assert_array_equal(case.read_label(Window((0, 0), (40, 40))), expected)
    written(path, path=".", labels={"lung": "lungs", "heart": "harts"})
    with pytest.raises(FileNotFoundError, match=r"labels: expected a file or folder in .*; received harts"):
        load_data(path, spatial_dims=2)


def test_folders_of_other_names(shared_data):
    classes = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    spec = DataSpec(path=str(shared_data / "camvid"), images="train", labels="trainannot", classes=classes, ignore=[11])
    data = load_data(spec, spatial_dims=2)
    assert (data.task, data.num_classes, data.ignore_index) == ("multiclass", 11, 255)
    values = np.unique(data.train[0].read_label(Window((0, 0), data.train[0].image.shape)))
    assert set(values) <= {*range(11), 255}


def test_groups_and_folds(tmp_path):
    folder(tmp_path, pictures(6), masks(6))
    path = written(tmp_path / "set.yaml", path=".", group="^(.)", validation=0.5)
    with pytest.raises(ValueError, match="expected at least 2 groups of images"):
        load_data(path, spatial_dims=2)
    write_folds(tmp_path / "folds.json", make_folds([f"{number:02}" for number in range(6)], 3, split="block"))
    written(path, path=".", folds="folds.json", fold=1)
    data = load_data(path, spatial_dims=2)
    assert [case.name for case in data.validation] == ["02", "03"]
    assert [case.name for case in labelled_cases(data.as_mapping())] == ["02", "03"]
    written(path, path=".", folds="folds.json", fold=3)
    with pytest.raises(ValueError, match=r"fold: expected one of several folds \[0, 1, 2\]; received 3"):
        load_data(path, spatial_dims=2)
