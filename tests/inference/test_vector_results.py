"""Outlines and tables of runs: full-resolution pixels or map coordinates, as QuPath, RFC 7946 and competitions want."""

import io
import json

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from maskzoo import data
from maskzoo.data.images.source import Frame
from maskzoo.data.labels.run_table import RunTable
from maskzoo.data.labels.table_dialects import TABLE_DIALECTS
from maskzoo.inference import vector_results

RING = np.zeros((6, 8), np.uint8)
RING[1:5, 2:7] = 1
RING[2:4, 3:5] = 0


def image_of(frame, name="slide.tif"):
    """An image with a frame, and the masks of two classes in it: a ring, and nothing."""
    source = data.open_source(RING, spatial_dims=2)
    source.name, source.frame = name, frame
    return source, [("ring", lambda window: RING[window.slices] != 0), ("none", lambda window: RING[window.slices] > 9)]


def outlines(frame):
    source, masks = image_of(frame)
    file = io.StringIO()
    vector_results.write_outlines(file, masks, source)
    return json.loads(file.getvalue())


def signed_area(ring):
    """The shoelace formula: positive for a ring that runs counter-clockwise."""
    x, y = np.transpose(ring).astype(float)
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2


@pytest.mark.parametrize(
    ("frame", "area_of_a_pixel"),
    [
        (Frame((6, 8)), 1),
        (Frame((24, 16)).scaled((4, 2), (6, 8)), 8),
        (Frame((6, 8), transform=Affine(2, 0, 700000, 0, -3, 3700000), crs=CRS.from_epsg(32616)), 6),
        (Frame((6, 8), transform=Affine(2, 0, 700000, 0, 3, 3700000), crs=CRS.from_epsg(32616)), 6),
    ],
)
def test_rings_run_as_rfc_7946_wants_and_enclose_the_area(frame, area_of_a_pixel):
    (feature,) = outlines(frame)["features"]
    outer, hole = (signed_area(ring) for ring in feature["geometry"]["coordinates"])
    assert (outer, hole) == (20 * area_of_a_pixel, -4 * area_of_a_pixel)
    assert feature["properties"]["pixels"] == 16 * frame.pixel_area


def test_an_annotation_has_what_qupath_asks_for():
    (feature,) = outlines(Frame((6, 8)))["features"]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "ring", "color": [230, 159, 0]}
    assert "crs" not in outlines(Frame((6, 8)))


def test_outlines_of_a_coarser_level_are_in_pixels_of_the_full_resolution():
    (feature,) = outlines(Frame((24, 16)).scaled((4, 2), (6, 8)))["features"]
    outer = np.array(feature["geometry"]["coordinates"][0])
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([4, 4], [14, 20])


def rows_of(frame, dialect=None, several=True, name="slide.tif"):
    source, masks = image_of(frame, name)
    file = io.StringIO()
    vector_results.write_runs(file, masks if several else masks[:1], source, dialect)
    return file.getvalue().splitlines()


def test_rows_of_runs_quote_what_a_table_would_cut():
    """Down the columns, the first pixel 1: a mask of 2 x 3 whose second column is full."""
    mask = np.array([[0, 1, 0], [0, 1, 0]], np.uint8)
    source = data.open_source(mask, spatial_dims=2)
    source.name = "slide.tif"
    file = io.StringIO()
    masks = [(name, lambda window: mask[window.slices]) for name in ("lung", 'heart, "big"')]
    vector_results.write_runs(file, masks, source)
    header, first, second = file.getvalue().splitlines()
    assert header == "ImageId,ClassId,EncodedPixels"
    assert first == "slide,lung,3 2"
    assert second == 'slide,"heart, ""big""",3 2'


def test_runs_of_a_coarser_level_count_pixels_of_the_full_resolution():
    """Column 2 of the level, rows 1 to 4 of 6, is columns 4 and 5 of the image, rows 4 to 19 of 24."""
    runs = rows_of(Frame((24, 16)).scaled((4, 2), (6, 8)))[1].split(",")[-1].split()
    assert runs[:4] == [str(4 * 24 + 4 + 1), "16", str(5 * 24 + 4 + 1), "16"]


def test_the_table_of_clouds_has_a_row_per_class_in_the_order_of_their_names():
    rows = rows_of(Frame((6, 8)), "clouds", name="0011165.jpg")
    assert rows[0] == "Image_Label,EncodedPixels"
    assert rows[1] == "0011165.jpg_none,"
    assert rows[2].startswith("0011165.jpg_ring,14 4 20 1 23 1 ")


def test_the_table_of_pneumothorax_counts_gaps_and_writes_an_empty_mask_as_minus_one():
    header, row = rows_of(Frame((6, 8)), "pneumothorax", several=False)
    assert header == "ImageId,EncodedPixels"
    # The first object begins after 2 columns of 6 and one pixel; column 3 after 2 more.
    assert row.startswith("slide,13 4 2 1 2 1 ")
    source, masks = image_of(Frame((6, 8)))
    file = io.StringIO()
    vector_results.write_runs(file, masks[1:], source, "pneumothorax")
    assert file.getvalue() == "ImageId,EncodedPixels\nslide,-1\n"


@pytest.mark.parametrize(("dialect", "header"), [("organs", "id,rle"), ("kidney", "id,predicted")])
def test_the_tables_of_organs_and_kidneys_are_absolute_and_leave_an_empty_mask_empty(dialect, header):
    assert rows_of(Frame((6, 8)), dialect, several=False)[0] == header
    assert rows_of(Frame((6, 8)), dialect, several=False)[1].startswith("slide,14 4 ")
    source, masks = image_of(Frame((6, 8)))
    file = io.StringIO()
    vector_results.write_runs(file, masks[1:], source, dialect)
    assert file.getvalue().splitlines()[1] == "slide,"


@pytest.mark.parametrize("dialect", TABLE_DIALECTS)
def test_every_table_is_read_back_to_the_same_mask(tmp_path, dialect):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows_of(Frame((6, 8)), dialect, several=TABLE_DIALECTS[dialect].class_in_id)) + "\n")
    table = RunTable(path, dialect=TABLE_DIALECTS[dialect].runs)
    bands = table.open("slide", (6, 8)).read(data.Window((0, 0), (6, 8)))
    number = table.class_names.index("ring") if table.class_names else 0
    np.testing.assert_array_equal(bands[..., number], RING)
    assert bands.sum() == RING.sum()
