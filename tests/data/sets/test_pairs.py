"""Every kind of label is opened with its image; what does not fit is refused with the file's name."""

import json
from dataclasses import replace

import cv2
import nibabel
import numpy as np
import pytest
import tifffile

from maskzoo.data import (
    DataSpec,
    Window,
    encode_rle,
    image_names,
    inspect_data,
    labelled_cases,
    load_data,
    read_spec,
)
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.image_opening import open_as_trained
from maskzoo.errors import ImageError, LabelError, MissingFile, OptionError


def whole(case):
    return Window((0,) * len(case.image.shape), case.image.shape)


def test_missing_parts_are_named(tmp_path, pictures, masks):
    with pytest.raises(MissingFile, match="received no images/"):
        read_spec(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(MissingFile, match="received no masks/ or labels/"):
        read_spec(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(MissingFile, match=r"images: expected files of type .*; received a folder without any"):
        load_data(str(tmp_path), spatial_dims=2)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), pictures(1)[0])
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), masks(1)[0])
    with pytest.raises(MissingFile, match=r"b.png: expected a counterpart .* in .*masks; received none"):
        load_data(str(tmp_path), spatial_dims=2)
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), masks(1)[0])
    cv2.imwrite(str(tmp_path / "masks" / "c.png"), masks(1)[0])
    with pytest.raises(MissingFile, match=r"c.png: expected a counterpart .* in .*images; received none"):
        load_data(str(tmp_path), spatial_dims=2)
    cv2.imwrite(str(tmp_path / "images" / "b.tif"), pictures(1)[0])
    with pytest.raises(ValueError, match=r"b.tif: expected one file of this name; received b.png as well"):
        load_data(str(tmp_path), spatial_dims=2)


def test_pairs_that_do_not_fit_are_named(tmp_path, save_folder, pictures, masks):
    path = save_folder(tmp_path, pictures(3), masks(3))
    cv2.imwrite(str(path / "masks" / "01.png"), masks(1, side=41)[0])
    with pytest.raises(LabelError, match=r"masks/01.png: .* size of .*images/01.png, 40 x 40; received 41 x 41"):
        load_data(str(path), spatial_dims=2)
    cv2.imwrite(str(path / "masks" / "01.png"), np.full((40, 40), 7, np.uint8))
    with pytest.raises(LabelError, match=r"masks/01.png: expected label values 0, 255; received 7"):
        load_data(read_spec(path, {"classes": {"nucleus": 255}}), spatial_dims=2)
    cv2.imwrite(str(path / "masks" / "01.png"), masks(1)[0])
    cv2.imwrite(str(path / "images" / "02.png"), pictures(1)[0][..., 0])
    with pytest.raises(ImageError, match=r"images/02.png: expected 3 channels as in .*00.png; received 1"):
        load_data(str(path), spatial_dims=2)


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


def test_run_length_labels(tmp_path, save_folder, save_yaml, pictures, masks):
    images, labels = pictures(4), masks(4)
    save_folder(tmp_path, images, labels)
    rows = [f"{number:02}.png,{encode_rle(label, relative=True)}" for number, label in enumerate(labels)]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows, "other.png,1 1"]))
    path = save_yaml(tmp_path / "set.yaml", path=".", labels="train.csv", rle={"relative": True})
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names) == ("binary", ["foreground"])
    for case in data.train:
        expected = labels[int(case.name)] > 0
        np.testing.assert_array_equal(case.read_label(Window((0, 0), (40, 40)))[..., 0], expected)
    again = labelled_cases(json.loads(json.dumps(data.as_mapping())))
    assert [case.name for case in again] == [case.name for case in data.validation]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows[1:]]))
    with pytest.raises(MissingFile, match=r"00.png: expected a counterpart .* in .*train.csv"):
        load_data(path, spatial_dims=2)
    save_yaml(path, path=".", labels="train.csv", rle={"relativ": True})
    with pytest.raises(OptionError, match=r"rle: expected relative \(of"):
        load_data(path, spatial_dims=2)


def test_run_length_labels_of_several_classes(tmp_path, save_folder, save_yaml, pictures, masks):
    save_folder(tmp_path, pictures(3), masks(3))
    rows = [f"{number:02}.jpg_{kind},{start} 5" for number in range(3) for kind, start in [("Fish", 1), ("Sugar", 3)]]
    (tmp_path / "train.csv").write_text("\n".join(["Image_Label,EncodedPixels", *rows]))
    path = save_yaml(tmp_path / "set.yaml", path=".", labels="train.csv", classes=["Sugar", "Fish"])
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names, data.num_classes) == ("multilabel", ["Sugar", "Fish"], 2)
    label = data.train[0].read_label(Window((0, 0), (10, 1)))[:, 0]
    assert label.tolist() == [[0, 1], [0, 1], [1, 1], [1, 1], [1, 1], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]


def test_polygon_labels(tmp_path, save_folder, save_yaml, pictures, masks):
    save_folder(tmp_path, pictures(3), masks(3))
    (tmp_path / "outlines").mkdir()
    for number in range(3):
        ring = [[1, 2], [9, 2], [9, 6], [1, 6], [1, 2]]
        feature = {
            "type": "Feature",
            "properties": {"kind": "cell"},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        (tmp_path / "outlines" / f"{number:02}.geojson").write_text(json.dumps([feature]))
    data = load_data(save_yaml(tmp_path / "set.yaml", path=".", labels="outlines"), spatial_dims=2)
    assert (data.task, data.class_names) == ("binary", ["foreground"])
    label = data.train[0].read_label(Window((0, 0), (40, 40)))[..., 0]
    assert (label.sum(), label[2:6, 1:9].sum()) == (32, 32)
    keys = {"path": ".", "labels": "outlines", "class_property": "kind"}
    with pytest.raises(OptionError, match="classes: expected the values of kind in a list; received none"):
        load_data(save_yaml(tmp_path / "set.yaml", **keys), spatial_dims=2)
    several = load_data(save_yaml(tmp_path / "set.yaml", classes=["wall", "cell"], **keys), spatial_dims=2)
    assert (several.task, several.class_names) == ("multilabel", ["wall", "cell"])
    assert several.train[0].read_label(Window((0, 0), (40, 40))).sum(axis=(0, 1)).tolist() == [0, 32]


def test_one_file_per_class(tmp_path, save_folder, save_yaml, pictures, masks):
    lungs, hearts = masks(3), masks(3, (0, 1))[::-1]
    save_folder(tmp_path, pictures(3), lungs, "lungs")
    (tmp_path / "hearts").mkdir()
    for number, heart in enumerate(hearts):
        cv2.imwrite(str(tmp_path / "hearts" / f"{number:02}.png"), heart)
    path = save_yaml(tmp_path / "set.yaml", path=".", labels={"lung": "lungs", "heart": "hearts"})
    data = load_data(path, spatial_dims=2)
    assert (data.task, data.class_names) == ("multilabel", ["lung", "heart"])
    case = data.train[0]
    expected = np.stack([lungs[int(case.name)], hearts[int(case.name)]], axis=-1) > 0
    np.testing.assert_array_equal(case.read_label(Window((0, 0), (40, 40))), expected)
    save_yaml(path, path=".", labels={"lung": "lungs", "heart": "harts"})
    with pytest.raises(MissingFile, match=r"expected harts in it, as `labels` says; received no harts"):
        load_data(path, spatial_dims=2)


def test_folders_of_other_names(shared_data):
    classes = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    spec = DataSpec(path=str(shared_data / "camvid"), images="train", labels="trainannot", classes=classes, ignore=[11])
    data = load_data(spec, spatial_dims=2)
    assert (data.task, data.num_classes, data.ignore_index) == ("multiclass", 11, 255)
    values = np.unique(data.train[0].read_label(Window((0, 0), data.train[0].image.shape)))
    assert set(values) <= {*range(11), 255}


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
    with pytest.raises(OptionError, match="instances: expected a binary task"):
        replace(loaded.spec, task="multiclass")


def test_nuclei_by_their_numbers_are_their_masks(tmp_path, shared_data):
    (tmp_path / "ids.yaml").write_text(f"path: {shared_data / 'nuclei'}\nlabels: instances\ninstances: true\n")
    (tmp_path / "masks.yaml").write_text(f"path: {shared_data / 'nuclei'}\nlabels: masks\n")
    numbered, masks = (load_data(tmp_path / f"{name}.yaml", spatial_dims=2) for name in ("ids", "masks"))
    assert [case.name for case in numbered.train] == [case.name for case in masks.train]
    for case, mask in list(zip(numbered.train, masks.train, strict=True))[:8]:
        np.testing.assert_array_equal(case.read_label(whole(case)), mask.read_label(whole(mask)))
        assert case.read_instances(whole(case)).max() >= 1


def test_damaged_object_numbers_are_refused(tmp_path, save_blocks):
    save_blocks(tmp_path, 3)
    tifffile.imwrite(tmp_path / "masks" / "im1.tif", np.full((40, 30), -3, np.int16))
    (tmp_path / "masks" / "im1.png").unlink()
    (tmp_path / "set.yaml").write_text("path: .\ninstances: true\n")
    with pytest.raises(LabelError, match=r"im1.tif: expected object numbers from 0 to 65535; received -3"):
        load_data(tmp_path / "set.yaml", spatial_dims=2)


def test_the_names_of_images(tmp_path, save_folder, pictures, masks):
    save_folder(tmp_path, pictures(3), masks(3))
    assert image_names(str(tmp_path)) == image_names(DataSpec(path=str(tmp_path)), spatial_dims=2) == ["00", "01", "02"]


def test_labels_of_volumes_are_volumes(tmp_path):
    (tmp_path / "images").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 7, 8), np.float32), np.eye(4)), tmp_path / "images" / "a.nii.gz")
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na,1 1\n")
    with pytest.raises(LabelError, match=r"train.csv: expected labels of volumes as volumes; received .csv"):
        load_data(DataSpec(path=str(tmp_path), labels="train.csv"), spatial_dims=3)


def test_labels_follow_the_level_that_images_are_read_at(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 2, (64, 64)).astype(np.uint8)
        with tifffile.TiffWriter(tmp_path / "images" / f"{number}.tif") as file:
            file.write(values * 200, subifds=1, tile=(32, 32), resolution=(1e4, 1e4), resolutionunit="CENTIMETER")
            file.write(values[::2, ::2] * 200, subfiletype=1, tile=(32, 32))
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), values)
    case = load_data(DataSpec(path=str(tmp_path), resolution=2.0), spatial_dims=2).train[0]
    assert case.image.shape == (32, 32)
    full = cv2.imread(str(tmp_path / "masks" / f"{case.name}.png"), cv2.IMREAD_UNCHANGED)
    # The label at the middle of a pixel of twice the size is that of the pixel behind it.
    np.testing.assert_array_equal(case.read_label(whole(case))[..., 0], full[1::2, 1::2])


def test_folders_with_images_that_are_left_out_are_named(tmp_path, save_folder, pictures, masks, caplog):
    path = save_folder(tmp_path, pictures(3), masks(3))
    for part in ("images", "masks"):
        (path / part / "more").mkdir()
        cv2.imwrite(str(path / part / "more" / "9.png"), pictures(1)[0])
    (path / "images" / "notes").mkdir()
    for name in ("a.HEIC", "b.heic", "notes.txt"):
        (path / "images" / name).write_bytes(b"x")
    load_data(str(path), spatial_dims=2)
    assert f"left out: 2 files of type .heic in {path / 'images'}" in caplog.text
    caplog.clear()
    assert inspect_data(str(path)).report["suspicious"]["left out"][1].startswith("2 files of type .heic")
    (path / "images" / "a.HEIC").unlink()
    (path / "images" / "b.heic").unlink()
    load_data(str(path), spatial_dims=2)
    left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [line.split("/")[-2:] for line in left_out] == [["images", "more"], ["masks", "more"]]


def described(path, bands, names):
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    path.parent.mkdir(exist_ok=True)
    with open_raster(path, "w", driver="GTiff", dtype=bands.dtype, **size) as file:
        file.write(bands)
        file.descriptions = names


def test_bands_in_another_order_are_read_in_that_of_most_by_a_run_too(tmp_path, masks):
    names = ("B2", "B3", "B4", "B8")
    rng = np.random.default_rng(0)
    bands = [rng.integers(0, 4000, (4, 40, 40)).astype(np.uint16) for _ in range(4)]
    for number, image in enumerate(bands):
        order = [3, 2, 1, 0] if number == 0 else [0, 1, 2, 3]
        described(tmp_path / "images" / f"{number}.tif", image[order], [names[band] for band in order])
        (tmp_path / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), masks(4)[number])
    data = load_data(str(tmp_path), spatial_dims=2)
    for case in data.train + data.validation:
        np.testing.assert_array_equal(case.image.read(whole(case)), np.moveaxis(bands[int(case.name)], 0, -1))
    described(tmp_path / "other" / "x.tif", bands[2][[1, 0, 3, 2]], [names[band] for band in (1, 0, 3, 2)])
    source = open_as_trained(tmp_path / "other" / "x.tif", data.as_mapping()["spec"], 2)
    np.testing.assert_array_equal(source.read(Window((0, 0), (40, 40))), np.moveaxis(bands[2], 0, -1))
