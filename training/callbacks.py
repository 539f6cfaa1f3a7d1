"""What happens around the epochs of a fit: rates, frozen layers, hard windows, history, checkpoints, pictures."""

import csv
import io
import time
from contextlib import contextmanager

import keras
import numpy as np

from .. import data, metrics
from . import optimisation, strategy
from .checkpoints import average_models, save_model, training_state
from .run_folder import BEST, HISTORY, LAST, read_history, write_text

AVERAGED = "averaged.keras"
KEPT = "kept"
MONITOR = "val_dice"


class LearningRate(keras.callbacks.Callback):
    """Sets the learning rate before every step, by `optimisation.learning_rate`, and writes it to the log.

    Args:
        recipe: The recipe of the stage.
        first: Number of the stage's first epoch.
        steps: Steps per epoch.
        scores: Function that returns the validation scores of the stage's epochs so far.
    """

    def __init__(self, recipe, first, steps, scores):
        super().__init__()
        self.recipe, self.first, self.steps, self.scores = recipe, first, steps, scores

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch - self.first
        self.drops = optimisation.drops(self.scores(), self.recipe.plateau_patience)

    def on_train_batch_begin(self, batch, logs=None):
        step, total = self.epoch * self.steps + batch, self.recipe.epochs * self.steps
        self.rate = optimisation.learning_rate(self.recipe, step, total, self.drops)
        self.model.optimizer.learning_rate = self.rate

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self.rate


class FrozenLayers(keras.callbacks.Callback):
    """Leaves some layers as they are for the first epochs of a stage; batch norms among them keep their statistics.

    When the layers join, the optimizer forgets its moments: Adam's would make their first steps three times too long.
    Outside the epochs all are trainable, so that checkpoints say so.

    Args:
        frozen: The layers.
        first: Number of the stage's first epoch.
        epochs: Epochs in which they are frozen.
    """

    def __init__(self, frozen, first, epochs):
        super().__init__()
        self.frozen, self.first, self.epochs = frozen, first, epochs

    def on_epoch_begin(self, epoch, logs=None):
        done = epoch - self.first
        self.set_trainable(done >= self.epochs)
        if done == self.epochs:
            optimisation.inner(self.model.optimizer).restart()
        self.model.make_train_function(force=done in (0, self.epochs))

    def on_epoch_end(self, epoch, logs=None):
        self.set_trainable(True)

    def set_trainable(self, trainable):
        for layer in self.frozen:
            layer.trainable = trainable


class HardWindows(keras.callbacks.Callback):
    """Before each epoch but the very first, gives every window of the grid its loss as the weight to be drawn with.

    The losses follow from the weights alone, so a resumed run draws what an uninterrupted one would.

    Args:
        training: The `data.WindowDataset` that is trained on.
        grid: One of the same windows without `shuffle`.
    """

    def __init__(self, training, grid):
        super().__init__()
        self.training, self.grid = training, grid

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            losses = self.model.predict(self.grid, verbose=0)[: len(self.training.grid_windows)]
            self.training.set_hardness(np.maximum(losses, 1e-6))


class AveragedWeights(keras.callbacks.Callback):
    """Validates with the exponential averages of the weights in their place."""

    def on_test_begin(self, logs=None):
        exchange(self.model)

    def on_test_end(self, logs=None):
        exchange(self.model)


def exchange(trainer):
    """Exchanges a model's weights with their averages; a second time puts both back."""
    optimizer = optimisation.inner(trainer.optimizer)
    for average, variable in zip(optimizer.averages, optimizer._trainable_variables, strict=True):
        value = keras.ops.convert_to_numpy(variable)
        variable.assign(keras.ops.convert_to_numpy(average))
        average.assign(value)


@contextmanager
def averaged(trainer):
    """The averages of the weights in their place, where there are any."""
    if not optimisation.inner(trainer.optimizer).averages:
        yield
        return
    exchange(trainer)
    try:
        yield
    finally:
        exchange(trainer)


class RunRecorder(keras.callbacks.Callback):
    """Writes `history.csv`, then `best.keras` where the validation Dice rose, then `last.keras`, after every epoch.

    The table is written before the checkpoint, and a resumed run cuts it to the epochs of the checkpoint: whenever the
    process is killed, the two agree again. What stopped a stage early is read off the table too.

    Args:
        run: The run folder.
        recipe: The recipe of the stage.
        stage: Its number, from 1.
        rows: Rows of the epochs done so far.
    """

    def __init__(self, run, recipe, stage, rows):
        super().__init__()
        self.run, self.recipe, self.stage, self.rows = run, recipe, stage, rows
        self.best = max((float(row[MONITOR]) for row in rows), default=-np.inf)

    def scores(self):
        """The validation scores of the stage's epochs so far."""
        return stage_scores(self.rows, self.stage)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self.started, 2)
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, "stage": self.stage, **values, "seconds": seconds})
        write_history(self.run, self.rows)
        if values[MONITOR] > self.best:
            self.best = values[MONITOR]
            with averaged(self.model):
                save_model(self.model.network, self.run / BEST)
        if self.recipe.average_best:
            self.keep(epoch + 1)
        save_model(self.model.network, self.run / LAST, training_state(self.model, epoch + 1, self.stage))
        if not np.isfinite(values["loss"]):
            raise ValueError(
                f"training: expected a finite loss; received {values['loss']} in epoch {epoch + 1}: "
                "try a smaller --learning-rate, or --mixed-precision bfloat16 in place of float16"
            )
        recipe = self.recipe
        if optimisation.is_over(self.scores(), recipe.epochs, recipe.patience, recipe.min_epochs):
            self.model.stop_training = True

    def keep(self, epoch):
        """Keeps the model of an epoch that is among the best, and drops those that are no longer."""
        best = best_epochs(self.rows, self.recipe.average_best)
        folder = self.run / KEPT
        folder.mkdir(exist_ok=True)
        if epoch in best:
            with averaged(self.model):
                save_model(self.model.network, kept_model(self.run, epoch))
        for path in folder.glob("epoch*.keras"):
            if path not in [kept_model(self.run, number) for number in best]:
                path.unlink()


def stage_scores(rows, stage):
    """The validation scores of a stage, epoch by epoch."""
    return [float(row[MONITOR]) for row in rows if int(row["stage"]) == stage]


def best_epochs(rows, number):
    """The numbers of the epochs with the best validation scores, the earlier of two equal ones."""
    order = sorted(rows, key=lambda row: (-float(row[MONITOR]), int(row["epoch"])))
    return [int(row["epoch"]) for row in order[:number]]


def kept_model(run, epoch):
    return run / KEPT / f"epoch{epoch:04}.keras"


def write_average(run, rows, number):
    """Writes `averaged.keras`, the mean of the kept models, and returns it."""
    network = average_models([kept_model(run, epoch) for epoch in best_epochs(rows, number)])
    save_model(network, run / AVERAGED)
    return network


def write_history(run, rows):
    # Stages may log different values, such as the weights of their losses.
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(run / HISTORY, text.getvalue())


class Throughput(keras.callbacks.Callback):
    """Writes to the log how many windows a second were trained on, and for which share of the time they were awaited.

    It comes behind what writes the history: these numbers differ from start to start.

    Args:
        training: A `TimedWindows`.
        batch_size: Windows per batch.
    """

    def __init__(self, training, batch_size):
        super().__init__()
        self.training, self.batch_size = training, batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.training.waited = 0.0
        self.started, self.batches = None, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.batches, self.ended = batch + 1, time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = max(self.ended - self.started, 1e-9)
        logs["windows_per_second"] = self.batches * self.batch_size / seconds
        logs["input_wait"] = min(1.0, self.training.waited / seconds)


class TimedWindows(data.WindowDataset):
    """Windows that add up for how many seconds they were waited for."""

    waited = 0.0

    def __getitem__(self, index):
        started = time.perf_counter()
        try:
            return super().__getitem__(index)
        finally:
            self.waited += time.perf_counter() - started


class Pictures(keras.callbacks.Callback):
    """Draws `curves.png` after every epoch, and `samples.png` every few epochs and at the end, also for TensorBoard.

    Args:
        run: The run folder.
        samples: A validation batch `(images, labels)` to show predictions of.
        dataset: The `data.DataSet` that they come from: its task and class names.
        crop: Pixels that the model's output lacks at the start of each axis, so that image and output align.
        every: Epochs between two sample pictures.
    """

    def __init__(self, run, samples, dataset, crop, every=5):
        super().__init__()
        self.run, self.samples, self.dataset, self.crop, self.every = run, samples, dataset, crop, every
        self.epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epoch = epoch + 1
        draw_curves(self.run)
        if self.epoch % self.every == 0:
            self.draw_samples(f"after epoch {self.epoch}")

    def on_train_end(self, logs=None):
        self.draw_samples("at the end of training")

    def draw_samples(self, when):
        images, labels = self.samples
        # One image at a time: under several replicas a batch smaller than their number cannot be predicted.
        with averaged(self.model):
            outputs = [self.model.masks(image[None]) for image in images]
        logits = np.concatenate([np.asarray(output) for output in outputs])
        names, task = self.dataset.class_names, self.dataset.task
        rows = []
        for index, (image, label, logit) in enumerate(zip(images, labels, logits, strict=True)):
            shown = image[tuple(slice(c, c + n) for c, n in zip(self.crop, logit.shape[:-1], strict=True))]
            maps = {
                "truth": foreground_maps(label, task, len(names)),
                "prediction": foreground_maps(metrics.predicted_labels(logit, task), task, len(names)),
            }
            rows.append((f"validation window {index + 1}", shown, maps))
        shown_names = names[1:] if task == "multiclass" else names
        data.save_overlays(self.run / "samples.png", rows, shown_names, title=when)
        strategy.log_picture(self.run / "logs" / "pictures", "samples", self.run / "samples.png", self.epoch)


def foreground_maps(labels, task, num_classes):
    """Label maps `(*spatial, classes)` in {0, 1} of a class map, without its class 0, or of sigmoid labels."""
    labels = np.asarray(labels)
    if task == "multiclass":
        return np.stack([labels == index for index in range(1, num_classes)], axis=-1)
    return labels == 1


def draw_curves(run):
    """Draws `curves.png`: loss and metrics by epoch, training and validation."""
    from matplotlib.figure import Figure

    rows = read_history(run)
    epochs = [int(row["epoch"]) for row in rows]
    names = [name for name in rows[0] if f"val_{name}" in rows[0]]
    figure = Figure(figsize=(4 * len(names), 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axis.plot(epochs, [float(row[name]) for row in rows], label="training", marker=".")
        axis.plot(epochs, [float(row[f"val_{name}"]) for row in rows], label="validation", marker=".")
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    data.save_figure(figure, run / "curves.png")
