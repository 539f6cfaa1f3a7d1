"""The images that a run held out are those that it was not trained on, whatever lies at their paths now."""

import json
import shutil

from maskzoo.evaluation.held_out import predict_held_out
from maskzoo.inference import load_run
from maskzoo.inference.options import TileOptions


def test_a_held_out_file_that_is_now_an_image_that_was_trained_on_is_said(trained_run, squares, tmp_path, caplog):
    folder, run = tmp_path / "squares", tmp_path / "run"
    shutil.copytree(squares, folder)
    shutil.copytree(trained_run, run)
    described = json.loads((run / "data.json").read_text())
    described["spec"]["path"] = str(folder)
    (run / "data.json").write_text(json.dumps(described))
    (held_out,), trained = described["validation"], described["train"][0]
    (tmp_path / "before").mkdir()
    assert len(predict_held_out(load_run(run), tmp_path / "before", "none", TileOptions())) == 1
    assert "was trained on" not in caplog.text
    for kind in ("images", "masks"):
        shutil.copy(squares / kind / f"{trained}.tif", folder / kind / f"{held_out}.tif")
    (tmp_path / "after").mkdir()
    predict_held_out(load_run(run), tmp_path / "after", "none", TileOptions())
    assert f"run was trained on 1 of 1 image: 1 image ({held_out})" in caplog.text
