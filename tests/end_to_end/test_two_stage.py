"""A model of large structures and of small ones in the region around them: trained, evaluated, predicted, resumed."""

import json

import pytest

from maskzoo import cli, data, training

TWO_STAGES = {
    "model": "fine_grained_unet",
    "option": {"trunk": "unet_padded", "trunk_options": {"filters": [4, 8]}},
    "task": "multilabel",
    "roi_classes": ["lesion"],
    "region": "mask",
}


@pytest.mark.slow
def test_a_training_of_two_stages_ends_in_a_run_that_is_evaluated_and_predicted(tmp_path, capsys):
    spec = data.write_synthetic("organs", tmp_path / "set", count=4, size=64)
    # With what takes other paths through the step: micro-batches, hard examples.
    small = {"patch": 48, "steps": 2, "batch_size": 4, "accumulate": 2, "epochs": 2, "hard_example_fraction": 0.5}
    (tmp_path / "two_stage.yaml").write_text(json.dumps(TWO_STAGES | small))
    run = tmp_path / "run"
    cli.main("train", ["--recipe", str(tmp_path / "two_stage.yaml"), "--data", str(spec), "--run", str(run)])
    assert json.loads((run / "data.json").read_text())["fine"] == {"large": [0], "fine": [1], "region": "mask"}
    assert (run / "samples.png").is_file()
    capsys.readouterr()
    cli.main("evaluate", [str(run), "--json"])
    assert json.loads(capsys.readouterr().out)["classes"] == ["organ", "lesion"]
    image = next((tmp_path / "set" / "images").iterdir())
    cli.main("predict", [str(run), str(image), str(tmp_path / "mask.tif"), "--resize", "48"])
    with data.open_source(tmp_path / "mask.tif") as mask:
        assert mask.shape == (64, 64)
        assert mask.channels == 2
    cli.main("train", ["--run", str(run), "--resume", "--epochs", "3"])
    assert len(training.read_history(run)) == 3
