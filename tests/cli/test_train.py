"""`maskzoo train`: what it takes from the environment."""

import shutil

import pytest
from run_verb import run_and_capture


def test_hosts_are_taken_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}')
    code, out, err = run_and_capture(capsys, "train")
    assert (code, out) == (2, "")
    assert err == "error: --run: expected a folder that all hosts can reach; received none\n"


@pytest.mark.parametrize(("balance", "message"), [
    ("{foreground: 3}", "error: --balance: expected a fraction between 0 and 1 for foreground; received 3.0\n"),
    ("{tumour: 0.3}", "error: --balance: expected one of foreground; received tumour\n"),
])  # fmt: skip
def test_a_balance_that_cannot_be_is_refused_before_a_model_is_built(
    squares, tmp_path, capsys, monkeypatch, balance, message
):
    from maskzoo.training import fit

    monkeypatch.setattr(fit, "new_network", lambda *_: pytest.fail("built"))
    options = ["--data", squares, "--run", tmp_path / "run", "--balance", balance]
    code, _, err = run_and_capture(capsys, "train", "--model", "unet_padded", *options)
    assert (code, err) == (2, message)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_keeps_its_scores_where_it_is_not_resumed(trained_run, squares, tmp_path, capsys):
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained_run, run)
    shutil.copytree(squares, other)
    for kind in ("images", "masks"):
        (other / kind / "1.tif").unlink()
    code, _, err = run_and_capture(capsys, "train", "--run", run, "--resume", "--data", other, "--epochs", 3)
    assert code == 2
    assert "expected the images that it was begun with, to be resumed" in err
    assert (run / "scores.json").read_bytes() == (trained_run / "scores.json").read_bytes()
    assert (run / "recipe.yaml").read_bytes() == (trained_run / "recipe.yaml").read_bytes()
