"""What is written while a model trains: the history table, two checkpoints, curves and sample pictures."""

import csv
import io
import os
import time

import keras
import numpy as np

from maskzoo import data, metrics

from .run_folder import BEST, LAST, write_text

HISTORY = "history.csv"


class RunRecorder(keras.callbacks.Callback):
    """Writes `history.csv`, then `best.keras` where the monitored metric rose, then `last.keras`, after every epoch.

    The table is written before the checkpoint, and a resumed run cuts it to the epochs of the checkpoint: whenever the
    process is killed, the two agree again.

    Args:
        run: The run folder.
        monitor: Name of the metric that the best checkpoint maximises.
        epochs_done: Epochs of an earlier start, whose rows are kept.
    """

    def __init__(self, run, monitor, epochs_done=0):
        super().__init__()
        self.run, self.monitor = run, monitor
        self.rows = read_history(run)[:epochs_done]
        self.best = max((float(row[monitor]) for row in self.rows), default=-np.inf)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self.started, 2)
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values, "seconds": seconds})
        write_history(self.run, self.rows)
        if values[self.monitor] > self.best:
            self.best = values[self.monitor]
            save_model(self.model, self.run / BEST)
        save_model(self.model, self.run / LAST)
        if not np.isfinite(values["loss"]):
            raise ValueError(
                f"training: expected a finite loss; received {values['loss']} in epoch {epoch + 1}: "
                "try a smaller --learning-rate, or --mixed-precision bfloat16 in place of float16"
            )


def save_model(model, path):
    """Saves a model under a temporary name, then renames it."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        model.save(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_history(run):
    """The rows of a run's history table; none where there is no table."""
    path = run / HISTORY
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_history(run, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(run / HISTORY, text.getvalue())


class Pictures(keras.callbacks.Callback):
    """Draws `curves.png` after every epoch, and `samples.png` every few epochs and at the end.

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

    def on_epoch_end(self, epoch, logs=None):
        draw_curves(self.run)
        if (epoch + 1) % self.every == 0:
            self.draw_samples(f"after epoch {epoch + 1}")

    def on_train_end(self, logs=None):
        self.draw_samples("at the end of training")

    def draw_samples(self, when):
        images, labels = self.samples
        # One image at a time: under several replicas a batch smaller than their number cannot be predicted.
        logits = np.concatenate([np.asarray(self.model(image[None], training=False)) for image in images])
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
