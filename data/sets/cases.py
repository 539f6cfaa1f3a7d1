"""Labelled images, opened, checked and split into a training and a validation part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..images.image_files import ends_of_file, file_suffix
from ..images.opening import open_source
from ..images.pyramid import ResampledSource
from ..images.source import Frame, Source
from ..labels.polygons import PolygonSource
from ..labels.run_lengths import RunSource, RunTable
from ..labels.scheme import LabelScheme, StackedSource, band_scheme, find_scheme, label_values
from ..synthetic.objects import synthetic_cases
from ..windows import Window
from .folds import groups_by_pattern, held_out_names, read_folds
from .normalization import Normalizer
from .specification import (
    POLYGON_SUFFIXES,
    SYNTHETIC,
    DataSpec,
    absolute,
    check_path,
    files_by_stem,
    find_folders,
    read_spec,
)


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        name: Name within the data set.
        path: File of the image, None where it was made on the fly.
        image: Source of the image.
        read_image: Function from a `Window` to normalised float32 values `(*size, channels)`.
        read_label: Function from a `Window` to `uint8` labels: see `LabelScheme.reader`.
        read_instances: Function from a `Window` to the number of the object that each pixel belongs to, `uint16` or
            `uint32` `(*size,)`, 0 outside; None where the labels do not tell objects apart.
        weight: How often the case is seen in training, relative to the others.
    """

    name: str
    path: Path | None
    image: Any
    read_image: Any
    read_label: Any
    read_instances: Any = None
    weight: float = 1.0


@dataclass(frozen=True)
class DataSet:
    """A labelled data set, split.

    Attributes:
        train: Cases to train on.
        validation: Cases that are held out.
        scheme: What the label values mean.
        normalizer: How images are normalised.
        spatial_dims: Number of spatial axes.
        spec: Where it comes from.
        seed: Seed of the split, and of synthetic images.
        fingerprint: Hash of names and contents, the same for the same data.
    """

    train: list[Case]
    validation: list[Case]
    scheme: LabelScheme
    normalizer: Normalizer
    spatial_dims: int
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
            "rank": self.spatial_dims,
            "normalization": self.normalization,
            "labels": self.scheme.as_dict(),
            "spec": asdict(absolute(self.spec)),
            "seed": self.seed,
            "train": [case.name for case in self.train],
            "validation": [case.name for case in self.validation],
            "fingerprint": self.fingerprint,
        }


def load_data(spec, *, spatial_dims, seed=0) -> DataSet:
    """Opens a data set, checks every pair of image and label, measures its normalisation and splits it.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes, 2 or 3.
        seed: Seed of the split, and of synthetic images.

    Raises:
        OSError: Where a file is missing or cannot be read.
        ValueError: Where images and labels do not fit each other or the specification.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    parts = open_parts(spec, spatial_dims, seed)
    if spec.sets is not None and len(scales := {part.scale for part in parts}) == 1:
        level, resolution = scales.pop()
        spec = replace(spec, level=level, resolution=resolution)
    sources = [image for part in parts for name, image, _ in part.pairs if name not in part.held_out]
    normalizer = Normalizer.measured(spec.normalization, sources, stain=spec.stain)
    cases = [(case, case.name in part.held_out) for part in parts for case in part.cases(normalizer)]
    return DataSet(
        train=[case for case, held_out in cases if not held_out],
        validation=[case for case, held_out in cases if held_out],
        # That of a part with ignored pixels tells losses to leave them out.
        scheme=next((part.scheme for part in parts if part.scheme.ignore), parts[0].scheme),
        normalizer=normalizer,
        spatial_dims=spatial_dims,
        spec=spec,
        seed=seed,
        fingerprint=fingerprint([pair for part in parts for pair in part.pairs]),
    )


@dataclass(frozen=True)
class Part:
    """One of the data sets that make up another: opened, split, its labels understood."""

    pairs: list
    held_out: set
    scheme: LabelScheme
    weight: float | None
    scale: tuple

    def cases(self, normalizer):
        """Returns all its cases; together those to train on weigh what the part does."""
        weight = 1.0 if self.weight is None else self.weight / max(1, len(self.pairs) - len(self.held_out))
        return [replace(case, weight=weight) for case in make_cases(self.pairs, self.scheme, normalizer)]


def open_parts(spec, spatial_dims, seed):
    """Opens the sets of a specification, or the one that it is, as a list of `Part`.

    Raises:
        ValueError: Where their tasks, classes or channels differ.
    """
    parts, first = [], None
    places = [Path(place) for place in spec.sets or ()]
    stems = [place.stem for place in places]
    prefixes = {str(p): p.stem if stems.count(p.stem) == 1 else f"{p.parent.name}-{p.stem}" for p in places}
    for place, weight in (spec.sets or {spec.path: None}).items():
        part = spec if spec.sets is None else read_spec(place)
        pairs, bands = open_pairs(part, spatial_dims, seed)
        held_out = held_out_by(part, [name for name, _, _ in pairs], seed)
        scheme = scheme_of(part, pairs, bands)
        if spec.sets is not None:
            prefix = prefixes[place]
            pairs = [(f"{prefix}-{name}", image, label) for name, image, label in pairs]
            held_out = {f"{prefix}-{name}" for name in held_out}
        facts = {"task": scheme.task, "classes": list(scheme.class_names), "channels": pairs[0][1].channels}
        first = first or (place, facts)
        for name, value in facts.items():
            if value != first[1][name]:
                raise ValueError(f"{place}: expected the {name} {first[1][name]} of {first[0]}; received {value}")
        parts.append(Part(pairs, held_out, scheme, weight, (part.level, part.resolution)))
    names = [name for part in parts for name, _, _ in part.pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{spec.path}: expected sets whose files or folders have different names; received equal ones")
    return parts


def labelled_cases(mapping, path=None) -> list[Case]:
    """Opens labelled images as a trained run sees them.

    Args:
        mapping: What `DataSet.as_mapping` returned when the run was trained.
        path: A data set as in `read_spec`, all of whose images are taken, at the run's level or resolution unless it
            says another; None: those that the run held out.

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
        if spec.level is None and spec.resolution is None:
            seen = mapping["spec"]
            spec = replace(spec, level=seen.get("level"), resolution=seen.get("resolution"))
    if spec.sets is not None:
        cases = [case for part in open_parts(spec, mapping["rank"], mapping["seed"]) for case in part.cases(normalizer)]
        return [case for case in cases if path is not None or case.name in set(mapping["validation"])]
    pairs, bands = open_pairs(spec, mapping["rank"], mapping["seed"])
    if path is None:
        pairs = [pair for pair in pairs if pair[0] in set(mapping["validation"])]
    elif spec.classes is not None:
        declared = scheme_of(replace(spec, task=spec.task or scheme.task), pairs, bands)
        if declared.class_names != scheme.class_names:
            raise ValueError(
                f"{path}: expected the classes {list(scheme.class_names)} of the run; "
                f"received {list(declared.class_names)}"
            )
        scheme = declared
    return make_cases(pairs, scheme, normalizer)


def held_out_by(spec, names, seed):
    """Returns the names that a specification holds out.

    Raises:
        ValueError: Where either part would be empty.
    """
    if spec.folds is None:
        groups = spec.group and groups_by_pattern(names, spec.group)
        return held_out_names(names, spec.validation, split=spec.split, groups=groups or None, seed=seed)
    folds = read_folds(spec.folds, names, spec.repeat)
    held_out = {name for name in names if folds[name] == spec.fold}
    if not 0 < len(held_out) < len(names):
        raise ValueError(f"fold: expected one of several folds {sorted(set(folds.values()))}; received {spec.fold}")
    return held_out


def scheme_of(spec, pairs, bands):
    """Returns the `LabelScheme` of opened pairs."""
    sources = [label for _, _, label in pairs]
    if bands is None:
        return find_scheme(sources, task=spec.task, classes=spec.classes, ignore=spec.ignore)
    if len(bands) > 1 or spec.task == "multilabel":
        return band_scheme(len(bands), bands, tuple(spec.ignore))
    return find_scheme(sources, task=spec.task, classes=bands, ignore=spec.ignore)


def open_pairs(spec, spatial_dims, seed):
    """Opens every image with its label and checks that they fit each other.

    Returns:
        List of `(name, image source, label source)`, sorted by name, and the names of the labels' bands, None where the
        labels are images whose values say the class.
    """
    if spec.path == SYNTHETIC:
        classes = max(1, len(spec.classes or ()) - 1) if spec.task == "multiclass" else 1
        cases = synthetic_cases(spatial_dims, seed=seed, classes=classes)
        return [
            (name, open_source(image, spatial_dims=spatial_dims), open_source(label, spatial_dims=spatial_dims))
            for name, image, label in cases
        ], None
    folder, labels = find_folders(spec)
    images = files_by_stem(folder)
    open_label, bands = label_opener(spec, labels, images, spatial_dims)
    pairs = []
    for name in sorted(images):
        image = open_source(images[name], spatial_dims=spatial_dims, level=spec.level, resolution=spec.resolution)
        label = open_label(name, image)
        if image.shape != label.shape:
            raise ValueError(
                f"{label.name}: expected a label of the size of {image.name}, {image.shape}; received {label.shape}"
            )
        if pairs and image.channels != pairs[0][1].channels:
            raise ValueError(
                f"{image.name}: expected {pairs[0][1].channels} channels as in {pairs[0][1].name}; "
                f"received {image.channels}"
            )
        pairs.append((name, image, label))
    return pairs, bands


def label_opener(spec, labels, images, spatial_dims, check=None):
    """Returns the function from name and image to the label source, and the names of its bands or None.

    Labels of an image that is read at a coarser level are those of the full image at the middle of each pixel.
    `check` gets images, labels and the labels' place, and may refuse what has no counterpart.
    """
    open_full, bands = full_label_opener(spec, labels, images, spatial_dims, check)

    def open_label(name, image):
        label = open_full(name, image)
        full = image.levels[0][0]
        if image.shape != full and label.shape == full:
            label = ResampledSource(label, image.shape, nearest=True)
        return InstanceSource(label) if spec.instances else label

    return open_label, bands


def full_label_opener(spec, labels, images, spatial_dims, check):
    """Returns the function that opens labels of the full resolution, polygons of the image's: see `label_opener`."""
    check = check or require_same_names
    classes = None if spec.classes is None else list(spec.classes)
    if isinstance(labels, dict):
        files = {kind: files_by_stem(folder) for kind, folder in labels.items()}
        for kind, stems in files.items():
            check(images, stems, labels[kind])
        return lambda name, _: StackedSource(
            [open_source(stems[name], spatial_dims=spatial_dims, palette="index") for stems in files.values()]
        ), list(files)
    if spatial_dims != 2 and (labels.suffix == ".csv" or labels.suffix in POLYGON_SUFFIXES):
        raise ValueError(f"{labels}: expected labels of volumes as volumes; received {labels.suffix}")
    if labels.suffix == ".csv":
        table = RunTable(labels, classes=classes, **(spec.rle or {}))
        check(images, {name: labels for name in table.images if name in images}, labels)
        return lambda name, image: table.open(name, image.levels[0][0]), table.class_names or ["foreground"]
    if labels.suffix in POLYGON_SUFFIXES or any(file_suffix(file) in POLYGON_SUFFIXES for file in labels.iterdir()):
        files = files_by_stem(labels, POLYGON_SUFFIXES) if labels.is_dir() else dict.fromkeys(images, labels)
        check(images, files, labels)
        if spec.class_property and not classes:
            raise ValueError(f"classes: expected the values of {spec.class_property} in a list; received none")
        options = {"class_property": spec.class_property, "classes": classes}
        return lambda name, image: PolygonSource(files[name], image, **options), classes or ["foreground"]
    files = files_by_stem(labels)
    check(images, files, labels)
    return lambda name, _: open_source(files[name], spatial_dims=spatial_dims, palette="index"), None


def require_same_names(images, labels, place):
    """Refuses an image without label and a label without image.

    Raises:
        FileNotFoundError: Where a counterpart is missing.
    """
    for stem in sorted(images.keys() ^ labels.keys()):
        have, want = (images, place) if stem in images else (labels, next(iter(images.values())).parent)
        raise FileNotFoundError(f"{have[stem]}: expected a counterpart of the same name in {want}; received none")


def make_cases(pairs, scheme, normalizer):
    """Puts labels and normalisation to opened pairs of image and label."""
    return [
        Case(
            name,
            image.path,
            image,
            normalizer(image),
            scheme.reader(label),
            label.read_instances if isinstance(label, InstanceSource) else None,
        )
        for name, image, label in pairs
    ]


class InstanceSource(Source):
    """Reads labels that number objects as one class: see `DataSpec.instances`."""

    dtype = np.dtype(np.uint8)
    channels = 1

    def __init__(self, source):
        self._source = source
        self.path, self.name, self.shape, self.frame = source.path, source.name, source.shape, Frame(source.shape)
        self._type = np.dtype(np.uint16 if source.dtype.itemsize <= 2 else np.uint32)

    def read_instances(self, window):
        """Returns the number of the object at every pixel of a `Window`, 0 outside objects."""
        numbers = label_values(self._source, window)
        if numbers.min() < 0 or numbers.max() > np.iinfo(self._type).max:
            raise ValueError(f"{self.name}: expected object numbers from 0 on; received {numbers.min()}")
        return numbers.astype(self._type)

    def read(self, window):
        """Returns 1 inside the objects of a `Window` and 0 outside, `uint8` `(*size, 1)`."""
        return (self.read_instances(window) > 0).astype(np.uint8)[..., None]


def fingerprint(pairs):
    """Returns a hash of names, sizes and contents (large files by their ends), the same wherever the files lie."""
    digest = hashlib.sha256()
    for name, image, label in pairs:
        whole_label = getattr(label, "source", label)
        for source in (image, *getattr(whole_label, "sources", [label])):
            digest.update(json.dumps([name, source.shape, source.channels, str(source.dtype)]).encode())
            source = getattr(source, "source", source)
            if isinstance(source, RunSource):
                for runs in source.runs:
                    digest.update(runs)
            elif source.path is None:
                digest.update(source.read(Window((0,) * len(source.shape), source.shape)))
            else:
                digest.update(ends_of_file(source.path))
    return digest.hexdigest()
