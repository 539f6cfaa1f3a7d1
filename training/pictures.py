"""Pictures of a run while it trains: curves of loss and metrics, and predictions of some validation windows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import data, metrics
from ..data.images.reading import read_mirrored
from ..data.inspection.pictures import Row
from . import strategy
from .averaging import averaged
from .history import Row as EpochRow
from .history import read_history
from .keras_types import Logs
from .step import TrainerCallback

CURVES, SAMPLES = "curves.png", "samples.png"
# Windows in a picture; among how many others the worst are found; how many labels are looked at for the classes.
SHOWN, CANDIDATES, LOOKED_AT, MOST_CLASSES = 4, 8, 256, 12


class Pictures(TrainerCallback):
    """Draws `curves.png` after every epoch, and `samples.png` every few epochs and at the end, also for TensorBoard.

    The samples are windows that show every class, and those that the model is worst at among some others.

    Args:
        run: The run folder.
        validation: The validation windows, in order.
        dataset: The data set that they come from.
        every: Number of epochs between two pictures of samples.
    """

    def __init__(self, run: Path, validation: data.WindowDataset, dataset: data.DataSet, every: int = 5) -> None:
        super().__init__()
        self.run, self.validation, self.dataset, self.every = run, validation, dataset, every
        self.chosen = windows_to_show(validation, dataset)
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
        names, task = self.dataset.class_names, self.dataset.task
        each_class, others = self.chosen
        rows: list[tuple[float, Row]] = []
        with averaged(self.trainer):
            for number in (*each_class, *others):
                image, label = self.validation.sample(number)
                # One image at a time: several replicas cannot predict a batch with fewer images than replicas.
                logit = np.asarray(self.trainer.masks(image[None]))[0]
                truth = foreground_maps(label, task, len(names))
                guess = foreground_maps(metrics.predicted_labels(logit, task), task, len(names))
                case, window = self.validation.shown[number]
                place = ", ".join(map(str, window.offset))
                shown = read_mirrored(case.image, window, case.image.read)
                dice = overlap(truth, guess)
                name = f"{case.path.name if case.path else case.name} at {place}: Dice {dice:.2f}"
                rows.append((dice, (name, shown, {"truth": truth, "prediction": guess})))
        worst = sorted(rows[len(each_class) :], key=lambda row: row[0])[: max(2, SHOWN - len(each_class))]
        path = self.run / SAMPLES
        drawn = [row for _, row in (*rows[: len(each_class)], *worst)]
        data.save_overlays(path, drawn, names[1:] if task == "multiclass" else names, title=title)
        strategy.log_picture(self.run / "logs" / "pictures", "samples", path, self.epoch)


def windows_to_show(validation: data.WindowDataset, dataset: data.DataSet) -> tuple[list[int], list[int]]:
    """Returns which windows are candidates for a picture: one that shows each class best, and some others.

    Args:
        validation: The validation windows, in order.
        dataset: The data set that they come from.
    """
    shown = validation.shown
    looked_at = np.unique(np.linspace(0, len(shown) - 1, min(LOOKED_AT, len(shown))).astype(int)).tolist()
    areas = np.array(
        [
            foreground_maps(case.read_label(window), dataset.task, len(dataset.class_names))
            .reshape(-1, len(dataset.class_names) - (dataset.task == "multiclass"))
            .sum(axis=0)
            for case, window in (shown[number] for number in looked_at)
        ]
    )
    best = [looked_at[int(column.argmax())] for column in areas.T if column.any()]
    each_class = list(dict.fromkeys(best))[:MOST_CLASSES]
    others = [number for number in looked_at if number not in each_class]
    step = max(1, len(others) // CANDIDATES)
    return each_class, others[::step][:CANDIDATES]


def overlap(truth: np.ndarray, guess: np.ndarray) -> float:
    """Returns the Dice of all classes of a window together; 1 where both are empty."""
    size = int(truth.sum()) + int(guess.sum())
    return 2 * int((truth & guess).sum()) / size if size else 1.0


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
    # Without held-out images there are curves of the training alone.
    names = [name for name in rows[0] if f"val_{name}" in rows[0]] or [
        n for n in ("loss", "dice", "iou") if n in rows[0]
    ]
    figure = Figure(figsize=(4 * len(names), 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axis.plot(epochs, [float(row[name]) for row in rows], label="training", marker=".")
        if f"val_{name}" in rows[0]:
            axis.plot(epochs, [float(row[f"val_{name}"]) for row in rows], label="validation", marker=".")
        for first, stage in stage_starts(rows):
            axis.axvline(first - 0.5, color="grey", linestyle=":", linewidth=1)
            top = axis.get_xaxis_transform()  # epochs from left to right, fractions of the height upwards
            axis.text(first - 0.4, 0.99, f"stage {stage}", transform=top, fontsize=7, va="top", color="grey")
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    data.save_figure(figure, run / CURVES)


def stage_starts(rows: Sequence[EpochRow]) -> list[tuple[int, int]]:
    """Returns the first epoch and the number of each stage; nothing of a training without several."""
    starts: dict[int, int] = {}
    for row in rows:
        starts.setdefault(int(row["stage"]), int(row["epoch"]))
    return [(epoch, stage) for stage, epoch in starts.items()] if len(starts) > 1 else []
