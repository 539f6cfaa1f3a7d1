"""Run-length labels: every dialect with its oddities, whole, by windows and as a stream."""

import csv

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskzoo.data import Window, decode_rle, encode_rle, encode_windows, window_grid
from maskzoo.data.labels.run_lengths import RunSource, RunTable, flat_runs, parse_runs

masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))
dialects = st.fixed_dictionaries(
    {"relative": st.booleans(), "one_based": st.sampled_from([None, True, False]), "column_major": st.booleans()}
)

# 2 rows, 3 columns:   0 1 1
#                      1 0 1
MASK = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("2 2 5 2", {}),
        ("1 2 4 2", {"one_based": False}),
        ("2 3 6 1", {"column_major": False}),
        ("1 3 5 1", {"column_major": False, "one_based": False}),
        ("1 2 1 2", {"relative": True}),
        ("1 3 1 1", {"relative": True, "column_major": False}),
        ("2 2 1 2", {"relative": True, "one_based": True}),
    ],
)
def test_dialects_worked_out_by_hand(text, options):
    assert encode_rle(MASK, **options) == text
    np.testing.assert_array_equal(decode_rle(text, MASK.shape, **options), MASK)
    np.testing.assert_array_equal(decode_rle([int(n) for n in text.split()], MASK.shape, **options), MASK)


@given(masks, dialects)
def test_decoding_undoes_encoding(mask, options):
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, **options), mask.shape, **options), mask)


@pytest.mark.parametrize("empty", ["", "-1", " -1", "  ", None, float("nan"), [], [-1], "nan"])
@pytest.mark.parametrize("relative", [False, True])
def test_what_stands_for_an_empty_mask(empty, relative):
    assert not decode_rle(empty, (3, 4), relative=relative).any()


def test_an_empty_mask_is_encoded_as_its_dialect_does():
    assert encode_rle(np.zeros((2, 2))) == ""
    assert encode_rle(np.zeros((2, 2)), relative=True) == "-1"


def test_blanks_order_and_touching_runs_do_not_matter():
    expected = decode_rle("1 4", (2, 3))
    np.testing.assert_array_equal(decode_rle("  3   2 1 2 ", (2, 3)), expected)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("1 2 3", "runs: expected pairs of numbers; received 3"),
        ("1 x", "runs: expected pairs of whole numbers; received 1 x"),
        ("1.5 2", "expected pairs of whole numbers"),
        ("0 2", "expected runs inside a mask of 2 x 3; received one from -1"),
        ("6 2", "received one from 5 to 7"),
        ("3 -1", "expected runs inside"),
    ],
)
def test_wrong_runs_are_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(runs, (2, 3))


@given(masks, dialects, st.integers(1, 40))
def test_a_stream_is_the_same_text(mask, options, pixels):
    def read(window):
        return mask[window.slices][..., None]

    assert "".join(encode_windows(read, mask.shape, pixels=pixels, **options)) == encode_rle(mask, **options)


@given(masks, st.booleans(), st.integers(1, 7), st.integers(1, 7))
def test_windows_of_runs_equal_the_whole(mask, column_major, height, width):
    runs = parse_runs(encode_rle(mask, column_major=column_major), mask.shape)
    source = RunSource("mask", mask.shape, [runs], column_major)
    for window in window_grid(mask.shape, (height, width)):
        np.testing.assert_array_equal(source.read(window)[..., 0], mask[window.slices])
    padded = np.pad(mask, 9, mode="reflect" if min(mask.shape) > 1 else "edge")
    if min(mask.shape) > 1:
        np.testing.assert_array_equal(source.read(Window((-9, -9), padded.shape))[..., 0], padded)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8), st.booleans())
def test_overlapping_runs_of_several_objects_are_united(pairs, column_major):
    runs = np.array([sorted(pair) for pair in pairs], np.int64).reshape(-1, 2)
    expected = np.zeros(60, np.uint8)
    for start, stop in runs:
        expected[start:stop] = 1
    expected = expected.reshape((6, 10), order="F" if column_major else "C")
    source = RunSource("mask", (6, 10), [runs], column_major)
    for window in window_grid((6, 10), (4, 3)):
        np.testing.assert_array_equal(source.read(window)[..., 0], expected[window.slices])


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
    table = RunTable(path, relative=True)
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
        with pytest.raises(ValueError, match=message):
            RunTable(path)
    path.write_text("Image_Label,EncodedPixels\na.jpg_Fish,2 2\n")
    with pytest.raises(ValueError, match=r"class: expected Fisch \(of Fisch\); received Fish"):
        RunTable(path, classes=["Fisch"])
    path.write_text("id,rle\na,1 99\n")
    with pytest.raises(ValueError, match=r"train.csv \(a\): expected runs inside a mask of 2 x 3"):
        RunTable(path).open("a", (2, 3))
    with pytest.raises(ValueError, match="expected a class in every row"):
        RunTable(path, classes=["a", "b"])
    assert RunTable(path, classes=["kidney"]).open("a", (20, 20)).channels == 1
    path.write_bytes(b"id,rle\n\xff\xfe\n")
    with pytest.raises(ValueError, match="expected a CSV file"):
        RunTable(path)


def test_fifty_thousand_objects_on_ten_gigapixels():
    """One window costs what it shows: the mask itself would take 10 GB."""
    side = 100_000
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, side - 20, (2, 50_000))
    lines = columns[:, None] + np.arange(20)
    starts = (lines * side + rows[:, None]).ravel()
    source = RunSource("objects", (side, side), [np.stack([starts, starts + 20], axis=1)])
    window = Window((rows[0] - 100, columns[0] - 50), (512, 512))
    expected = np.zeros(window.size, np.uint8)
    for row, column in zip(rows - window.offset[0], columns - window.offset[1], strict=True):
        if -20 < row < 512 and -20 < column < 512:
            expected[max(row, 0) : max(row + 20, 0), max(column, 0) : max(column + 20, 0)] = 1
    np.testing.assert_array_equal(source.read(window)[..., 0], expected)
    assert expected.any()
    assert flat_runs(np.array([True, False, True])).tolist() == [[0, 1], [2, 3]]
