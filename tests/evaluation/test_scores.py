"""The file of scores."""

import json

import pytest

from maskzoo import evaluation
from maskzoo.errors import MissingFile, RunError
from maskzoo.evaluation.scores import ImageScores, Scores


@pytest.fixture
def scores():
    image = ImageScores("a", [0.5], [1 / 3], [0.5], [0.5], {"surface": {"hausdorff95": [float("inf")]}})
    mean = {f"mean_{name}": [0.25] for name in ("dice", "iou", "precision", "recall")}
    overlap = {"dice": [0.5], "iou": [1 / 3], "precision": [0.5], "recall": [0.5]}
    return Scores(
        classes=["cell"],
        **overlap,
        **mean,
        competition_dice=0.25,
        images=[image],
        measures={"objects": {"f1": [1.0], "true_objects": [3]}},
    )


def test_what_is_written_is_read_back(scores, tmp_path):
    scores.write(tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["format"] == 1
    assert content["images"][0]["surface"] == {"hausdorff95": [None]}
    assert content["objects"] == {"f1": [1.0], "true_objects": [3]}
    read = evaluation.read_scores(tmp_path / "scores.json")
    assert read.measures == scores.measures
    assert read.mean_dice == [0.25]
    assert read.images[0].dice == [0.5]
    assert Scores.from_mapping(scores.as_mapping()) == scores


def test_files_of_older_versions_are_read_and_those_of_newer_ones_refused(scores, tmp_path):
    path = tmp_path / "scores.json"
    older = {key: value for key, value in scores.as_mapping().items() if key != "format"}
    assert Scores.from_mapping(older) == scores
    path.write_text(json.dumps({"mean_dice": [0.5], "from_long_ago": 1}))
    assert evaluation.read_scores(path).mean_dice == [0.5]
    path.write_text(json.dumps({"format": 2, "mean_dice": [0.5]}))
    with pytest.raises(RunError, match=r"scores.json: expected format 1 or older; received 2"):
        evaluation.read_scores(path)
    path.unlink()
    with pytest.raises(MissingFile):
        evaluation.read_scores(path)
