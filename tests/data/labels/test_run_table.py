"""Run-length tables: with and without header and classes, one row per object or per image."""

import csv

import cv2
import numpy as np
import pytest

from maskzoo.data import Window, decode_rle, encode_rle, window_grid
from maskzoo.data.labels.run_lengths import Dialect
from maskzoo.data.labels.run_table import RunTable
from maskzoo.errors import LabelError

# 2 rows, 3 columns:   0 1 1
#                      1 0 1
MASK = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)


def test_real_rows_equal_their_expected_areas_boxes_and_instances(shared_data):
    folder = shared_data / "rle" / "dsb2018_absolute"
    with open(folder / "stage1_solution_dev.csv") as file, open(folder / "expected.csv") as wanted:
        rows = list(zip(csv.DictReader(file), csv.DictReader(wanted), strict=True))
    united = {}
    for row, expected in rows:
        mask = decode_rle(row["EncodedPixels"], (int(row["Height"]), int(row["Width"])))
        assert row["ImageId"] == expected["id"]
        assert mask.sum() == int(expected["area"])
        inside_rows, inside_columns = np.nonzero(mask)
        box = [inside_rows.min(), inside_rows.max(), inside_columns.min(), inside_columns.max()]
        assert box == [int(expected[name]) for name in ("row_min", "row_max", "col_min", "col_max")]
        assert decode_rle(encode_rle(mask), mask.shape).tobytes() == mask.tobytes()
        united[row["ImageId"]] = united.get(row["ImageId"], 0) | mask
    table = RunTable(folder / "stage1_solution_dev.csv")
    assert len(rows) == 1597
    assert set(table.images) == set(united)
    for image, mask in united.items():
        instances = cv2.imread(str(folder / "instances" / f"{image}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask > 0, instances > 0)
        source = table.open(image, mask.shape)
        for window in window_grid(mask.shape, 100):
            np.testing.assert_array_equal(source.read(window)[..., 0], mask[window.slices])


def read(table, image, shape):
    return table.open(image, shape).read(Window((0, 0), shape))


def test_one_row_per_object_or_image_with_header_mark_and_blanks(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("\ufeffImageId, EncodedPixels\n1.2.276.0, -1\na.png, 2 2\na.png, 5 2\nb,\n", encoding="utf-8")
    table = RunTable(path)
    assert table.images == ["1.2.276.0", "a", "b"]
    assert table.class_names == []
    np.testing.assert_array_equal(read(table, "a.png", (2, 3))[..., 0], MASK)
    assert not read(table, "b", (2, 3)).any()
    assert not read(table, "1.2.276.0", (2, 3)).any()


def test_no_header(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("a,1 2 1 2\nb,-1\n")
    table = RunTable(path, dialect=Dialect(relative=True))
    np.testing.assert_array_equal(read(table, "a", (2, 3))[..., 0], MASK)
    assert table.images == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Image_Label,EncodedPixels\na.jpg_Fish,2 2\na.jpg_Sugar,\na.jpg_Flower,5 2\n", {}),
        ("ImageId,ClassId,EncodedPixels\na.jpg,Fish,2 2\na.jpg,Sugar,-1\na.jpg,Flower,5 2\n", {}),
        ("id,class,segmentation\na,Fish,2 2\na,Flower,5 2\na,Sugar,\n", {}),
        ("id,rle\na_Fish,2 2\na_Flower,5 2\n", {"classes": ["Fish", "Flower", "Sugar"]}),
    ],
)
def test_classes(tmp_path, text, options):
    path = tmp_path / "train.csv"
    path.write_text(text)
    table = RunTable(path, **options)
    assert table.class_names == ["Fish", "Flower", "Sugar"]
    mask = read(table, "a", (2, 3))
    np.testing.assert_array_equal(mask[..., 0], decode_rle("2 2", (2, 3)))
    np.testing.assert_array_equal(mask[..., 1], decode_rle("5 2", (2, 3)))
    assert not mask[..., 2].any()


def test_wrong_tables_are_refused(tmp_path):
    path = tmp_path / "train.csv"
    for text, message in [
        ("", "received an empty file"),
        ("a,b\nc,d\n", "expected a header with columns such as ImageId and EncodedPixels"),
        ("id,rle\na,1 2\nb\n", "expected 2 columns in every row"),
    ]:
        path.write_text(text)
        with pytest.raises(LabelError, match=message):
            RunTable(path)
    path.write_text("Image_Label,EncodedPixels\na.jpg_Fish,2 2\n")
    with pytest.raises(LabelError, match=r"class: expected Fisch \(of Fisch\); received Fish"):
        RunTable(path, classes=["Fisch"])
    path.write_text("id,rle\na,1 99\n")
    with pytest.raises(LabelError, match=r"train.csv \(a\): expected runs inside a mask of 2 x 3"):
        RunTable(path).open("a", (2, 3))
    with pytest.raises(LabelError, match="expected a class in every row"):
        RunTable(path, classes=["a", "b"])
    assert RunTable(path, classes=["kidney"]).open("a", (20, 20)).channels == 1
    path.write_bytes(b"id,rle\n\xff\xfe\n")
    with pytest.raises(LabelError, match="expected a CSV file"):
        RunTable(path)


def test_relative_runs_that_are_read_as_absolute_are_noticed(tmp_path):
    """Starts that fall, or runs that overlap, are gaps."""
    path = tmp_path / "train.csv"
    for runs in ("20 3 7 2", "5 9 8 9"):
        path.write_text(f"ImageId,EncodedPixels\na,{runs}\n")
        with pytest.raises(
            LabelError, match=r"train.csv \(a\): .* as they are with `rle: \{relative: true\}`; received"
        ):
            RunTable(path).open("a", (10, 10))
        assert RunTable(path, dialect=Dialect(relative=True)).open("a", (10, 10)).read(Window((0, 0), (10, 10))).any()


def test_absolute_runs_that_are_read_as_relative_are_noticed(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ImageId,EncodedPixels\na,20 3 60 2 95 1\n")
    with pytest.raises(LabelError, match=r"inside a mask of 10 x 10, as they are with `rle: \{relative: false\}`"):
        RunTable(path, dialect=Dialect(relative=True)).open("a", (10, 10))


def test_rows_of_one_image_may_come_in_any_order(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ImageId,EncodedPixels\na,20 3\na,2 4 8 1\na,4 3\n")
    assert RunTable(path).open("a", (10, 10)).read(Window((0, 0), (10, 10))).sum() == 3 + 5 + 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_separates_columns(tmp_path, separator):
    path = tmp_path / "train.csv"
    path.write_text(f"ImageId{separator}EncodedPixels\na{separator}2 2 5 2\n")
    np.testing.assert_array_equal(read(RunTable(path), "a", (2, 3))[..., 0], MASK)


def test_runs_that_count_from_0_are_noticed(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ImageId,EncodedPixels\na,0 3 20 2\n")
    with pytest.raises(LabelError, match=r"inside a mask of 10 x 10, as they are with `rle: \{one_based: false\}`"):
        RunTable(path).open("a", (10, 10))


def test_lists_that_were_written_as_text(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('id,rle\na,"[2, 2, 5, 2]"\nb,"2,2,5,2"\nc,[]\n')
    table = RunTable(path)
    for name in "ab":
        np.testing.assert_array_equal(read(table, name, (2, 3))[..., 0], MASK)
    assert not read(table, "c", (2, 3)).any()


def test_rows_without_class_and_runs_are_images_without_objects(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ImageId,ClassId,EncodedPixels\na,Fish,2 2\nb,,\n")
    table = RunTable(path)
    assert (table.class_names, table.images) == (["Fish"], ["a", "b"])
    assert not read(table, "b", (2, 3)).any()
    path.write_text("ImageId,ClassId,EncodedPixels\na,Fish,2 2\nb,,1 2\n")
    with pytest.raises(LabelError, match="expected a class in every row"):
        RunTable(path)


def test_runs_of_another_size_than_that_of_the_image_are_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("id,rle,height,width\na,2 2 5 2,3,2\nb,2 2,2,3\n")
    with pytest.raises(LabelError, match=r"\(a\): expected runs of an image of its size, 2 x 3; received 3 x 2 as"):
        RunTable(path).open("a", (2, 3))
    assert RunTable(path).open("b", (2, 3)).read(Window((0, 0), (2, 3))).sum() == 2
