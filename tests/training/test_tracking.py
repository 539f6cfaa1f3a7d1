"""What Weights & Biases and MLflow are sent: stand-ins write it down."""

import sys
import types

from maskzoo import training
from maskzoo.training import read_history, tracking


def test_wandb_gets_the_log_of_every_epoch(train_tiny, tmp_path, monkeypatch):
    calls = []
    session = types.SimpleNamespace(
        log=lambda log, step: calls.append((step, log)), finish=lambda: calls.append("done")
    )
    wandb = types.SimpleNamespace(init=lambda **options: calls.append(options) or session, __spec__=object())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    train_tiny(tmp_path / "run", epochs=1, steps=1, track=["wandb"])
    start, (step, log), end = calls
    assert (start["name"], start["config"]["epochs"], step, end) == ("run", 1, 1, "done")
    assert log["val_dice"] == float(read_history(tmp_path / "run")[0]["val_dice"])
    assert log["windows_per_second"] > 0
    assert 0 <= log["input_wait"] <= 1


def test_a_resumed_run_continues_its_curves_in_mlflow(tmp_path, monkeypatch):
    calls = []
    started = types.SimpleNamespace(info=types.SimpleNamespace(run_id="a1"))
    names = ("set_experiment", "log_params", "log_metrics", "end_run")
    mlflow = types.SimpleNamespace(
        start_run=lambda **options: calls.append(options) or started, **{name: lambda *_, **__: None for name in names}
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for _ in range(2):
        (callback,) = tracking.open_trackers(["mlflow"], tmp_path, training.Recipe())
        callback.on_epoch_end(0, {"loss": 1.0})
        callback.close()
    assert calls == [{"run_name": tmp_path.name}, {"run_id": "a1"}]
