"""Pictures of a run while it trains: curves of loss and metrics, and predictions of some validation windows."""

from pathlib import Path

import numpy as np

from .. import data, metrics
from . import strategy
from .averaging import averaged
from .history import read_history
from .keras_types import Logs
from .step import TrainerCallback

CURVES, SAMPLES = "curves.png", "samples.png"


class Pictures(TrainerCallback):
    """Draws `curves.png` after every epoch, and `samples.png` every few epochs and at the end, also for TensorBoard.

    Args:
        run: The run folder.
        samples: A validation batch: images `(batch, *spatial, channels)` and their labels.
        dataset: The data set that they come from.
        crop: Pixels that the model's output lacks at the start of each axis, so that image and output align.
        every: Number of epochs between two pictures of samples.
    """

    def __init__(
        self,
        run: Path,
        samples: tuple[np.ndarray, np.ndarray],
        dataset: data.DataSet,
        crop: tuple[int, ...],
        every: int = 5,
    ) -> None:
        super().__init__()
        self.run, self.samples, self.dataset, self.crop, self.every = run, samples, dataset, crop, every
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch + 1
        draw_curves(self.run)
        if self.epoch % self.every == 0:
            self.draw_samples(f"after epoch {self.epoch}")

    def on_train_end(self, logs: Logs = None) -> None:
        self.draw_samples("at the end of training")

    def draw_samples(self, title: str) -> None:
        """Draws the samples with their labels and what the model predicts."""
        images, labels = self.samples
        # One image at a time: several replicas cannot predict a batch with fewer images than replicas.
        with averaged(self.trainer):
            outputs = [self.trainer.masks(image[None]) for image in images]
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
        path = self.run / SAMPLES
        data.save_overlays(path, rows, names[1:] if task == "multiclass" else names, title=title)
        strategy.log_picture(self.run / "logs" / "pictures", "samples", path, self.epoch)


def foreground_maps(labels: np.ndarray, task: str, num_classes: int) -> np.ndarray:
    """Returns label maps `(*spatial, classes)` of True and False.

    Args:
        labels: A class map `(*spatial,)` for a multiclass task, whose class 0 gets no map; else labels
            `(*spatial, classes)`.
        task: The task.
        num_classes: Number of classes.
    """
    labels = np.asarray(labels)
    if task == "multiclass":
        return np.stack([labels == index for index in range(1, num_classes)], axis=-1)
    return labels == 1


def draw_curves(run: Path) -> None:
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
    data.save_figure(figure, run / CURVES)
