"""Logging a run to Weights & Biases or MLflow, which are imported only when they are asked for."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

from .keras_types import Logs
from .recipe import Recipe

PROJECT = "maskzoo"
# MLflow refuses longer values.
LONGEST_VALUE = 500


class Tracker(keras.callbacks.Callback):
    """A callback that sends the log of every epoch elsewhere."""

    def close(self) -> None:
        """Ends the connection, after the last stage or an error."""
        raise NotImplementedError


def open_trackers(names: Sequence[str] | None, run: Path, recipe: Recipe) -> list[Tracker]:
    """Returns the trackers of some names.

    Args:
        names: Any of `wandb` and `mlflow`, or `None`.
        run: The run folder.
        recipe: The recipe.
    """
    kinds = {"wandb": Wandb, "mlflow": Mlflow}
    return [kinds[name](run, recipe) for name in names or ()]


class Wandb(Tracker):
    """Sends the recipe and the log of every epoch to Weights & Biases; a resumed run continues its curves.

    Args:
        run: The run folder, whose name the curves get.
        recipe: The recipe.
    """

    def __init__(self, run: Path, recipe: Recipe) -> None:
        super().__init__()
        wandb: Any = import_module("wandb")  # which is not always installed

        name = run.resolve().name
        self.session = wandb.init(
            project=PROJECT, name=name, id=name, resume="allow", dir=str(run), config=recipe.as_mapping()
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.session.log({name: float(value) for name, value in (logs or {}).items()}, step=epoch + 1)

    def close(self) -> None:
        self.session.finish()


class Mlflow(Tracker):
    """Sends the recipe and the log of every epoch to MLflow, wherever its settings say; a resumed run continues there.

    Args:
        run: The run folder, whose name the curves get.
        recipe: The recipe.
    """

    def __init__(self, run: Path, recipe: Recipe) -> None:
        super().__init__()
        mlflow: Any = import_module("mlflow")  # which is not always installed

        self.mlflow = mlflow
        mlflow.set_experiment(PROJECT)
        known = run / "logs" / "mlflow_run"
        if known.is_file():
            mlflow.start_run(run_id=known.read_text(encoding="utf-8"))
            return
        session = mlflow.start_run(run_name=run.resolve().name)
        known.parent.mkdir(exist_ok=True)
        known.write_text(session.info.run_id, encoding="utf-8")
        mlflow.log_params({name: str(value)[:LONGEST_VALUE] for name, value in recipe.as_mapping().items()})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.mlflow.log_metrics({name: float(value) for name, value in (logs or {}).items()}, step=epoch + 1)

    def close(self) -> None:
        self.mlflow.end_run()
