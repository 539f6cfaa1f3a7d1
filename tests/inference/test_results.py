"""What is written of logits: labels, probabilities; and which outputs cannot hold it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine

from maskzoo import data, inference
from maskzoo.errors import ImageError, OptionError
from maskzoo.inference.results import Result, check_place, enlarged, without_classes
from maskzoo.inference.run_files import RunData


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


def described(spatial_dims=2, task="multilabel", names=("a", "b")):
    """What `check_output` asks of a run."""
    return RunData(task, names, channels=1, spatial_dims=spatial_dims, patch=(32,) * spatial_dims, normalization={})


@pytest.mark.parametrize(
    ("name", "spatial_dims", "options", "message"),
    [
        ("mask.jpg", 2, {}, "output: expected a file name that ends in .*; received mask.jpg"),
        ("runs.csv", 2, {"probabilities": "uint8"}, "probabilities: expected an output of pixels, such as .tif"),
        ("areas.geojson", 3, {}, "output: expected an image with 2 axes for .geojson; received a run for 3"),
        ("mask.png", 2, {"cog": True}, "cog: expected an output that ends in .tif; received mask.png"),
        (
            "mask.png",
            2,
            {"probabilities": "float32"},
            "output: expected up to 4 .* received 2 of float32",
        ),
        ("mask.png", 3, {}, "output: expected an image with 2 axes for .png; received a run for 3"),
        ("mask.tif", 3, {}, "output: expected an image with 2 axes for .tif; received a run for 3"),
        ("mask.csv", 2, {"full_size": True}, "full_size: expected an output of pixels; .csv always is"),
        ("m.tif", 2, {"full_size": True, "probabilities": "uint8"}, "full_size: expected class ids; received"),
        ("mask.tif", 2, {"rle_dialect": "clouds"}, "rle_dialect: expected an output that ends in .csv"),
        ("mask.csv", 2, {"rle_dialect": "kidney"}, "rle_dialect: expected a run of one class, .*; received a, b"),
    ],
)
def test_an_output_that_cannot_hold_it_is_refused(tmp_path, name, spatial_dims, options, message):
    with pytest.raises(OptionError, match=message):
        inference.check_output(name, described(spatial_dims), inference.OutputOptions(**options))


def test_more_classes_than_a_png_has_bands_are_refused_and_a_class_map_is_not():
    with pytest.raises(OptionError, match="received 5 of uint8"):
        inference.check_output("mask.png", described(names=tuple("abcde")))
    inference.check_output("mask.png", described(task="multiclass", names=tuple("abcde")))
    inference.check_output("runs.csv", described(task="multiclass"), inference.OutputOptions(rle_dialect="kidney"))


def test_values_are_repeated_for_the_pixels_that_they_stand_for():
    values = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    read = enlarged(lambda window, band: values[window.slices] + 10 * band, (2, 3), (4, 6))
    whole = read(data.Window((0, 0), (4, 6)), 1)
    np.testing.assert_array_equal(whole, np.kron(values, np.ones((2, 2), int)) + 10)
    np.testing.assert_array_equal(read(data.Window((1, 3), (2, 3)), 1), whole[1:3, 3:])


RATIONAL = RPC(0, 1, [1.0] * 20, [1.0] * 20, 0, 1, 0, 1, [1.0] * 20, [1.0] * 20, 0, 1, 0, 1)


@pytest.mark.parametrize(("place", "received"), [
    ({"rpcs": RATIONAL}, r"rational polynomials \(RPC\)"),
    ({"control_points": (GroundControlPoint(0, 0, 1, 1),)}, "control points, which no affine transform meets"),
])  # fmt: skip
def test_outlines_need_a_transform(place, received):
    source = data.open_source(np.zeros((4, 5), np.uint8), spatial_dims=2)
    source.frame = replace(source.frame, **place)
    with pytest.raises(ImageError, match=f"an image with a transform, for outlines, .*; received {received}"):
        check_place(source, Path("a.geojson"))
    check_place(source, Path("a.tif"))
    source.frame = replace(source.frame, transform=Affine(1, 0, 0, 0, -1, 0))
    check_place(source, Path("a.geojson"))
