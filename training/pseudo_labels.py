"""Pseudo-labels: confident predictions for images that a model was not trained on, written as a data set."""

import csv
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import yaml

from maskzoo.errors import ExistingFile, OptionError
from maskzoo.files import file_checksum

from .. import data
from ..data.images.source import Source
from ..inference.run import Run
from ..inference.run_files import RunData
from ..inference.seen_images import SeenImages
from .options import Value

IGNORED = 255
BLOCK = {2: 1024, 3: 128}
SUFFIX = {2: ".tif", 3: ".nii.gz"}
TABLE, SET = "confidence.csv", "set.yaml"


@dataclass(frozen=True)
class LabelledImage:
    """An image that was labelled.

    Attributes:
        name: Its name.
        confidence: Mean confidence of the pixels that show a class; of all pixels if none does.
        ignored: Fraction of the pixels that are ignored in training.
        runs: The runs that labelled it.
        files: Its files in the data set: the links to those of the image, and the masks.
    """

    name: str
    confidence: float
    ignored: float
    runs: tuple[data.LabelMaker, ...]
    files: tuple[Path, ...]


def unseen_by(image: data.ImageIdentity, name: str, seen: Sequence[SeenImages]) -> list[int]:
    """Returns the numbers of the runs that were not trained on an image.

    Args:
        image: What the image is.
        name: Its name, without folder and suffix.
        seen: The images that each run was trained on.
    """
    return [number for number, images in enumerate(seen) if not images.has(image, name)]


def maker_of(run: Run, seen: SeenImages) -> data.LabelMaker:
    """Returns what a set of pseudo-labels says about a run that made some of them."""
    model = run.path / run.model_file
    return data.LabelMaker(run.name, str(model.resolve()), file_checksum(model), seen.identities)


def likeliest_labels(probabilities: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the most probable labels, and the confidence in them.

    Args:
        probabilities: Array `(*size, bands)` of 255ths.
        task: `binary`, `multilabel` or `multiclass`.

    Returns:
        Class ids and confidence, both `(*size, planes)` with a plane for each class of a multilabel task; confidence is
        the probability of the class that was chosen, or of its absence.
    """
    fractions = probabilities.astype(np.float32) / 255
    if task == "multiclass":
        return fractions.argmax(axis=-1)[..., None].astype(np.uint8), fractions.max(axis=-1)[..., None]
    return (fractions >= 0.5).astype(np.uint8), np.maximum(fractions, 1 - fractions)


class PseudoSet:
    """A data set that is written image by image, and appears under its name when it is finished.

    Args:
        folder: The folder to create.
        description: The data of a run: its task and classes.
        threshold: Confidence, from 0.5 to 1, from which a label counts; less certain pixels are ignored in training.
        fraction: Fraction of the images that is kept, those labelled with most confidence.

    Raises:
        OptionError: If a number is out of range.
        ExistingFile: If the folder exists.
    """

    def __init__(self, folder: str | Path, description: RunData, threshold: float = 0.9, fraction: float = 1.0) -> None:
        if not 0.5 <= threshold <= 1:
            raise OptionError("threshold", "a probability from 0.5 to 1", threshold)
        if not 0 < fraction <= 1:
            raise OptionError("fraction", "a fraction above 0, up to 1", fraction)
        self.folder = Path(folder)
        if self.folder.exists():
            raise ExistingFile(folder, "a folder that does not exist yet, for the output", "one that does")
        self.threshold, self.fraction = threshold, fraction
        self.images: list[LabelledImage] = []
        self.task, self.names = description.task, description.class_names
        self._spec = description.spec
        reading = description.reading | description.scale | {"channels": description.spec.get("channels")}
        self._reading = {name: value for name, value in reading.items() if value}
        self.table, self.specified = self.folder / TABLE, self.folder / SET
        self.unfinished = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.unfinished")
        planes = [str(number) for number in range(len(self.names))] if self.task == "multilabel" else [""]
        self.places = [Path("masks", plane) for plane in planes]

    def __enter__(self) -> Self:
        for place in self.places:
            (self.unfinished / place).mkdir(parents=True)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def add(self, image: str | Path, source: Source, probabilities: Source, runs: Sequence[data.LabelMaker]) -> None:
        """Adds an image, by links to its files, with its labels.

        Args:
            image: Path of the image, of several channels that of any.
            source: The image, opened.
            probabilities: Source of its probabilities in 255ths, a band per class.
            runs: The runs that predicted them.
        """
        spatial_dims = len(source.shape)
        name = data.name_as_trained(Path(image), self._spec)
        files = [place / f"{name}{SUFFIX[spatial_dims]}" for place in self.places]
        # Sum of the confidence, and number: of all pixels, and of those that show a class.
        sums, ignored = np.zeros((2, 2)), 0
        with ExitStack() as stack:
            sinks = [
                stack.enter_context(
                    data.open_writer(self.unfinished / file, source.shape, data.WriterOptions(like=source))
                )
                for file in files
            ]
            for window in data.window_grid(source.shape, (BLOCK[spatial_dims],) * spatial_dims):
                labels, confidence = likeliest_labels(probabilities.read(window), self.task)
                valid = source.valid(window)
                held = np.ones((*window.size, 1), bool) if valid is None else np.max(valid, axis=-1, keepdims=True)
                known, shown = confidence[held[..., 0]], confidence[(labels > 0) & held]
                sums += [[known.sum(), known.size], [shown.sum(), shown.size]]
                # Probabilities are rounded to 255ths.
                uncertain = (confidence < self.threshold - 0.5 / 255) | ~held
                ignored += np.count_nonzero(uncertain & held)
                labels[uncertain] = IGNORED
                for plane, sink in enumerate(sinks):
                    sink.write(window, labels[..., plane, None])
        links = []
        for file in source.files:
            links.append(data.place_as_trained(file, self._spec) / file.name)
            (self.unfinished / links[-1]).parent.mkdir(parents=True, exist_ok=True)
            (self.unfinished / links[-1]).symlink_to(file.resolve())
        total, number = sums[1] if sums[1, 1] else sums[0]
        self.images.append(
            LabelledImage(
                name=name,
                confidence=float(total / max(number, 1)),
                ignored=float(ignored / max(sums[0, 1], 1)),
                runs=tuple(runs),
                files=(*links, *files),
            )
        )

    def finish(self) -> list[tuple[LabelledImage, bool]]:
        """Drops the images labelled with least confidence, and gives the folder its name.

        Returns:
            All images, most confident first, and whether each is kept.

        Raises:
            OptionError: If there is no image.
        """
        if not self.images:
            raise OptionError("images", "at least one that not every run was trained on", "none")
        ranked = sorted(self.images, key=lambda image: -image.confidence)
        number = math.ceil(self.fraction * len(ranked))
        for image in ranked[number:]:
            for file in image.files:
                (self.unfinished / file).unlink()
        kept = [(image, rank < number) for rank, image in enumerate(ranked)]
        with (self.unfinished / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "confidence", "ignored", "runs", "kept"])
            for image, is_kept in kept:
                runs = " ".join(run.name for run in image.runs)
                writer.writerow([image.name, image.confidence, image.ignored, runs, is_kept])
        text = yaml.safe_dump(self.specification(), sort_keys=False, allow_unicode=True)
        (self.unfinished / SET).write_text(text, encoding="utf-8")
        self.makers(ranked[:number]).write(self.unfinished)
        self.unfinished.rename(self.folder)
        return kept

    def makers(self, images: Sequence[LabelledImage]) -> data.Makers:
        """Returns which runs made the labels of which images."""
        runs = list(dict.fromkeys(run for image in images for run in image.runs))
        return data.Makers(tuple(runs), {image.name: tuple(map(runs.index, image.runs)) for image in images})

    def specification(self) -> dict[str, Value]:
        """Returns the keys of the data set's YAML file."""
        # What models say is no truth to be measured by: none of it is held out.
        keys: dict[str, Value] = self._reading | {"path": ".", "task": self.task, "ignore": [IGNORED], "validation": 0}
        if self.task == "multilabel":
            return keys | {"labels": {name: str(place) for name, place in zip(self.names, self.places, strict=True)}}
        values = {self.names[0]: 1} if self.task == "binary" else {name: n for n, name in enumerate(self.names)}
        return keys | {"classes": values, "labels": "masks"}
