"""Options of prediction refuse what is out of range, and name the argument."""

import pytest

from maskzoo.errors import MissingPackage, OptionError
from maskzoo.inference import options


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (
            options.TileOptions,
            {"overlap": 0},
            r"overlap: expected a fraction of a tile above 0, up to 0\.5; received 0",
        ),
        (options.TileOptions, {"overlap": 0.51}, "overlap: expected"),
        (options.TileOptions, {"overlap": float("nan")}, "overlap: expected"),
        (options.TileOptions, {"seam_tolerance": 1}, "seam_tolerance: expected a number from 0 to below 1"),
        (options.TileOptions, {"blend": "cosinus"}, "blend: expected cosine"),
        (options.TileOptions, {"tile": 0}, "tile: expected at least 1; received 0"),
        (options.PredictOptions, {"reduction": "mean"}, "reduction: expected one of probabilities, logits, votes"),
        (options.PredictOptions, {"temperature": float("nan")}, "temperature: expected a number above 0"),
        (options.PredictOptions, {"threshold": [0.5, 1]}, "threshold: expected numbers between 0 and 1; received 1"),
        (options.PredictOptions, {"min_area": -1}, "min_area: expected at least 0 pixels"),
        (options.PredictOptions, {"fill_holes": -1}, "fill_holes: expected at least 0 pixels"),
        (options.PredictOptions, {"watershed": 0.5}, "watershed: expected a distance of at least 1 pixel"),
        (options.PredictOptions, {"crf": -1}, "crf: expected a weight of at least 0"),
        (options.EngineOptions, {"engine": "onnxx"}, "engine: expected onnx .*; received 'onnxx'"),
        (options.EngineOptions, {"precision": "half"}, "precision: expected one of float32, bfloat16, int8"),
        (options.OutputOptions, {"probabilities": "uint16"}, "probabilities: expected uint8"),
    ],
)
def test_what_is_out_of_range_is_refused(kind, values, message):
    with pytest.raises(OptionError, match=rf"^{message}"):
        kind(**values)


@pytest.mark.parametrize("where", ["locale", "local:0", "local:", "host:8786", "http://host:8786", "runs/first"])
def test_what_is_no_cluster_is_refused(where):
    with pytest.raises(OptionError, match=r"^cluster: expected local, local:N for N workers, or the address"):
        options.check_cluster(where)


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r'received an installation without it: pip install "maskzoo\[cluster\]"'):
        options.check_cluster("local:2")


def test_a_single_run_is_averaged_only_where_that_changes_something():
    assert not options.PredictOptions(threshold=0.3, min_area=9).averages
    for values in ({"tta": "flips"}, {"temperature": 2.0}, {"reduction": "votes"}, {"weights": [1.0]}):
        assert options.PredictOptions(**values).averages
