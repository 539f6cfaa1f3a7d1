"""Following a run with Weights & Biases or MLflow, which are imported only when asked for."""

import keras

PROJECT = "maskzoo"


def open_trackers(names, run, recipe):
    """The callbacks that send the numbers of every epoch to trackers."""
    return [{"wandb": Wandb, "mlflow": Mlflow}[name](run, recipe) for name in names or ()]


class Wandb(keras.callbacks.Callback):
    """Sends the recipe and the log of every epoch to Weights & Biases; a resumed run goes on with its curves.

    Args:
        run: The run folder, whose name the curves get.
        recipe: The `Recipe`.
    """

    def __init__(self, run, recipe):
        super().__init__()
        import wandb

        name = run.resolve().name
        self.session = wandb.init(
            project=PROJECT, name=name, id=name, resume="allow", dir=str(run), config=recipe.as_mapping()
        )

    def on_epoch_end(self, epoch, logs=None):
        self.session.log({name: float(value) for name, value in logs.items()}, step=epoch + 1)

    def close(self):
        self.session.finish()


class Mlflow(keras.callbacks.Callback):
    """Sends the recipe and the log of every epoch to MLflow, wherever its settings say; a resumed run goes on there.

    Args:
        run: The run folder, whose name the curves get.
        recipe: The `Recipe`.
    """

    def __init__(self, run, recipe):
        super().__init__()
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment(PROJECT)
        known = run / "logs" / "mlflow_run"
        if known.is_file():
            mlflow.start_run(run_id=known.read_text(encoding="utf-8"))
            return
        session = mlflow.start_run(run_name=run.resolve().name)
        known.parent.mkdir(exist_ok=True)
        known.write_text(session.info.run_id, encoding="utf-8")
        # MLflow refuses longer values.
        mlflow.log_params({name: str(value)[:500] for name, value in recipe.as_mapping().items()})

    def on_epoch_end(self, epoch, logs=None):
        self.mlflow.log_metrics({name: float(value) for name, value in logs.items()}, step=epoch + 1)

    def close(self):
        self.mlflow.end_run()
