"""Predictions of the images that a run held out, kept in files and read strip by strip."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import data, metrics
from ..inference.ensemble import Ensemble
from ..inference.options import TileOptions
from ..inference.run import Run
from ..inference.tiles import predict_tiles
from ..postprocessing.strips import ReadRows, Strips, strip_height

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutImage:
    """One image that a model has not seen in training, with what it predicts; rows are read on demand.

    Attributes:
        name: Name of the image.
        shape: Spatial sizes.
        truth: Reads labels as `Case.read_label` gives them.
        logits: Reads logits `(rows, *shape[1:], classes)`.
    """

    name: str
    shape: tuple[int, ...]
    truth: ReadRows
    logits: ReadRows

    def strips(self, read: ReadRows) -> Strips:
        """The image as strips of what a function reads."""
        return Strips(self.shape, strip_height(self.shape), read)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields truth and logits of the whole image, strip by strip."""
        for first, last in self.strips(self.truth).borders:
            yield self.truth(first, last), self.logits(first, last)


def predict_held_out(run: Run, folder: Path, tta: str, tiles: TileOptions) -> list[HeldOutImage]:
    """Predicts the images that a run held out into files of a folder."""
    ensemble = Ensemble([run], reduction="logits" if tta == "none" else "probabilities", tta=tta)
    images = []
    cases = data.labelled_cases(run.data.as_mapping())
    quiet = None if logger.isEnabledFor(logging.WARNING) else True
    for number, case in enumerate(tqdm(cases, unit="image", desc=run.name, disable=quiet)):
        plan = ensemble.plan(case.image, tiles)
        shape = (*plan.shape, len(run.data.class_names))
        logits = np.lib.format.open_memmap(folder / f"{number}.npy", "w+", np.float32, shape)
        for window, outputs in predict_tiles(ensemble.scorer(plan), ensemble.reader(case.image), plan):
            logits[window.slices] = outputs
        logits.flush()
        images.append(HeldOutImage(case.name, plan.shape, rows_of_case(case), rows_of_array(logits)))
    return images


def rows_of_case(case: data.Case) -> ReadRows:
    """Reads rows of a case's label."""
    rest = case.image.shape[1:]
    return lambda first, last: case.read_label(data.Window((first, *(0,) * len(rest)), (last - first, *rest)))


def rows_of_array(array: np.ndarray) -> ReadRows:
    """Reads rows of an array in memory, or of a memory map."""
    return lambda first, last: np.asarray(array[first:last])


def weighted_mean(images: Sequence[HeldOutImage], weights: Sequence[float], task: str) -> HeldOutImage:
    """One image as an ensemble predicts it: by the weighted mean of the probabilities of its members.

    Args:
        images: The same image as each member predicts it.
        weights: A weight per member; they sum to 1.
        task: `binary`, `multilabel` or `multiclass`.
    """

    def logits(first: int, last: int) -> np.ndarray:
        parts = zip(weights, images, strict=True)
        mean = sum(w * metrics.probabilities(image.logits(first, last), task) for w, image in parts if w)
        return metrics.logits_from(np.asarray(mean), task)

    return HeldOutImage(images[0].name, images[0].shape, images[0].truth, logits)
