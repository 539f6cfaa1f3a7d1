"""A model of large structures, and of tiny ones around them: trained, evaluated, predicted, resumed."""

import json

import pytest

from maskzoo import cli, data, training


def fine_recipe(**options):
    small = {"trunk": "unet_padded", "trunk_options": {"filters": [4, 8]}}
    return {"model": "fine_grained_unet", "option": small, "task": "multilabel", "roi_classes": ["lesion"]} | options


@pytest.mark.slow
def test_a_fine_training_ends_in_a_run_that_is_evaluated_and_predicted(tmp_path, capsys):
    spec = data.write_synthetic("organs", tmp_path / "set", count=4, size=64)
    # What takes other paths through the step: micro-batches, hard windows.
    keys = fine_recipe(
        patch=48, steps=2, batch_size=4, accumulate=2, epochs=2, hard_example_fraction=0.5, region="mask"
    )
    (tmp_path / "fine.yaml").write_text(json.dumps(keys))
    run = tmp_path / "run"
    cli.main("train", ["--recipe", str(tmp_path / "fine.yaml"), "--data", str(spec), "--run", str(run)])
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
