"""What predictions are written as: class ids, probabilities, run-length tables, outlines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.files import written_atomically

from .. import data, metrics
from ..postprocessing import Cleaning
from .options import DEFAULT_OUTPUT, OutputOptions

OUTPUT_SUFFIXES = (*data.WRITER_SUFFIXES, ".csv", ".geojson")

# From a window and the number of a band to the values in the window, an array of its size.
ReadBand = Callable[[data.Window, int], np.ndarray]
# From a window to where a class is, an array of its size.
ReadMask = Callable[[data.Window], np.ndarray]


@dataclass(frozen=True)
class Result:
    """The values of one output.

    Attributes:
        task: Task of the run.
        class_names: Its classes.
        thresholds: Its thresholds.
        probabilities: `None` for class ids, else the type of the probabilities.
    """

    task: str
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...]
    probabilities: str | None = None

    @property
    def bands(self) -> int:
        """Values per pixel."""
        return len(self.class_names) if self.probabilities or self.task == "multilabel" else 1

    @property
    def dtype(self) -> str:
        """Their type."""
        return self.probabilities or "uint8"

    def values(self, logits: np.ndarray) -> np.ndarray:
        """Returns the values `(*size, bands)` of logits; 8-bit probabilities are rounded to the nearest 255th."""
        one = (slice(1),) * (logits.ndim - 1)
        if logits.size > logits[one].size and not any(logits.strides[:-1]):  # one pixel, everywhere
            return np.broadcast_to(self.values(logits[one]), (*logits.shape[:-1], self.bands))
        if self.probabilities is None:
            labels = metrics.predicted_labels(logits, self.task, self.thresholds)
            return labels.reshape(*logits.shape[:-1], self.bands)
        scores = metrics.probabilities(logits, self.task)
        return np.rint(255 * scores).astype(np.uint8) if self.probabilities == "uint8" else scores

    def background(self) -> np.ndarray:
        """Returns the logits `(classes,)` of a pixel that shows none of the classes, beyond any doubt."""
        logits = np.full(len(self.class_names), -100, np.float32)
        if self.task == "multiclass":
            logits[0] = 100
        return logits

    def masks(self, read: ReadBand) -> Iterator[tuple[str, ReadMask]]:
        """Yields the name of every class but the background, and a function from a window to its mask."""
        if self.task == "multiclass":
            for number, name in enumerate(self.class_names[1:], 1):
                yield name, lambda window, number=number: read(window, 0) == number
        else:
            for band, name in enumerate(self.class_names):
                yield name, lambda window, band=band: read(window, band) != 0


def check_output(output: Path, spatial_dims: int, options: OutputOptions = DEFAULT_OUTPUT) -> None:
    """Refuses an output whose format cannot hold what is asked for.

    Raises:
        OptionError: If its suffix is unknown, or does not go with the rest.
    """
    suffix = data.file_suffix(output)
    if suffix not in OUTPUT_SUFFIXES:
        raise OptionError("output", f"a file name that ends in {', '.join(OUTPUT_SUFFIXES)}", output)
    if suffix in (".csv", ".geojson"):
        if options.probabilities:
            raise OptionError("probabilities", "an output of pixels, such as .tif", suffix)
        if spatial_dims != 2:
            raise OptionError("output", f"an image with 2 axes for {suffix}", f"a run for {spatial_dims}")
    if options.cog and suffix not in (".tif", ".tiff"):
        raise OptionError("cog", "an output that ends in .tif", output)


def write_result(result: Result, read: ReadBand, source: data.Source, output: Path, *, cog: bool = False) -> None:
    """Writes an output from finished values; it appears under its name when it is complete, with the same bytes always.

    Args:
        result: The kind of values.
        read: Function from a `data.Window` and the number of a band to the values.
        source: The image.
        output: Path; its suffix says the format.
        cog: Make a TIFF a cloud-optimised one.

    Raises:
        OSError: If it cannot be written.
    """
    suffix = data.file_suffix(output)
    unfinished = output.with_name(f".{output.name}.unfinished{suffix}")
    if suffix in (".csv", ".geojson"):
        write = write_runs if suffix == ".csv" else write_outlines
        with written_atomically(output, unfinished) as path, open(path, "w", encoding="utf-8", newline="\n") as file:
            write(file, result, read, source)
        return
    options = data.WriterOptions(
        bands=result.bands,
        dtype=result.dtype,
        like=source,
        class_names=result.class_names if result.bands > 1 or result.probabilities is None else None,
        # 8-bit probabilities are grey, not class ids.
        colors=[] if result.probabilities else None,
        cog=cog,
    )
    with data.open_writer(output, source.shape, options, unfinished=unfinished) as writer:
        writer.fill(read)


@contextmanager
def cleaned(
    read: ReadBand,
    result: Result,
    shape: tuple[int, ...],
    cleaning: Cleaning | None,
    output: Path,
    absent: Sequence[int] = (),
) -> Iterator[ReadBand]:
    """Gives a function like `read` to the values after post-processing, which lie in a scratch file meanwhile.

    Args:
        read: As in `write_result`.
        result: The kind of values.
        shape: Spatial sizes.
        cleaning: What is done to the masks.
        output: Path of the output, beside which the scratch file lies.
        absent: Numbers of classes that are left out.
    """

    def present(window: data.Window, band: int) -> np.ndarray:
        return without_classes(read(window, band), absent, result.task, band)

    if not cleaning:
        yield present
        return
    from ..postprocessing import clean_labels, strip_height

    height, rest = strip_height(shape), tuple(shape[1:])

    def rows(first: int, last: int) -> np.ndarray:
        window = data.Window((first, *(0,) * len(rest)), (last - first, *rest))
        bands = [present(window, band) for band in range(result.bands)]
        return bands[0] if result.task == "multiclass" else np.stack(bands, axis=-1)

    clean = clean_labels(rows, shape, cleaning, result.task)
    scratch = output.with_name(f".{output.name}.cleaned")
    try:
        with open(scratch, "wb") as file:
            for first in range(0, shape[0], height):
                file.write(np.ascontiguousarray(clean(first, min(first + height, shape[0]))).data)
        values = np.memmap(scratch, np.uint8, "r", shape=(*shape, result.bands))
        yield lambda window, band: np.array(values[(*window.slices, band)])
    finally:
        scratch.unlink(missing_ok=True)


def without_classes(values: np.ndarray, absent: Sequence[int], task: str, band: int | None = None) -> np.ndarray:
    """Returns labels without some classes.

    Args:
        values: A class map `(*size)`; one band of a mask `(*size)`; or all bands `(*size, classes)`.
        absent: Numbers of the classes.
        task: `binary`, `multilabel` or `multiclass`.
        band: Number of the band, if the values are those of one.
    """
    if not absent:
        return values
    if task == "multiclass":
        return np.where(np.isin(values, absent), 0, values).astype(values.dtype)
    if band is not None:
        return np.zeros_like(values) if band in absent else values
    values = values.copy()
    values[..., list(absent)] = 0
    return values


def write_runs(file: TextIO, result: Result, read: ReadBand, source: data.Source) -> None:
    """Writes a row of runs per class: absolute starts, the first pixel 1, down the columns."""
    masks = list(result.masks(read))
    several = len(masks) > 1
    file.write("ImageId,ClassId,EncodedPixels\n" if several else "ImageId,EncodedPixels\n")
    for name, mask in masks:
        file.write(cell(data.file_stem(source.name)) + ("," + cell(name) if several else "") + ",")
        file.writelines(data.encode_windows(mask, source.shape))
        file.write("\n")


def cell(text: str) -> str:
    """A cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def write_outlines(file: TextIO, result: Result, read: ReadBand, source: data.Source) -> None:
    """Writes a GeoJSON polygon per connected area, in the image's coordinate system, or in pixels where it has none."""
    crs, transform = source.frame.crs, source.frame.transform
    file.write('{"type": "FeatureCollection",\n')
    if crs is not None:
        file.write(f'"crs": {json.dumps({"type": "name", "properties": {"name": crs.to_string()}})},\n')
    file.write('"features": [')
    separator = "\n"
    for name, mask in result.masks(read):
        for _, pixels, rings in data.trace_outlines(
            lambda window, mask=mask: mask(window).view(np.uint8), source.shape
        ):
            if crs is not None and transform is not None:
                a, b, c, d, e, f = transform[:6]
                rings = [ring @ np.array([[a, d], [b, e]]) + [c, f] for ring in rings]
            feature = {
                "type": "Feature",
                "properties": {"classification": {"name": name}, "pixels": pixels},
                "geometry": {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]},
            }
            file.write(separator + json.dumps(feature))
            separator = ",\n"
    file.write("\n]}\n")
