"""Counts worked out by hand, every kind of suspicious pair listed."""

import json

import cv2
import numpy as np
import pytest

from maskzoo import data
from maskzoo.errors import LabelError


@pytest.fixture
def folder(tmp_path):
    """Eight good pairs of 20 x 30 pixels, 60 of which are foreground."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        write(tmp_path, f"good{number}", rng.integers(0, 256, (20, 30, 3), np.uint8), mask())
    return tmp_path


def mask(shape=(20, 30), rows=2, value=255):
    array = np.zeros(shape, np.uint8)
    array[:rows] = value
    return array


def write(folder, name, image, label):
    assert cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
    if label is not None:
        assert cv2.imwrite(str(folder / "masks" / f"{name}.png"), label)


def test_counts_of_a_good_folder(folder):
    report = data.inspect_data(folder).report
    assert report["files"] == report["pairs"] == 8
    assert report["sizes"] == {"20 x 30": 8}
    assert (report["channels"], report["dtypes"]) == ({3: 8}, {"uint8": 8})
    assert report["classes"] == [{"name": "foreground", "share": pytest.approx(0.1), "images": 8}]
    assert report["label_values"][1] == {"value": 255, "share": pytest.approx(0.1), "files": 8}
    assert report["suspicious"] == {}


def test_every_kind_of_suspicious_pair_is_listed(folder):
    rng = np.random.default_rng(1)

    def noise(height=20, width=30):
        return rng.integers(0, 256, (height, width, 3), np.uint8)

    for number in range(12):
        write(folder, f"more{number:02}", noise(), mask())
    write(folder, "empty", noise(), mask(rows=0))
    write(folder, "full", noise(), mask(rows=20))
    write(folder, "swapped", noise(), mask((30, 20)))
    write(folder, "smaller", noise(), mask((10, 30)))
    write(folder, "odd", noise(), mask(value=7))
    write(folder, "alone", noise(), None)
    write(folder, "blank", np.full((20, 30, 3), 9, np.uint8), mask())
    write(folder, "grey", noise()[..., 0], mask())
    write(folder, "twin", cv2.imread(str(folder / "images" / "good3.png")), mask())
    write(folder, "broken", noise(), mask())
    whole = (folder / "images" / "broken.png").read_bytes()
    (folder / "images" / "broken.png").write_bytes(whole[: len(whole) // 2])
    suspicious = data.inspect_data(folder).report["suspicious"]
    expected = {
        "without counterpart": ["alone"],
        "unreadable": ["broken"],
        "blank images": ["blank"],
        "sizes that differ": ["smaller", "swapped"],
        "undeclared values": ["odd"],
        "duplicate images": ["good3 = twin"],
        "channels that differ": ["grey.png: 1 channel, most images have 3"],
        "empty labels": ["empty"],
        "full labels": ["full"],
    }
    assert suspicious.keys() == expected.keys()
    for kind, names in expected.items():
        assert len(suspicious[kind]) == len(names), kind
        assert all(name in line for name, line in zip(names, suspicious[kind], strict=True))
    assert "rows and columns swapped" in suspicious["sizes that differ"][1]


def test_run_lengths_by_class(folder):
    rows = [f"good{n}.png_{kind},{runs}" for n in range(8) for kind, runs in (("a", "1 60"), ("b", "" if n else "1 6"))]
    (folder / "runs.csv").write_text("\n".join(["Image_Label,EncodedPixels", *rows]))
    (folder / "set.yaml").write_text("path: .\nlabels: runs.csv\n")
    report = data.inspect_data(folder / "set.yaml").report
    assert report["task"] == "multilabel"
    assert [(row["name"], row["images"]) for row in report["classes"]] == [("a", 8), ("b", 1)]
    assert [row["share"] for row in report["classes"]] == pytest.approx([0.1, 6 / 600 / 8])
    assert report["suspicious"] == {}


def test_classes_in_files_of_their_own_are_counted_separately_where_they_overlap(folder):
    (folder / "set.yaml").write_text("path: .\nlabels: {a: masks, b: masks}\n")
    report = data.inspect_data(folder / "set.yaml").report
    assert [(row["name"], row["images"]) for row in report["classes"]] == [("a", 8), ("b", 8)]
    assert [row["share"] for row in report["classes"]] == pytest.approx([0.1, 0.1])


def test_samples_are_spread_over_the_set(folder):
    found = data.inspect_data(folder)
    rows, names = found.samples(3)
    assert names == ["foreground"]
    assert [name for name, _, _ in rows] == ["good0", "good4", "good7"]
    for _, image, maps in rows:
        assert image.shape == (20, 30, 3)
        assert maps["label"].sum() == 60


def test_samples_need_labels_that_can_be_shown(folder):
    for path in (folder / "masks").iterdir():
        path.write_bytes(b"damaged")
    found = data.inspect_data(folder)
    assert len(found.report["suspicious"]["unreadable"]) == 8
    with pytest.raises(LabelError, match="expected labels that can be shown; received none"):
        found.samples()


def test_real_volumes(shared_data):
    found = data.inspect_data(shared_data / "hippocampus")
    assert found.report["rank"] == 3
    assert [row["value"] for row in found.report["label_values"]] == [0, 1, 2]
    rows, names = found.samples(2)
    assert (len(rows), names) == (2, ["1", "2"])


def test_what_was_recognised_is_said(folder):
    for number in range(3):
        cv2.imwrite(str(folder / "masks" / f"good{number}.png"), mask(value=1))
    report = data.inspect_data(folder).report
    assert report["remarks"] == ["some files have 0 and 1, others 0 and 255: both are background and class"]
    assert report["classes"] == [{"name": "foreground", "share": pytest.approx(0.1), "images": 8}]
    assert report["suspicious"] == {}


def test_numbers_of_objects_are_one_class(folder):
    numbers = np.zeros((20, 30), np.uint16)
    for number in range(12):
        numbers[5 * (number // 6) : 5 * (number // 6) + 2, 5 * (number % 6) : 5 * (number % 6) + 3] = 100 + number
    for number in range(8):
        cv2.imwrite(str(folder / "masks" / f"good{number}.png"), numbers)
    report = data.inspect_data(folder).report
    assert "values number objects" in report["remarks"][0]
    assert (report["task"], report["classes"][0]["share"]) == ("binary", pytest.approx(72 / 600))


def test_classes_that_never_occur_are_listed(folder):
    (folder / "set.yaml").write_text("path: .\nclasses: {background: 0, kidney: 255, tumour: 2}\n")
    report = data.inspect_data(folder / "set.yaml").report
    assert report["suspicious"]["classes that never occur"] == ["tumour"]


def test_outlines_that_touch_no_image_are_listed(folder):
    ring = [[90, 2], [95, 2], [95, 9], [90, 2]]
    (folder / "all.geojson").write_text(json.dumps([{"type": "Polygon", "coordinates": [ring]}]))
    (folder / "set.yaml").write_text("path: .\nlabels: all.geojson\n")
    report = data.inspect_data(folder / "set.yaml").report
    assert "received outlines from row 2, column 90" in report["suspicious"]["labels that lie elsewhere"][0]


def test_classes_whose_file_is_missing_count_where_they_are_known(folder):
    (folder / "other").mkdir()
    cv2.imwrite(str(folder / "other" / "good0.png"), mask(rows=5))
    (folder / "set.yaml").write_text("path: .\nlabels: {a: masks, b: other}\nmissing: ignore\n")
    report = data.inspect_data(folder / "set.yaml").report
    assert [row["share"] for row in report["classes"]] == pytest.approx([0.1, 0.25])
    assert [row["value"] for row in report["label_values"]] == [0, 255]
    assert report["ignore"] == []
    assert report["suspicious"] == {}
