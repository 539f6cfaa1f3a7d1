"""Pseudo-labels: what models say of images that they have not seen, where they are sure of it, as a data set."""

import csv
import math
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml

from .. import data

IGNORED = 255
BLOCK = {2: 1024, 3: 128}
SUFFIX = {2: ".tif", 3: ".nii.gz"}
TABLE, SET = "confidence.csv", "set.yaml"


def unseen_by(image, descriptions):
    """Returns the numbers of the runs that were not trained on an image, which is told by its name.

    Args:
        image: Path of the image.
        descriptions: The `RunData` of each run.
    """
    name = data.file_stem(image)
    return [
        number
        for number, description in enumerate(descriptions)
        if name not in {Path(known).name for known in description.train}
    ]


def guesses(probabilities, task):
    """The likeliest labels, and how sure they are.

    Args:
        probabilities: Array `(*size, bands)` of 255ths.
        task: `binary`, `multilabel` or `multiclass`.

    Returns:
        `(labels, confidence)`, both `(*size, planes)`, with a plane per class of a multilabel task: class ids, and the
        probability of the class that was chosen, or of its absence.
    """
    shares = probabilities.astype(np.float32) / 255
    if task == "multiclass":
        return shares.argmax(axis=-1)[..., None].astype(np.uint8), shares.max(axis=-1)[..., None]
    return (shares >= 0.5).astype(np.uint8), np.maximum(shares, 1 - shares)


class PseudoSet:
    """A data set that is written image by image, and appears under its name when it is finished.

    Args:
        folder: A folder that is not there yet.
        description: The `RunData` of a run.
        threshold: Confidence, from 0.5 to 1, from which a label counts; less sure pixels are ignored in training.
        share: Share of the images that is kept, those that are labelled with most confidence.

    Raises:
        ValueError: If a number is out of range.
        FileExistsError: If the folder is there.
    """

    def __init__(self, folder, description, threshold=0.9, share=1.0):
        if not 0.5 <= threshold <= 1:
            raise ValueError(f"--threshold: expected a probability from 0.5 to 1; received {threshold}")
        if not 0 < share <= 1:
            raise ValueError(f"--share: expected a share above 0, up to 1; received {share}")
        self.folder = Path(folder)
        if self.folder.exists():
            raise FileExistsError(f"output: expected a folder that is not there yet; received {folder}")
        self.threshold, self.share, self.rows = threshold, share, []
        self.task, self.names = description.task, description.class_names
        self.table, self.specified = self.folder / TABLE, self.folder / SET
        self.unfinished = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.unfinished")
        planes = [str(number) for number in range(len(self.names))] if self.task == "multilabel" else [""]
        self.places = [Path("masks", plane) for plane in planes]

    def __enter__(self):
        for place in (Path("images"), *self.places):
            (self.unfinished / place).mkdir(parents=True)
        return self

    def __exit__(self, *error):
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def add(self, image, source, probabilities, runs):
        """Adds an image, by a link to it, with its labels.

        Args:
            image: Path of the image.
            source: The image, opened.
            probabilities: Source of its probabilities in 255ths, a band per class.
            runs: Names of the runs that gave them.
        """
        spatial_dims = len(source.shape)
        files = [place / f"{data.file_stem(image)}{SUFFIX[spatial_dims]}" for place in self.places]
        # Confidence and number: of all pixels, and of those that show a class.
        sums, ignored = np.zeros((2, 2)), 0
        with ExitStack() as stack:
            sinks = [
                stack.enter_context(
                    data.open_writer(self.unfinished / file, source.shape, data.WriterOptions(like=source))
                )
                for file in files
            ]
            for window in data.window_grid(source.shape, (BLOCK[spatial_dims],) * spatial_dims):
                labels, confidence = guesses(probabilities.read(window), self.task)
                shown = confidence[labels > 0]
                sums += [[confidence.sum(), confidence.size], [shown.sum(), shown.size]]
                # A probability was rounded to a 255th.
                unsure = confidence < self.threshold - 0.5 / 255
                ignored += np.count_nonzero(unsure)
                labels[unsure] = IGNORED
                for plane, sink in enumerate(sinks):
                    sink.write(window, labels[..., plane, None])
        link = Path("images", Path(image).name)
        (self.unfinished / link).symlink_to(Path(image).resolve())
        total, number = sums[1] if sums[1, 1] else sums[0]
        row = {"name": data.file_stem(image), "confidence": total / number, "ignored": ignored / sums[0, 1]}
        self.rows.append((row | {"runs": " ".join(runs)}, [link, *files]))

    def finish(self):
        """Drops the images that are labelled with least confidence and gives the folder its name; returns all rows.

        Raises:
            ValueError: If there is no image.
        """
        if not self.rows:
            raise ValueError("images: expected one at least that not every run was trained on; received none")
        self.rows.sort(key=lambda row: -row[0]["confidence"])
        number = math.ceil(self.share * len(self.rows))
        for spatial_dims, (row, files) in enumerate(self.rows, 1):
            row["kept"] = spatial_dims <= number
            for file in files if spatial_dims > number else ():
                (self.unfinished / file).unlink()
        rows = [row for row, _ in self.rows]
        with (self.unfinished / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        text = yaml.safe_dump(self.specification(), sort_keys=False, allow_unicode=True)
        (self.unfinished / SET).write_text(text, encoding="utf-8")
        self.unfinished.rename(self.folder)
        return rows

    def specification(self):
        """The keys of the data set's YAML file."""
        keys = {"path": ".", "task": self.task, "ignore": [IGNORED]}
        if self.task == "multilabel":
            return keys | {"labels": {name: str(place) for name, place in zip(self.names, self.places, strict=True)}}
        values = {self.names[0]: 1} if self.task == "binary" else {name: n for n, name in enumerate(self.names)}
        return keys | {"classes": values, "labels": "masks"}
