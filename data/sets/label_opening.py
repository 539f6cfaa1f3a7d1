"""Which label belongs to which image of a data set, whatever the labels are: files, a table of runs, polygons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maskzoo.errors import LabelError, MissingFile, OptionError

from ..images.image_files import file_suffix, holds_slices, is_hidden, is_image
from ..images.placement import are_comparable, turn_of_coarser
from ..images.pyramid import ResampledSource
from ..images.scale import like_image
from ..images.source import Source
from ..images.turning import TurnedSource
from ..labels.instances import MOST_CLASSES, InstanceSource, numbers_objects
from ..labels.label_files import LabelFiles
from ..labels.object_files import ObjectFilesSource
from ..labels.polygons import PolygonSource
from ..labels.run_order import require_written_order
from ..labels.run_source import RunSource
from ..labels.run_table import RunTable
from ..labels.scheme import Classes, Palette
from ..labels.soft_masks import HALF, SoftMaskSource, are_soft_masks
from ..labels.values import UNKNOWN_CLASS, StackedSource, unresampled
from .folders import LabelPlace, files_by_stem, matched
from .image_opening import placed_label
from .specification import DataSpec

POLYGON_SUFFIXES = (".geojson", ".json")
# Folders and classes that a message lists.
SHOWN_NAMES = 5

# From the name of an image and the image to its label.
OpenLabel = Callable[[str, Source], Source]
# Gets images by name, labels by name and the place of the labels; may refuse what has no counterpart.
CheckNames = Callable[[Mapping[str, Path], Mapping[str, Path], Path], None]


class LabelOpener:
    """Opens the label of each image of a data set.

    Labels of an image that is read at a coarser level are those of the full image at the middle of each pixel.

    Args:
        open_full: Opens labels of the full resolution, polygons of the image's.
        bands: Names of the labels' bands; `None` if the labels are images whose values say the class.
        instances: Whether labels number objects.
        found: Returns what was found out while labels were opened, one line each.
    """

    def __init__(
        self,
        open_full: OpenLabel,
        bands: list[str] | None,
        instances: bool = False,
        found: Callable[[], list[str]] = list,
    ) -> None:
        self._open_full, self.bands, self._instances, self._found = open_full, bands, instances, found

    @property
    def remarks(self) -> list[str]:
        """What the user should know of the labels that were opened so far, one line each."""
        return self._found()

    def __call__(self, name: str, image: Source) -> Source:
        """Returns the label of an image.

        Raises:
            OSError: If it cannot be read.
            LabelError: If it cannot belong to the image.
        """
        stored = image.own or image
        label = self._open_full(name, stored)
        full = stored.levels[0][0]
        if sorted(label.shape) in (sorted(full), sorted(stored.shape)):
            label = placed_label(label, stored)
        if label.shape == full != stored.shape:
            label = ResampledSource(label, stored.shape, nearest=True)
        elif label.shape != stored.shape:
            label = on_grid_of(label, stored)
        if label.shape == stored.shape:
            label = like_image(label, image, is_instances=self._instances)
        return InstanceSource(label) if self._instances else label


def on_grid_of(label: Source, image: Source) -> Source:
    """Returns a label of another size on the grid of its image, if it shows the same place; else as it is.

    Predictions at a coarser level do. Without a word about its place a label must have the size of a level of its
    image.
    """
    turn = turn_of_coarser(label.frame, image.frame)
    if turn is not None:
        turned = label if turn.is_identity else TurnedSource(label, turn)
        return ResampledSource(turned, image.shape, nearest=True)
    frame = label.frame
    says_nothing = (frame.steps() is None and frame.spacing is None) or not are_comparable(frame, image.frame)
    if says_nothing and label.shape in [shape for shape, _ in image.levels]:
        return ResampledSource(label, image.shape, nearest=True)
    return label


def label_opener(
    spec: DataSpec,
    labels: LabelPlace,
    images: Mapping[str, Path],
    spatial_dims: int,
    check: CheckNames | None = None,
    palette: Palette = (),
) -> LabelOpener:
    """Returns what opens the labels of a data set.

    Args:
        spec: The data set.
        labels: Folder or file of the labels, or a folder for each class.
        images: Files of the images by name.
        spatial_dims: Number of spatial axes, 2 or 3.
        check: Looks at the names of images and labels; by default each must have a counterpart.
        palette: What label values look like in the labels that a run was trained on.

    Raises:
        LabelError: If the labels are of a kind that the images cannot have.
        MissingFile: If an image or a label has no counterpart.
    """
    check = check or require_same_names
    if isinstance(labels, dict):
        return stacked_opener(spec, labels, images, spatial_dims, check)
    suffix = labels.suffix.lower()
    if spatial_dims != 2 and (suffix == ".csv" or suffix in POLYGON_SUFFIXES):
        raise LabelError(labels, "labels of volumes as volumes", labels.suffix)
    if suffix == ".csv":
        return table_opener(spec, labels, images, check)
    if not labels.is_dir() and suffix not in POLYGON_SUFFIXES:
        raise LabelError(
            labels, f"a folder of labels, or a file of type .csv {' '.join(POLYGON_SUFFIXES)}", "another file"
        )
    if suffix in POLYGON_SUFFIXES or any(file_suffix(file) in POLYGON_SUFFIXES for file in labels.iterdir()):
        return polygon_opener(spec, labels, images, check)
    if objects := object_folders(labels, images):
        return object_opener(objects, labels, images, check)
    require_label_files(labels)
    files = matched(images, files_by_stem(labels), spec.label_suffix)
    check(images, files, labels)
    bands = number_of_bands(spec.classes)
    opened = LabelFiles(files, spatial_dims, colors=spec.color_table, bands=bands, palette=palette)
    return LabelOpener(lambda name, _: opened.open(name), None, spec.instances, lambda: opened.remarks)


def stacked_opener(
    spec: DataSpec, labels: Mapping[str, Path], images: Mapping[str, Path], spatial_dims: int, check: CheckNames
) -> LabelOpener:
    """Returns what opens labels that have a folder per class."""
    folders = {name: matched(images, files_by_stem(folder), spec.label_suffix) for name, folder in labels.items()}
    for name, files in folders.items():
        wanted = images if spec.missing is None else {image: path for image, path in images.items() if image in files}
        check(wanted, files, labels[name])
    if spec.missing is not None:
        some = {image: path for files in folders.values() for image, path in files.items()}
        check(images, some, next(iter(labels.values())))
    opened = {name: LabelFiles(files, spatial_dims) for name, files in folders.items()}
    missing = UNKNOWN_CLASS if spec.missing == "ignore" else 0

    def open_full(name: str, image: Source) -> Source:
        sources = [opened[label].open(name) if name in files else None for label, files in folders.items()]
        return StackedSource(laid_together(sources, image), missing)

    return LabelOpener(
        open_full, list(folders), spec.instances, lambda: [line for files in opened.values() for line in files.remarks]
    )


def laid_together(sources: Sequence[Source | None], image: Source) -> list[Source | None]:
    """Returns the labels of one image with its axes, where they have its size, and with those of the first of them.

    Args:
        sources: The labels; `None` of one that is missing.
        image: The image on the grid of its file.

    Raises:
        LabelError: If one lies elsewhere.
    """
    shapes = [sorted(shape) for shape in (image.shape, image.levels[0][0])]
    laid: list[Source | None] = []
    first: Source | None = None
    for source in sources:
        if source is not None and sorted(source.shape) in shapes:
            source = placed_label(source, image)
        if source is not None and first is not None and sorted(source.shape) == sorted(first.shape):
            source = placed_label(source, first)
        first = first or source
        laid.append(source)
    return laid


def table_opener(spec: DataSpec, labels: Path, images: Mapping[str, Path], check: CheckNames) -> LabelOpener:
    """Returns what opens the labels of a run-length CSV, which may have rows of other images."""
    classes = None if spec.classes is None else list(spec.classes)
    table = RunTable(labels, classes=classes, dialect=spec.dialect)
    names = matched(images, {name: name for name in table.images})
    if spec.missing == "empty":
        names = dict(zip(images, images, strict=True)) | names
    check(images, {name: labels for name in names if name in images}, labels)
    bands = table.class_names or ["foreground"]
    return LabelOpener(lambda name, image: table.open(names[name], image.levels[0][0]), bands, spec.instances)


def polygon_opener(spec: DataSpec, labels: Path, images: Mapping[str, Path], check: CheckNames) -> LabelOpener:
    """Returns what opens polygons, of a file per image or of one for all of them."""
    classes = None if spec.classes is None else list(spec.classes)
    several = labels.is_dir()
    files = dict.fromkeys(images, labels)
    if several:
        files = matched(images, files_by_stem(labels, POLYGON_SUFFIXES), spec.label_suffix)
    check(images, files, labels)
    if spec.class_property and not classes:
        raise OptionError("classes", f"the values of {spec.class_property} in a list", "none")
    left_out: Counter[str] = Counter()
    joined: dict[str, set[str]] = {}

    def open_full(name: str, image: Source) -> Source:
        source = PolygonSource(
            files[name], image, class_property=spec.class_property, classes=classes, crs=spec.crs, width=spec.width
        )
        for own, names in source.joined.items():
            joined.setdefault(own, set()).update(names)
        if several:
            left_out.update(source.left_out)
            source.require_touching()
        else:
            left_out.update({kind: max(0, number - left_out[kind]) for kind, number in source.left_out.items()})
        return source

    def remarks() -> list[str]:
        found = [f"left out: {number} {kind}" for kind, number in left_out.items()]
        for own, names in joined.items():
            if 1 < len(names) <= MOST_CLASSES:
                classes = ", ".join(sorted(names)[:SHOWN_NAMES])
                found.append(f"the classes {classes} are read as one; `class_property: {own}` tells them apart")
        return found

    return LabelOpener(open_full, classes or ["foreground"], spec.instances, remarks)


def settled_labels(
    spec: DataSpec, labels: Sequence[Source], bands: Sequence[str] | None
) -> tuple[list[Source], list[str]]:
    """Returns the labels of a data set after a look at all of them, and what was found out, one line each.

    Labels that number objects, though nobody said so, are read as such.

    Raises:
        LabelError: If outlines lie beside all images, or runs were written in another order than they are read.
    """
    if "column_major" not in (spec.rle or {}):
        require_written_order([source for label in labels if isinstance(source := unresampled(label), RunSource)])
    outlines = [source for label in labels if isinstance(source := unresampled(label), PolygonSource)]
    if outlines and any(source.areas for source in outlines) and not any(source.touches for source in outlines):
        next(source for source in outlines if source.areas).require_touching()
    plain = spec.task in (None, "binary") and not isinstance(spec.classes, Mapping) and len(spec.classes or ()) < 2
    declared = spec.instances or spec.ignore or spec.colors or bands is not None or not plain
    if declared:
        return list(labels), []
    if are_soft_masks(labels):
        remark = f"black, white and greys of soft edges: from {HALF} on they are the class"
        return [SoftMaskSource(label) for label in labels], [remark]
    if not numbers_objects(labels):
        return list(labels), []
    remark = "values number objects: all above 0 are one class; declare `task: multiclass` if they are class ids"
    return [InstanceSource(label) for label in labels], [remark]


def declared_classes(spec: DataSpec) -> Classes | None:
    """Returns the classes of labels whose values say the class, as far as they are declared."""
    table = spec.color_table
    return spec.classes if table is None else dict(zip(table.names, table.values, strict=True))


def number_of_bands(classes: Classes | None) -> int | None:
    """Returns how many bands classes were declared for, if that can be meant."""
    if classes is None or not isinstance(classes, Mapping):
        return None if classes is None else len(classes)
    bands = list(classes.values())
    return (
        len(bands) if len(bands) > 2 and sorted(map(str, bands)) == sorted(map(str, range(1, len(bands) + 1))) else None
    )


def object_folders(folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Returns the folders with the files of the objects of each image, by its name; nothing if labels lie otherwise."""
    parts = [part for part in folder.iterdir() if not is_hidden(part) and not holds_slices(part)]
    folders = matched(images, {part.name: part for part in parts if part.is_dir()})
    return folders if folders.keys() & images.keys() and not any(map(is_image, parts)) else {}


def object_opener(
    folders: Mapping[str, Path], labels: Path, images: Mapping[str, Path], check: CheckNames
) -> LabelOpener:
    """Returns what opens labels that have a folder per image, with a file for each object."""
    check(images, folders, labels)

    def open_full(name: str, image: Source) -> Source:
        files = [file for file in sorted(folders[name].iterdir()) if is_image(file)]
        return ObjectFilesSource(folders[name], files, image.levels[0][0])

    return LabelOpener(open_full, None, True, lambda: ["folders of images hold a file for each object"])


def require_label_files(folder: Path) -> None:
    """Refuses a folder of labels that holds nothing but folders.

    Raises:
        MissingFile: If it does.
    """
    folders = [part.name for part in sorted(folder.iterdir()) if part.is_dir() and not holds_slices(part)]
    if folders and not any(map(is_image, folder.iterdir())):
        first = folders[0]
        expected = f"label files, or `labels` with a folder for each class, such as {{{first}: {folder.name}/{first}}}"
        raise MissingFile(folder, expected, f"folders alone, {', '.join(folders[:SHOWN_NAMES])}")


def require_same_names(images: Mapping[str, Path], labels: Mapping[str, Path], place: Path) -> None:
    """Refuses an image without label and a label without image.

    Raises:
        MissingFile: If a counterpart is missing.
    """
    hint = other_names(images, labels, place)
    for stem in sorted(images.keys() ^ labels.keys()):
        have, want = (images, place) if stem in images else (labels, next(iter(images.values())).parent)
        raise MissingFile(have[stem], f"a counterpart of the same name in {want}{hint}", "none")


def other_names(images: Mapping[str, Path], labels: Mapping[str, Path], place: Path) -> str:
    """Returns what an error says of names without counterpart: how the specification could declare them."""
    if place.suffix.lower() == ".csv":
        return ", or `missing: empty` where images without a row show nothing"
    first, *others = images
    endings = [label.removeprefix(first) for label in labels if label.startswith(first)]
    ending = next((end for end in endings if end and all(f"{name}{end}" in labels for name in others)), None)
    return f", or `label_suffix: {ending}`, as labels are called" if ending else ""
