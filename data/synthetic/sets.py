"""Synthetic data sets on disk, in the formats that real ones come in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import ExistingFile, OptionError
from maskzoo.names import one_of

from ..labels.run_lengths import encode_rle, encode_windows
from ..windows import Window, window_grid
from ..writers.format_writer import WriterOptions
from ..writers.writer import open_writer
from .objects import SyntheticCase, synthetic_case, synthetic_cases
from .slides import SyntheticSlide

BLOCK = 512
STAIN = np.array([0.9, 0.6, 0.8], np.float32)

# Number of images, pixels per axis, number of classes; then what the specification says besides `path`.
KINDS = {
    "nuclei": (24, 256, 1, "task: binary\n"),
    "kidney": (3, 2048, 1, "labels: train.csv\ntask: binary\nclasses: [kidney]\n"),
    "xray": (24, 256, 1, "labels: train.csv\nrle: {relative: true}\ntask: binary\nclasses: [finding]\n"),
    "organs": (24, 256, 2, "labels: {organ: organ, lesion: lesion}\ntask: multilabel\n"),
    "clouds": (24, 256, 4, "labels: train.csv\ntask: multilabel\nclasses: [Fish, Flower, Gravel, Sugar]\n"),
    "volumes": (12, 64, 2, "labels: labels\ntask: multiclass\nclasses: [background, anterior, posterior]\n"),
    "tumour": (12, 64, 1, "labels: labels\ntask: binary\nclasses: [tumour]\n"),
}


def write_synthetic(
    kind: str, folder: str | os.PathLike[str], *, count: int | None = None, size: int | None = None, seed: int = 0
) -> Path:
    """Writes a data set with `spec.yaml`; the folder appears under its name when it is complete.

    Images of `kidney` are made, written and encoded block by block: no slide is ever in memory as a whole.

    Args:
        kind: `nuclei` (RGB PNG, masks), `kidney` (large tiled RGB TIFF, run-length CSV), `xray` (grey PNG, relative
            run-length CSV, a third of the masks empty), `organs` (RGB PNG, a folder of masks per class, which overlap),
            `clouds` (RGB PNG, run-length CSV with `image_Class`), `volumes` (NIfTI) or `tumour` (NIfTI of few slices,
            masks).
        folder: Folder to make; it must be empty or not exist yet.
        count: Number of images, at least 2.
        size: Pixels per axis.
        seed: The same seed makes the same images.

    Returns:
        Path of the specification.

    Raises:
        ExistingFile: If there is something in the folder.
        OptionError: If an argument is out of range.
        OSError: If the folder cannot be made.
    """
    if kind not in KINDS:
        raise OptionError("kind", one_of(kind, KINDS), kind)
    default_count, default_size, classes, keys = KINDS[kind]
    count = default_count if count is None else count
    size = default_size if size is None else size
    if count < 2:
        raise OptionError("count", "at least 2 images", count)
    if size < 32:
        raise OptionError("size", "at least 32 pixels", size)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExistingFile(folder, "a folder that is empty or does not exist", "one with content")
    unfinished = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.part")
    try:
        (unfinished / "images").mkdir(parents=True)
        if kind == "kidney":
            write_slides(unfinished, count, size, seed)
        else:
            shape = {"volumes": (size,) * 3, "tumour": (size, size, max(size // 4, 8))}.get(kind, (size, size))
            cases = synthetic_cases(len(shape), count, shape, seed, classes)
            WRITERS[kind](unfinished, with_empty(cases, seed) if kind == "xray" else cases)
        (unfinished / "spec.yaml").write_text(f"path: .\n{keys}", encoding="utf-8")
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "spec.yaml"


def with_empty(cases: Sequence[SyntheticCase], seed: int) -> list[SyntheticCase]:
    """Returns cases of which every third shows only distractors, with an empty mask."""
    others = {number: np.random.default_rng([seed, number]) for number in range(2, len(cases), 3)}
    return [
        (name, *synthetic_case(label.shape, others[number], 0)) if number in others else (name, image, label)
        for number, (name, image, label) in enumerate(cases)
    ]


def write_nuclei(folder: Path, cases: Sequence[SyntheticCase]) -> None:
    """Writes RGB images and masks."""
    for name, image, label in cases:
        write_array(folder / "images" / f"{name}.png", stained(image))
        write_array(folder / "masks" / f"{name}.png", label * 255)


def write_xrays(folder: Path, cases: Sequence[SyntheticCase]) -> None:
    """Writes grey images and relative run lengths."""
    for name, image, _ in cases:
        write_array(folder / "images" / f"{name}.png", image)
    rows = [f"{name},{encode_rle(label, relative=True)}\n" for name, _, label in cases]
    (folder / "train.csv").write_text("".join(["ImageId,EncodedPixels\n", *rows]), encoding="utf-8")


def write_organs(folder: Path, cases: Sequence[SyntheticCase]) -> None:
    """Writes RGB images and a folder of masks per class."""
    for name, image, label in cases:
        write_array(folder / "images" / f"{name}.png", stained(image))
        write_array(folder / "organ" / f"{name}.png", (label > 0).astype(np.uint8) * 255)
        write_array(folder / "lesion" / f"{name}.png", (label == 2).astype(np.uint8) * 255)


def write_clouds(folder: Path, cases: Sequence[SyntheticCase]) -> None:
    """Writes RGB images and run lengths per image and class."""
    rows = ["Image_Label,EncodedPixels\n"]
    for name, image, label in cases:
        write_array(folder / "images" / f"{name}.png", stained(image))
        for number, kind in enumerate(("Fish", "Flower", "Gravel", "Sugar"), 1):
            rows.append(f"{name}.png_{kind},{encode_rle(label == number)}\n")
    (folder / "train.csv").write_text("".join(rows), encoding="utf-8")


def write_volumes(folder: Path, cases: Sequence[SyntheticCase]) -> None:
    """Writes volumes and label volumes."""
    for name, image, label in cases:
        write_array(folder / "images" / f"{name}.nii.gz", image)
        write_array(folder / "labels" / f"{name}.nii.gz", label)


WRITERS: dict[str, Callable[[Path, Sequence[SyntheticCase]], None]] = {
    "nuclei": write_nuclei,
    "xray": write_xrays,
    "organs": write_organs,
    "clouds": write_clouds,
    "volumes": write_volumes,
    "tumour": write_volumes,
}


def write_slides(folder: Path, count: int, size: int, seed: int) -> None:
    """Writes slides and run lengths, block by block."""
    shape = (size, size)
    with open(folder / "train.csv", "w", encoding="utf-8") as table:
        table.write("id,encoding\n")
        for number in range(count):
            slide = SyntheticSlide(size, [seed, number])
            path = folder / "images" / f"slide-{number:02}.tif"
            with open_writer(path, shape, WriterOptions(bands=3)) as writer:
                for window in window_grid(shape, BLOCK):
                    writer.write(window, slide.image(window))
            table.write(f"slide-{number:02},")
            table.writelines(encode_windows(slide.mask, shape, pixels=1 << 21))
            table.write("\n")


def stained(image: np.ndarray) -> np.ndarray:
    """Returns a grey image `(rows, columns, 1)` in the colour of a stain, `(rows, columns, 3)`."""
    return (image * STAIN).astype(np.uint8)


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes an image or label, `(*spatial)` or `(*spatial, channels)`, and the folder that it lies in."""
    spatial_dims = 3 if path.name.endswith(".nii.gz") else 2
    array = array if array.ndim > spatial_dims else array[..., None]
    path.parent.mkdir(exist_ok=True)
    options = WriterOptions(bands=array.shape[-1], dtype=array.dtype, colors=())
    with open_writer(path, array.shape[:-1], options) as writer:
        writer.write(Window((0,) * spatial_dims, array.shape[:-1]), array)
