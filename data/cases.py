"""Labelled images, opened, checked and split into a training and a validation part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .labels import LabelScheme, find_scheme
from .sources import open_source
from .specification import SYNTHETIC, DataSpec, absolute, check_path, find_pairs, read_spec
from .statistics import Normalizer
from .synthetic import synthetic_cases
from .windows import Window


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        name: Name within the data set.
        path: File of the image, None where it was made on the fly.
        image: Source of the image.
        read_image: Function from a `Window` to normalised float32 values `(*size, channels)`.
        read_label: Function from a `Window` to `uint8` labels: see `LabelScheme.reader`.
    """

    name: str
    path: Path | None
    image: Any
    read_image: Any
    read_label: Any


@dataclass(frozen=True)
class DataSet:
    """A labelled data set, split.

    Attributes:
        train: Cases to train on.
        validation: Cases that are held out.
        scheme: What the label values mean.
        normalizer: How images are normalised.
        rank: Number of spatial axes.
        spec: Where it comes from.
        seed: Seed of the split, and of synthetic images.
        fingerprint: Hash of names and contents, the same for the same data.
    """

    train: list[Case]
    validation: list[Case]
    scheme: LabelScheme
    normalizer: Normalizer
    rank: int
    spec: DataSpec
    seed: int
    fingerprint: str

    @property
    def task(self) -> str:
        """`binary`, `multilabel` or `multiclass`."""
        return self.scheme.task

    @property
    def class_names(self) -> list[str]:
        """One name per output channel of a model."""
        return list(self.scheme.class_names)

    @property
    def num_classes(self) -> int:
        """Number of output channels of a model, 1 for a binary task."""
        return self.scheme.num_classes

    @property
    def ignore_index(self) -> int | None:
        """Label of pixels that do not count, None where all do."""
        return self.scheme.ignore_index

    @property
    def channels(self) -> int:
        """Number of channels of every image."""
        return self.normalizer.channels

    @property
    def normalization(self) -> dict:
        """How images are normalised, for `Normalizer.from_dict`."""
        return self.normalizer.as_dict()

    def as_mapping(self) -> dict:
        """Returns what prediction and evaluation need to know, as values that JSON can hold."""
        return {
            "task": self.task,
            "class_names": self.class_names,
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "channels": self.channels,
            "rank": self.rank,
            "normalization": self.normalization,
            "labels": self.scheme.as_dict(),
            "spec": asdict(absolute(self.spec)),
            "seed": self.seed,
            "train": [case.name for case in self.train],
            "validation": [case.name for case in self.validation],
            "fingerprint": self.fingerprint,
        }


def load_data(spec, *, rank, seed=0) -> DataSet:
    """Opens a data set, checks every pair of image and label, measures its normalisation and splits it.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        rank: Number of spatial axes, 2 or 3.
        seed: Seed of the split, and of synthetic images.

    Raises:
        OSError: Where a file is missing or cannot be read.
        ValueError: Where images and labels do not fit each other or the specification.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    pairs = open_pairs(spec, rank, seed)
    held_out = held_out_names([name for name, _, _ in pairs], spec.validation, spec.split, seed)
    scheme = find_scheme([label for _, _, label in pairs], task=spec.task, classes=spec.classes, ignore=spec.ignore)
    normalizer = Normalizer.measured(spec.normalization, [image for name, image, _ in pairs if name not in held_out])
    cases = make_cases(pairs, scheme, normalizer)
    return DataSet(
        train=[case for case in cases if case.name not in held_out],
        validation=[case for case in cases if case.name in held_out],
        scheme=scheme,
        normalizer=normalizer,
        rank=rank,
        spec=spec,
        seed=seed,
        fingerprint=fingerprint(pairs),
    )


def labelled_cases(mapping, path=None) -> list[Case]:
    """Opens labelled images as a trained run sees them.

    Args:
        mapping: What `DataSet.as_mapping` returned when the run was trained.
        path: A data set as in `read_spec`, all of whose images are taken; None: those that the run held out.

    Raises:
        OSError: Where a file is missing or cannot be read.
        ValueError: Where the classes are not those of the run, or images and labels do not fit each other.
    """
    scheme = LabelScheme.from_dict(mapping["labels"])
    normalizer = Normalizer.from_dict(mapping["normalization"])
    if path is None:
        spec = DataSpec(**mapping["spec"])
        check_path(spec.path)
    else:
        spec = read_spec(path)
    pairs = open_pairs(spec, mapping["rank"], mapping["seed"])
    if path is None:
        pairs = [pair for pair in pairs if pair[0] in set(mapping["validation"])]
    elif spec.classes is not None:
        labels = [label for _, _, label in pairs]
        declared = find_scheme(labels, task=spec.task or scheme.task, classes=spec.classes, ignore=spec.ignore)
        if declared.class_names != scheme.class_names:
            raise ValueError(
                f"{path}: expected the classes {list(scheme.class_names)} of the run; "
                f"received {list(declared.class_names)}"
            )
        scheme = declared
    return make_cases(pairs, scheme, normalizer)


def open_pairs(spec, rank, seed):
    """Opens `(name, image source, label source)` of every image and checks that their sizes agree."""
    if spec.path == SYNTHETIC:
        classes = max(1, len(spec.classes or ()) - 1) if spec.task == "multiclass" else 1
        cases = synthetic_cases(rank, seed=seed, classes=classes)
        return [(name, open_source(image, rank=rank), open_source(label, rank=rank)) for name, image, label in cases]
    pairs = []
    for name, image_path, label_path in find_pairs(spec.path):
        image = open_source(image_path, rank=rank)
        label = open_source(label_path, rank=rank, palette="index")
        if image.shape != label.shape:
            raise ValueError(
                f"{label_path}: expected a label of the size of {image_path}, {image.shape}; received {label.shape}"
            )
        if pairs and image.channels != pairs[0][1].channels:
            raise ValueError(
                f"{image_path}: expected {pairs[0][1].channels} channels as in {pairs[0][1].name}; "
                f"received {image.channels}"
            )
        pairs.append((name, image, label))
    return pairs


def make_cases(pairs, scheme, normalizer):
    """Puts labels and normalisation to opened pairs of image and label."""
    return [Case(name, image.path, image, normalizer(image), scheme.reader(label)) for name, image, label in pairs]


def held_out_names(names, share, split, seed):
    """Chooses the images to validate on: at random, or the last of the sorted names.

    Raises:
        ValueError: Where either part would be empty.
    """
    number = min(max(round(share * len(names)), 1), len(names) - 1)
    if number < 1:
        raise ValueError(f"data: expected at least 2 images, to hold one out; received {len(names)}")
    if split == "block":
        return set(sorted(names)[-number:])
    order = np.random.default_rng(seed).permutation(len(names))
    return {sorted(names)[index] for index in order[:number]}


def fingerprint(pairs):
    """Returns a hash of names, sizes and contents (large files by their ends), the same wherever the files lie."""
    digest = hashlib.sha256()
    for name, *sources in pairs:
        for source in sources:
            digest.update(json.dumps([name, source.shape, source.channels, str(source.dtype)]).encode())
            if source.path is None:
                digest.update(source.read(Window((0,) * len(source.shape), source.shape)))
                continue
            with open(source.path, "rb") as file:
                digest.update(file.read(1 << 20))
                length = file.seek(0, 2)
                file.seek(max(1 << 20, length - (1 << 16)))
                digest.update(file.read() + length.to_bytes(8, "big"))
    return digest.hexdigest()
