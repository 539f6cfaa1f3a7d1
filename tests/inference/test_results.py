"""What is written of logits: labels, probabilities, rows of runs; and which outputs cannot hold it."""

import io

import numpy as np
import pytest

from maskzoo import data, inference
from maskzoo.errors import OptionError
from maskzoo.inference import results
from maskzoo.inference.results import Result, without_classes


@pytest.mark.parametrize("probabilities", [None, "uint8", "float32"])
@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_the_values_of_one_pixel_everywhere_are_those_of_every_pixel(task, probabilities):
    logits = np.float32([0.3] if task == "binary" else [0.3, -0.2, 1.4])
    result = Result(task, ("a", "b", "c")[: len(logits)], (0.5,) * len(logits), probabilities)
    everywhere = np.broadcast_to(logits, (4, 5, len(logits)))
    expected = result.values(everywhere.copy())
    np.testing.assert_array_equal(result.values(everywhere), expected, strict=True)
    assert expected.shape == (4, 5, result.bands)


def test_values_by_hand():
    logits = np.array([[np.log(3), np.log(1 / 3)]], np.float32)  # probabilities of 3/4 and 1/4
    labels = Result("multilabel", ("a", "b"), (0.7, 0.24)).values(logits)
    assert (labels.dtype, labels.tolist()) == (np.uint8, [[1, 1]])
    assert Result("multilabel", ("a", "b"), (0.76, 0.26)).values(logits).tolist() == [[0, 0]]
    assert Result("multilabel", ("a", "b"), (0.5, 0.5), "uint8").values(logits).tolist() == [[191, 64]]
    # A softmax of the two is 9/10 and 1/10.
    scores = Result("multiclass", ("a", "b"), (0.5, 0.5), "float32").values(logits)
    np.testing.assert_allclose(scores, [[0.9, 0.1]], rtol=1e-6)


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_background_shows_none_of_the_classes(task):
    result = Result(task, ("a",) if task == "binary" else ("a", "b"), (0.001, 0.001)[: 1 if task == "binary" else 2])
    assert not result.values(result.background()[None]).any()


def test_classes_are_left_out_of_a_map_of_a_band_and_of_all_bands():
    labels = np.array([[0, 1, 2]], np.uint8)
    np.testing.assert_array_equal(without_classes(labels, [2], "multiclass"), [[0, 1, 0]])
    bands = np.ones((1, 2, 3), np.uint8)
    np.testing.assert_array_equal(without_classes(bands, [0, 2], "multilabel"), bands * [0, 1, 0])
    assert not without_classes(bands[..., 0], [0], "multilabel", band=0).any()
    assert without_classes(bands[..., 1], [0], "multilabel", band=1).all()
    assert without_classes(labels, [], "multiclass") is labels


def test_rows_of_runs_quote_what_a_table_would_cut():
    """Down the columns, the first pixel 1: a mask of 2 x 3 whose second column is full."""
    mask = np.array([[0, 1, 0], [0, 1, 0]], np.uint8)
    source = data.open_source(mask, spatial_dims=2)
    source.name = "slide.tif"
    file, result = io.StringIO(), Result("multilabel", ("lung", 'heart, "big"'), (0.5, 0.5))
    results.write_runs(file, result, lambda window, band: mask[window.slices] * (band == 0), source)
    header, first, second = file.getvalue().splitlines()
    assert header == "ImageId,ClassId,EncodedPixels"
    assert first == "slide,lung,3 2"
    assert second.startswith('slide,"heart, ""big""",')


@pytest.mark.parametrize(
    ("name", "spatial_dims", "options", "message"),
    [
        ("mask.jpg", 2, {}, "output: expected a file name that ends in .*; received mask.jpg"),
        ("runs.csv", 2, {"probabilities": "uint8"}, "probabilities: expected an output of pixels, such as .tif"),
        ("areas.geojson", 3, {}, "output: expected an image with 2 axes for .geojson; received a run for 3"),
        ("mask.png", 2, {"cog": True}, "cog: expected an output that ends in .tif; received mask.png"),
    ],
)
def test_an_output_that_cannot_hold_it_is_refused(tmp_path, name, spatial_dims, options, message):
    with pytest.raises(OptionError, match=message):
        inference.check_output(name, spatial_dims, inference.OutputOptions(**options))
