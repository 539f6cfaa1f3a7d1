"""A labelled data set: opened, checked, measured and split into a training and a validation part."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from maskzoo.errors import DataError, LabelError

from ..images.scale import STORED
from ..images.value_range import ValueRange
from ..labels.masked_labels import missing_values
from ..labels.scheme import LabelScheme
from .cases import Case, make_cases
from .identity import fingerprint
from .image_identity import ImageIdentity
from .image_opening import scale_as_trained, settled
from .normalization import Normalizer
from .pairs import Pair, open_pairs, scheme_of
from .parts import open_parts, open_whole_parts, without_leaks
from .pixel_values import in_one_range_of_parts, in_range_of_run
from .regions import ReceptiveField, Region
from .spec_file import check_path, read_spec
from .specification import DataSpec, absolute


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
        identities: What each image is, by its name.
        seen_before: Images that are not trained on, but were by the runs that made labels of this set.
        pixel_values: Types and range of the pixels of the training images.
        regions: What part of an image a case is, by the name of the case, where images were split into regions.
    """

    train: list[Case]
    validation: list[Case]
    scheme: LabelScheme
    normalizer: Normalizer
    spatial_dims: int
    spec: DataSpec
    seed: int
    fingerprint: str
    identities: Mapping[str, ImageIdentity] = field(default_factory=dict)
    seen_before: tuple[ImageIdentity, ...] = ()
    pixel_values: ValueRange | None = None
    regions: Mapping[str, Region] = field(default_factory=dict)

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
        """Label of pixels that do not count, of any image; `None` if all do."""
        every = [case.ignore_index for case in (*self.train, *self.validation)]
        return next((label for label in (self.scheme.ignore_index, *every) if label is not None), None)

    @property
    def channels(self) -> int:
        """Number of channels of every image."""
        return self.normalizer.channels

    @property
    def normalization(self) -> dict[str, Any]:  # JSON values
        """How images are normalised, for `Normalizer.from_dict`."""
        return self.normalizer.as_dict()

    def as_mapping(self) -> dict[str, Any]:  # JSON values
        """Returns what prediction and evaluation need to know, as values that JSON can hold."""
        return {
            "task": self.task,
            "class_names": self.class_names,
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
            "channels": self.channels,
            "rank": self.spatial_dims,  # the name that every version reads
            "normalization": self.normalization,
            "labels": self.scheme.as_dict(),
            "spec": asdict(absolute(self.spec)),
            "seed": self.seed,
            "train": [case.name for case in self.train],
            "validation": [case.name for case in self.validation],
            "fingerprint": self.fingerprint,
            "images": {name: identity.as_mapping() for name, identity in self.identities.items()},
            "seen_before": [image.as_mapping() for image in self.seen_before],
            "pixel_values": self.pixel_values and self.pixel_values.as_dict(),
            "regions": {name: region.as_mapping() for name, region in self.regions.items()},
        }


def load_data(
    spec: DataSpec | str | os.PathLike[str],
    *,
    spatial_dims: int,
    seed: int = 0,
    receptive_field: ReceptiveField | None = None,
) -> DataSet:
    """Opens a data set, checks every pair of image and label, measures its normalisation and splits it.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes, 2 or 3.
        seed: Seed of the split, and of synthetic images.
        receptive_field: Says how many pixels per axis the model sees that is to be trained, `None` for all of an image.
            It is asked only if images are split into regions, between which so many pixels are left out, or as many as
            the image allows.

    Raises:
        MissingFile: If a file is missing.
        UnreadableFile: If a file cannot be read.
        LabelError: If images and labels do not fit each other.
        DataError: If the data set does not fit its specification.
    """
    spec = settled(spec if isinstance(spec, DataSpec) else read_spec(spec), spatial_dims)
    parts = in_one_range_of_parts(spec, without_leaks(open_parts(spec, spatial_dims, seed, receptive_field)))
    scales = [part.scale for part in parts]
    if spec.sets is not None and all(scale == scales[0] for scale in scales):
        spec = replace(spec, **scales[0].as_dict())
    sources = [pair.image for part in parts for pair in part.train]
    normalizer = Normalizer.measured(spec.normalization, sources, stain=spec.stain)
    cases = [(case, case.name in part.held_out) for part in parts for case in part.cases(normalizer)]
    described = {source.band_names for source in sources}
    if len(described) == 1 and spec.bands is None and (names := described.pop()):
        spec = replace(spec, band_names=list(names))
    if spec.bands is None and spec.alpha is None and all("alpha" in source.roles for source in sources):
        spec = replace(spec, alpha="data")
    if spec.sets is None and all(case.read_instances is not None for case, _ in cases):
        spec = replace(spec, instances=True)
    return DataSet(
        train=[case for case, held_out in cases if not held_out],
        validation=[case for case, held_out in cases if held_out],
        # The scheme of a part with ignored pixels tells losses to leave them out.
        scheme=next((part.scheme for part in parts if part.scheme.ignore), parts[0].scheme),
        normalizer=normalizer,
        spatial_dims=spatial_dims,
        spec=spec,
        seed=seed,
        fingerprint=fingerprint([pair for part in parts for pair in part.whole or part.pairs]),
        identities={
            case.name: part.identities[case.name] for part in parts for case, _ in cases if case.name in part.identities
        },
        seen_before=tuple(image for part in parts for image in part.seen_by_makers()),
        pixel_values=ValueRange.of(sources),
        regions={name: region for part in parts for name, region in part.regions.items()},
    )


def labelled_cases(
    mapping: Mapping[str, Any],  # JSON values
    path: str | os.PathLike[str] | None = None,
) -> list[Case]:
    """Opens labelled images as a trained run sees them.

    Args:
        mapping: What `DataSet.as_mapping` returned when the run was trained.
        path: A data set as in `read_spec`, all of whose images are taken, at the run's level or resolution unless it
            sets another; `None`: those that the run held out.

    Raises:
        MissingFile: If a file is missing.
        UnreadableFile: If a file cannot be read.
        LabelError: If images and labels do not fit each other.
        DataError: If the classes are not those of the run.
    """
    scheme = LabelScheme.from_dict(mapping["labels"])
    normalizer = Normalizer.from_dict(mapping["normalization"])
    spatial_dims, seed, held_out = mapping["rank"], mapping["seed"], set(mapping["validation"])
    if path is None:
        # Versions that said nothing of it read volumes as they are stored.
        spec = DataSpec(**{"orientation": STORED, **mapping["spec"]})
        check_path(spec.path)
    else:
        spec, trained = read_spec(path), mapping["spec"]
        scale = scale_as_trained(trained)
        has_scale = (spec.level, spec.resolution, spec.spacing, spec.resize) != (None,) * 4
        spec = replace(spec, **({"orientation": scale.orientation} if has_scale else scale.as_dict()))
        if spec.bands is None and spec.alpha is None:
            spec = replace(spec, bands=trained.get("bands"), alpha=trained.get("alpha"))
            if spec.bands is None and spec.band_names is None:
                spec = replace(spec, band_names=trained.get("band_names"))
    regions = {name: Region.from_mapping(values) for name, values in (mapping.get("regions") or {}).items()}
    if spec.sets is not None:
        parts = open_whole_parts(spec, spatial_dims, seed)
        if path is None:
            parts = [replace(part, pairs=held_out_pairs(part.pairs, held_out, regions)) for part in parts]
        parts = [replace(part, pairs=in_range_of_run(part.pairs, mapping)) for part in parts]
        return [case for part in parts for case in part.cases(normalizer)]
    if mapping["spec"].get("instances") and spec.task is None and spec.classes is None and not spec.ignore:
        # Masks are numbers of objects too.
        spec = replace(spec, instances=True)
    declares = spec.classes is not None or spec.colors is not None
    pairs, bands = open_pairs(spec, spatial_dims, seed, () if declares and path is not None else scheme.palette)
    if path is None:
        pairs = held_out_pairs(pairs, held_out, regions)
    elif declares:
        declared = scheme_of(replace(spec, task=spec.task or scheme.task), pairs, bands)
        if declared.class_names != scheme.class_names:
            expected = f"the classes of the run, {', '.join(scheme.class_names)}"
            raise DataError(path, expected, ", ".join(declared.class_names))
        scheme = declared
    else:
        if means_any_mask(scheme, mapping["spec"]) and bands is None:
            scheme = scheme_of_masks(scheme, spec, pairs)
        if more := {*spec.ignored_values, *missing_values(pair.label for pair in pairs)} - set(scheme.ignore):
            scheme = replace(scheme, ignore=tuple(sorted({*scheme.ignore, *more})))
    return make_cases(in_range_of_run(pairs, mapping), scheme, normalizer)


def held_out_pairs(pairs: Sequence[Pair], held_out: Collection[str], regions: Mapping[str, Region]) -> list[Pair]:
    """Returns the pairs that a run held out, some of which may be regions of images.

    Args:
        pairs: Whole images with their labels.
        held_out: Names of those that were held out.
        regions: The regions that images were split into, by name.

    Raises:
        DataError: If an image has another size than it had then.
    """
    whole = [pair for pair in pairs if pair.name in held_out]
    images = {pair.name: pair for pair in pairs}
    parts = {name: region for name, region in regions.items() if name in held_out and region.image in images}
    return [*whole, *(region.of(images[region.image], name) for name, region in parts.items())]


def means_any_mask(scheme: LabelScheme, trained: Mapping[str, Any]) -> bool:  # JSON values
    """Whether a run was trained on masks whose values nobody declared: those of other masks may be others."""
    is_declared = isinstance(trained.get("classes"), Mapping) or trained.get("colors") is not None or scheme.ignore
    return scheme.task == "binary" and scheme.bands is None and scheme.values[0] == (0,) and not is_declared


def scheme_of_masks(scheme: LabelScheme, spec: DataSpec, pairs: Sequence[Pair]) -> LabelScheme:
    """Returns what the values of another set of masks mean, by themselves; as in training if they show no mask.

    Args:
        scheme: What the values of those that a run was trained on mean.
        spec: The other set.
        pairs: Its images and masks.
    """
    try:
        return scheme_of(replace(spec, task="binary", classes=list(scheme.class_names)), pairs, None)
    except LabelError:
        return scheme
