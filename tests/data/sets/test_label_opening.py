"""Labels of a data set belong to their images by name and place, whatever they are."""

import json

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from affine import Affine
from PIL import Image

from maskzoo.data import DataSpec, Window, encode_rle, labelled_cases, load_data
from maskzoo.data.images.raster_files import open_raster
from maskzoo.errors import LabelError, MissingFile

MASK = np.zeros((20, 30), np.uint8)
MASK[4:9, 6:16] = 1


def images(folder, *names):
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / "images" / name
        pixels = rng.integers(0, 256, MASK.shape).astype(np.uint8)
        tifffile.imwrite(path, pixels) if path.suffix == ".tif" else cv2.imwrite(str(path), pixels)


def labels(folder, **named):
    folder.mkdir(parents=True)
    for name, pixels in named.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)


def loaded(folder, **keys):
    data = load_data(DataSpec(path=str(folder), **keys), spatial_dims=2)
    return data, {case.name: case for case in sorted(data.train + data.validation, key=lambda case: case.name)}


def read(case):
    return case.read_label(Window((0, 0), case.image.shape))


def test_ome_at_the_end_of_a_name_makes_no_difference(tmp_path):
    images(tmp_path, "a0.ome.tif", "a1.png")
    labels(tmp_path / "masks", a0=MASK, **{"a1.ome": MASK})
    _, cases = loaded(tmp_path)
    assert list(cases) == ["a0.ome", "a1"]
    assert all(read(case).sum() == 50 for case in cases.values())


def test_names_of_labels_may_have_an_end_of_their_own(tmp_path):
    images(tmp_path, "a.png", "b.ome.tif")
    labels(tmp_path / "masks", a_mask=MASK, b_mask=MASK * 255, a_overlay=MASK)
    _, cases = loaded(tmp_path, label_suffix="_mask")
    assert list(cases) == ["a", "b.ome"]
    with pytest.raises(MissingFile, match=r"a.png: expected a counterpart of the same name"):
        loaded(tmp_path, label_suffix="_seg")


def test_images_and_labels_in_one_folder(tmp_path):
    images(tmp_path, "a.png", "b.png")
    for name in "ab":
        cv2.imwrite(str(tmp_path / "images" / f"{name}_mask.png"), MASK)
    _, cases = loaded(tmp_path, labels="images", label_suffix="_mask")
    assert {name: int(read(case).sum()) for name, case in cases.items()} == {"a": 50, "b": 50}


def test_a_class_whose_file_is_missing_is_unknown(tmp_path):
    images(tmp_path, "a.png", "b.png", "c.png")
    labels(tmp_path / "liver", a=MASK, b=MASK * 255, c=MASK)
    labels(tmp_path / "tumour", b=MASK)
    places = {"liver": "liver", "tumour": "tumour"}
    with pytest.raises(MissingFile, match=r"a.png: expected a counterpart"):
        loaded(tmp_path, labels=places)
    data, cases = loaded(tmp_path, labels=places, missing="ignore")
    assert (data.task, data.class_names, data.ignore_index) == ("multilabel", ["liver", "tumour"], 255)
    assert [case.unknown for case in cases.values()] == [(1,), (), (1,)]
    assert (read(cases["a"])[..., 1] == 255).all()
    assert read(cases["a"])[..., 0].sum() == read(cases["b"])[..., 1].sum() == 50
    again = labelled_cases(json.loads(json.dumps(data.as_mapping())))
    assert {case.name: case.unknown for case in again} == {case.name: case.unknown for case in data.validation}
    _, cases = loaded(tmp_path, labels=places, missing="empty")
    assert not read(cases["a"])[..., 1].any()
    images(tmp_path / "more", "a.png", "b.png", "d.png")
    labels(tmp_path / "more" / "liver", a=MASK)
    labels(tmp_path / "more" / "tumour", b=MASK)
    with pytest.raises(MissingFile, match=r"d.png: expected a counterpart"):
        loaded(tmp_path / "more", labels=places, missing="ignore")


def test_colours_say_the_class(tmp_path):
    colors = np.zeros((20, 30, 3), np.uint8)
    colors[:5], colors[5:8, 3:] = (0, 0, 255), (0, 255, 255)  # red and yellow: OpenCV has blue first
    colors[19] = 255
    images(tmp_path, "a.png", "b.png")
    labels(tmp_path / "masks", a=colors, b=colors)
    with pytest.raises(LabelError, match=r"a.png: .*`colors`.* in the colours \[0, 0, 0\], \[255, 0, 0\], "):
        loaded(tmp_path)
    keys = {"colors": {"road": [255, 0, 0], "tree": "#ffff00"}, "ignore": [[255, 255, 255]]}
    data, cases = loaded(tmp_path, **keys)
    assert (data.task, data.class_names) == ("multiclass", ["background", "road", "tree"])
    found, counts = np.unique(read(cases["a"]), return_counts=True)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == {0: 339, 1: 150, 2: 81, 255: 30}
    again = labelled_cases(json.loads(json.dumps(data.as_mapping())))
    np.testing.assert_array_equal(read(again[0]), read(cases["a"]))
    ordered, _ = loaded(tmp_path, classes=["tree", "road"], **keys)
    assert ordered.class_names == ["background", "tree", "road"]
    with pytest.raises(LabelError, match=r"a.png: expected the colours of `colors`, .*; received \[255, 255, 255\]"):
        loaded(tmp_path, colors=keys["colors"])


def test_object_numbers_are_read_without_a_word(tmp_path, caplog):
    """As the README promises: `masks/` may hold instance ids."""
    names = [f"{letter}.png" for letter in "abcde"]
    images(tmp_path, *names)
    numbers = {}
    for count, name in enumerate(names, 6):
        label = np.zeros(MASK.shape, np.uint16)
        for number in range(count):
            label[4 * (number // 7) : 4 * (number // 7) + 2, 4 * (number % 7) : 4 * (number % 7) + 3] = number + 1
        numbers[name[0]] = label
    labels(tmp_path / "masks", **numbers)
    data, cases = loaded(tmp_path)
    assert (data.task, data.class_names) == ("binary", ["foreground"])
    assert "values number objects" in caplog.text
    for name, case in cases.items():
        np.testing.assert_array_equal(read(case)[..., 0], numbers[name] > 0)
        np.testing.assert_array_equal(case.read_instances(Window((0, 0), MASK.shape)), numbers[name])
    assert data.spec.instances
    # Another set, of too few objects to tell by itself, is read as the run was trained.
    images(tmp_path / "other", "a.png")
    labels(tmp_path / "other" / "masks", a=np.minimum(numbers["a"], 3))
    (other,) = labelled_cases(json.loads(json.dumps(data.as_mapping())), tmp_path / "other")
    np.testing.assert_array_equal(read(other)[..., 0], numbers["a"] > 0)
    assert loaded(tmp_path, task="multiclass")[0].num_classes == 11


def outline(left, top, right, bottom, **properties):
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def save_outlines(folder, **named):
    folder.mkdir()
    for name, features in named.items():
        (folder / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_an_image_without_outlines_is_an_empty_label(tmp_path):
    images(tmp_path, "a.png", "b.png")
    save_outlines(tmp_path / "labels", a=[outline(3, 4, 9, 8)], b=[])
    _, cases = loaded(tmp_path)
    assert [int(read(case).sum()) for case in cases.values()] == [24, 0]


def test_outlines_that_touch_no_image_are_refused(tmp_path):
    images(tmp_path, "a.png", "b.png")
    save_outlines(tmp_path / "labels", a=[outline(3, 4, 9, 8)], b=[outline(300, 4, 310, 9)])
    with pytest.raises(LabelError, match=r"b.geojson: expected outlines that touch .*b.png, 20 x 30"):
        loaded(tmp_path)
    (tmp_path / "all.geojson").write_text(json.dumps([outline(300, 4, 310, 9)]))
    with pytest.raises(LabelError, match=r"all.geojson: expected outlines that touch .*a.png, 20 x 30"):
        loaded(tmp_path, labels="all.geojson")


def test_objects_without_a_class_are_left_out_and_said(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png")
    tumour = outline(3, 4, 9, 8, classification={"names": ["Tumor"]})
    save_outlines(tmp_path / "labels", a=[tumour, outline(0, 0, 30, 20)], b=[outline(0, 0, 5, 5)])
    _, cases = loaded(tmp_path, class_property="classification", classes=["Tumor"])
    assert [int(read(case).sum()) for case in cases.values()] == [24, 0]
    assert "left out: 2 without a class" in caplog.text


def test_classes_that_are_read_as_one_are_said(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png")
    objects = [outline(3, 4, 9, 8, classification={"name": name}) for name in ("Tumor", "Stroma")]
    save_outlines(tmp_path / "labels", a=objects[:1], b=objects[1:])
    loaded(tmp_path)
    said = "the classes Stroma, Tumor are read as one; `class_property: classification` tells them apart"
    assert said in caplog.text
    caplog.clear()
    loaded(tmp_path, class_property="classification", classes=["Tumor", "Stroma"])
    assert "are read as one" not in caplog.text


def test_missing_pixels_of_labels_do_not_count_in_an_evaluation_either(tmp_path):
    images(tmp_path / "old", "a.png", "b.png")
    labels(tmp_path / "old" / "masks", a=MASK, b=MASK)
    data, _ = loaded(tmp_path / "old")
    images(tmp_path / "new", "c.png")
    path = tmp_path / "new" / "masks" / "c.tif"
    path.parent.mkdir()
    with open_raster(path, "w", driver="GTiff", count=1, height=20, width=30, dtype="uint8") as file:
        file.write(MASK, 1)
        file.write_mask(np.arange(600).reshape(20, 30) >= 30)
    (case,) = labelled_cases(data.as_mapping(), tmp_path / "new")
    assert (read(case)[0] == 255).all()
    assert read(case)[1:].sum() == 50


def save_raster(path, *bands, **profile):
    path.parent.mkdir(exist_ok=True)
    height, width = bands[0].shape
    with open_raster(path, "w", driver="GTiff", count=len(bands), height=height, width=width, **profile) as file:
        file.write(np.stack(bands))


@pytest.mark.parametrize("high", [1, 255])
@pytest.mark.parametrize("options", [{}, {"photometric": "RGB"}, {"photometric": "MINISBLACK"}])
def test_four_bands_that_were_written_as_colours_are_four_classes(tmp_path, high, options):
    """rasterio marks a fourth band of 8 bits as alpha by itself; one file alone does not show that bands differ."""
    images(tmp_path, "a.png", "b.png")
    empty, last = np.zeros_like(MASK), MASK[::-1] * high
    save_raster(tmp_path / "masks" / "a.tif", empty, empty, empty, last, dtype="uint8", **options)
    save_raster(tmp_path / "masks" / "b.tif", MASK * high, empty, empty, last, dtype="uint8", **options)
    data, cases = loaded(tmp_path)
    assert data.class_names == ["1", "2", "3", "4"]
    assert read(cases["a"]).sum(axis=(0, 1)).tolist() == [0, 0, 0, 50]
    assert read(cases["b"]).sum(axis=(0, 1)).tolist() == [50, 0, 0, 50]


def test_nodata_of_a_raster_does_not_count(tmp_path):
    images(tmp_path, "a.png", "b.png")
    label = MASK.astype(np.int16)
    label[12:] = 2
    label[:2] = -1
    for name in "ab":
        save_raster(tmp_path / "masks" / f"{name}.tif", label, dtype="int16", nodata=-1)
    data, cases = loaded(tmp_path)
    assert (data.task, data.num_classes, data.ignore_index) == ("multiclass", 3, 255)
    assert (read(cases["a"])[:2] == 255).all()


def test_names_that_differ_in_the_form_of_their_accents_are_the_same(tmp_path):
    images(tmp_path, "Gr\u00f6\u00dfe.png", "b.png")
    labels(tmp_path / "masks", b=MASK, Größe=MASK)
    assert len(loaded(tmp_path)[1]) == 2


def test_the_end_that_all_labels_have_in_common_is_named(tmp_path):
    images(tmp_path, "a.png", "b.png")
    labels(tmp_path / "masks", **{"a-labels": MASK, "b-labels": MASK})
    with pytest.raises(MissingFile, match=r"or `label_suffix: -labels`, as labels are called; received none"):
        loaded(tmp_path)


def test_folders_among_the_labels_are_named(tmp_path):
    images(tmp_path, "a.png", "b.png")
    labels(tmp_path / "masks" / "cat", a=MASK, b=MASK)
    labels(tmp_path / "masks" / "dog", a=MASK, b=MASK)
    with pytest.raises(MissingFile, match=r"such as \{cat: masks/cat\}; received folders alone, cat, dog"):
        loaded(tmp_path)


def test_labels_in_a_file_of_another_kind_are_refused(tmp_path):
    images(tmp_path, "a.png", "b.png")
    labels(tmp_path / "other", a=MASK)
    with pytest.raises(LabelError, match=r"a.png: expected a folder of labels, or a file of type .csv .geojson .json"):
        loaded(tmp_path, labels="other/a.png")


def test_images_without_a_row_may_be_empty(tmp_path):
    images(tmp_path, "a.png", "b.png")
    (tmp_path / "t.CSV").write_text(f"id,rle\na,{encode_rle(MASK)}\n")
    with pytest.raises(MissingFile, match=r"b.png: .* or `missing: empty` where images without a row show nothing"):
        loaded(tmp_path, labels="t.CSV")
    _, cases = loaded(tmp_path, labels="t.CSV", missing="empty")
    assert [read(case).sum() for case in cases.values()] == [50, 0]


def test_runs_in_another_order_are_refused_unless_the_order_is_declared(tmp_path):
    images(tmp_path, "a.png", "b.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[2:18, 3:27] = 1
    runs = encode_rle(mask, column_major=False)
    (tmp_path / "t.csv").write_text(f"id,rle\na,{runs}\nb,{runs}\n")
    with pytest.raises(LabelError, match="column_major: false"):
        loaded(tmp_path, labels="t.csv")
    for declared in (True, False):
        _, cases = loaded(tmp_path, labels="t.csv", rle={"column_major": declared})
        assert np.array_equal(read(cases["a"])[..., 0], mask) == (not declared)


@pytest.mark.parametrize("affine", [None, np.eye(4)])
@pytest.mark.parametrize("step", [1, 2])
def test_a_label_as_nifti_lies_where_its_map_lies(tmp_path, affine, step):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    place = {"crs": "EPSG:32616", "transform": Affine(0.5, 0, 700000, 0, -0.5, 3700000)}
    path = tmp_path / "images/a.tif"
    with open_raster(path, "w", driver="GTiff", height=20, width=30, count=1, dtype="uint8", **place) as file:
        file.write(MASK, 1)
    with open_raster(path, "r+") as file:
        file.build_overviews([2])
    nibabel.save(nibabel.Nifti1Image(MASK[::step, ::step, None], affine), tmp_path / "masks/a.nii")
    _, cases = loaded(tmp_path, validation=0)
    labels = read(cases["a"])[..., 0]
    assert labels.shape == MASK.shape
    assert labels[5:8, 8:14].all()
    assert labels[:2].sum() == labels[12:].sum() == 0


def test_a_coarser_label_of_a_volume_lies_where_the_volume_lies(tmp_path):
    mask = np.zeros((12, 10, 6), np.uint8)
    mask[2:8, 4:8] = 1
    affine = np.array([[0.5, 0, 0, -3], [0, 0.5, 0, 8], [0, 0, 2, 5], [0, 0, 0, 1]])
    coarser = affine @ np.array([[-2, 0, 0, 10.5], [0, 2, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]])
    for folder in ("images", "masks", "elsewhere"):
        (tmp_path / folder).mkdir()
    nibabel.save(nibabel.Nifti1Image(mask * 100, affine), tmp_path / "images/a.nii")
    nibabel.save(nibabel.Nifti1Image(mask[::-2, ::2], coarser), tmp_path / "masks/a.nii")
    spec = DataSpec(str(tmp_path), orientation="stored", validation=0)
    (case,) = load_data(spec, spatial_dims=3).train
    np.testing.assert_array_equal(case.read_label(Window((0, 0, 0), mask.shape))[..., 0], mask)
    coarser[:3, 3] += 2
    nibabel.save(nibabel.Nifti1Image(mask[::-2, ::2], coarser), tmp_path / "elsewhere/a.nii")
    with pytest.raises(LabelError, match="expected a label of the size of"):
        load_data(DataSpec(str(tmp_path), labels="elsewhere", orientation="stored", validation=0), spatial_dims=3)


def save_palette_set(folder, *colors):
    """Images with masks whose indices 1 and 2 have these colours; returns the indices."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(len(folder.name))
    labels = np.repeat(np.arange(6, dtype=np.uint8) % 3, 20).reshape(12, 10)
    for number in range(4):
        cv2.imwrite(str(folder / "images" / f"a{number}.png"), rng.integers(0, 255, (12, 10), np.uint8))
        picture = Image.fromarray(labels)
        picture.putpalette([0, 0, 0, *(part for color in colors for part in color)])
        picture.save(folder / "masks" / f"a{number}.png")
    return labels


def test_a_run_reads_palettes_of_other_sets_by_the_colours_that_it_was_trained_on(tmp_path):
    red, green = (255, 0, 0), (0, 255, 0)
    labels = save_palette_set(tmp_path / "one", red, green)
    save_palette_set(tmp_path / "other", green, red)
    trained = load_data(tmp_path / "one", spatial_dims=2).as_mapping()
    trained = json.loads(json.dumps(trained))
    window = Window((0, 0), labels.shape)
    turned = np.array([0, 2, 1])[labels]
    for case in labelled_cases(trained, tmp_path / "other"):
        np.testing.assert_array_equal(case.read_label(window), turned)
    for case in labelled_cases(trained):
        np.testing.assert_array_equal(case.read_label(window), labels)
    del trained["labels"]["palette"]  # a run of an earlier version
    for case in labelled_cases(trained, tmp_path / "other"):
        np.testing.assert_array_equal(case.read_label(window), labels)
    (tmp_path / "both.yaml").write_text("sets: {one: 1, other: 1}\n")
    joined = load_data(tmp_path / "both.yaml", spatial_dims=2)
    for case in [*joined.train, *joined.validation]:
        expected = turned if case.name.startswith("other") else labels
        np.testing.assert_array_equal(case.read_label(window), expected)
