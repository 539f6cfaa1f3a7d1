"""Predictions of the images that a run held out, kept in files and read strip by strip."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maskzoo.errors import RunError
from maskzoo.names import counted

from .. import data, metrics
from ..inference.ensemble import Ensemble
from ..inference.image_values import fitting_source
from ..inference.options import TileOptions
from ..inference.run import Run
from ..inference.seen_images import seen_by
from ..inference.tiles import of_image, predict_tiles
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
        identity: What the image is, whatever a run calls it.
    """

    name: str
    shape: tuple[int, ...]
    truth: ReadRows
    logits: ReadRows
    identity: data.ImageIdentity = field(default_factory=data.ImageIdentity)

    def strips(self, read: ReadRows) -> Strips:
        """The image as strips of what a function reads."""
        return Strips(self.shape, strip_height(self.shape), read)

    def truths(self) -> Iterator[np.ndarray]:
        """Yields the truth of the whole image, strip by strip."""
        return (self.truth(first, last) for first, last in self.strips(self.truth).borders)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields truth and logits of the whole image, strip by strip."""
        for first, last in self.strips(self.truth).borders:
            yield self.truth(first, last), self.logits(first, last)


def predict_held_out(run: Run, folder: Path, tta: str, tiles: TileOptions) -> list[HeldOutImage]:
    """Predicts the images that a run held out into files of a folder."""
    ensemble = Ensemble([run], reduction="logits" if tta == "none" else "probabilities", tta=tta)
    images = []
    cases = data.labelled_cases(run.data.as_mapping())
    identities = data.identities_of([case.image for case in cases])
    # Other files may lie at their paths now.
    trained_on(run, cases, identities)
    quiet = None if logger.isEnabledFor(logging.WARNING) else True
    for number, case in enumerate(tqdm(cases, unit="image", desc=run.name, disable=quiet)):
        image = fitting_source(ensemble, case.image)
        plan = ensemble.plan(image, tiles)
        shape = (*plan.shape, len(run.data.class_names))
        logits = np.lib.format.open_memmap(folder / f"{number}.npy", "w+", np.float32, shape)
        answers = predict_tiles(ensemble.scorer(plan), ensemble.reader(image), plan)
        for window, outputs in of_image(answers, image.name):
            logits[window.slices] = outputs
        logits.flush()
        truth = rows_of_case(case)
        images.append(HeldOutImage(case.name, plan.shape, truth, rows_of_array(logits), identities[number]))
    return images


def trained_on(run: Run, cases: Sequence[data.Case], identities: Sequence[data.ImageIdentity]) -> list[str]:
    """Returns the names of the images that a run was trained on among some, and warns of them.

    Args:
        run: The run.
        cases: What it is to be scored on.
        identities: What their images are.
    """
    seen = seen_by(run.data, run.path)
    names = [case.name for case, image in zip(cases, identities, strict=True) if seen.has(image, Path(case.name).name)]
    if names:
        count = f"{'regions of ' if run.data.regions else ''}{len(names)} of {counted(len(cases), 'image')}"
        logger.warning("%s was trained on %s: %s", run.path, count, data.listed_names(names))
    return names


def in_order_of(images: Sequence[HeldOutImage], first: Sequence[HeldOutImage], run: Run) -> list[HeldOutImage]:
    """Returns the images of a run in the order of the same images of another, which may have other names for them.

    Args:
        images: The images as the run predicts them.
        first: The images as the other run predicts them.
        run: The run, for messages.

    Raises:
        RunError: If they are not the same images, or of another size.
    """
    left, found = list(images), []
    for wanted in first:
        same = [
            number
            for number, image in enumerate(left)
            if (image.identity in data.KnownImages([wanted.identity]))
            or (image.identity == wanted.identity and image.name == wanted.name)
        ]
        named = [number for number in same if left[number].name == wanted.name]
        if not same or left[(named or same)[0]].shape != wanted.shape:
            raise RunError(run.path, f"{wanted.name} of {wanted.shape} pixels among the held-out images", "none")
        found.append(left.pop((named or same)[0]))
    return found


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
