"""What predictions are written as: class ids, probabilities, run-length tables, outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskzoo.errors import ImageError, OptionError
from maskzoo.files import written_atomically

from .. import data, metrics
from ..postprocessing import Cleaning
from .missing_pixels import MISSING, missing_value, with_missing
from .options import DEFAULT_OUTPUT, OutputOptions
from .run_files import RunData
from .vector_results import Masks, ReadMask, write_outlines, write_runs

TEXT_SUFFIXES = (".csv", ".geojson")
OUTPUT_SUFFIXES = (*data.WRITER_SUFFIXES, *TEXT_SUFFIXES)
MOST_PNG_BANDS = 4

# From a window and the number of a band to the values in the window, an array of its size.
ReadBand = Callable[[data.Window, int], np.ndarray]


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

    def masks(self, read: ReadBand) -> Masks:
        """Returns the name of every class but the background, and a function from a window to its mask."""

        def mask(number: int) -> ReadMask:
            if self.task == "multiclass":
                return lambda window: read(window, 0) == number
            return lambda window: read(window, number) != 0

        first = 1 if self.task == "multiclass" else 0
        return [(name, mask(number)) for number, name in enumerate(self.class_names[first:], first)]


def check_output(output: Path, described: RunData, options: OutputOptions = DEFAULT_OUTPUT) -> None:
    """Refuses an output whose format cannot hold what is asked for, and options that it would leave unused.

    Args:
        output: Path of the output.
        described: Task, classes and number of axes of the run.
        options: What is written.

    Raises:
        OptionError: If its suffix is unknown, or does not go with the rest.
    """
    suffix = data.file_suffix(output)
    result = Result(described.task, described.class_names, (), options.probabilities)
    if suffix not in OUTPUT_SUFFIXES:
        raise OptionError("output", f"a file name that ends in {', '.join(OUTPUT_SUFFIXES)}", output)
    if suffix not in (".nii", ".nii.gz", ".npy") and described.spatial_dims != 2:
        raise OptionError("output", f"an image with 2 axes for {suffix}", f"a run for {described.spatial_dims}")
    if suffix in TEXT_SUFFIXES:
        if options.probabilities:
            raise OptionError("probabilities", "an output of pixels, such as .tif", suffix)
        if options.full_size:
            raise OptionError("full_size", f"an output of pixels; {suffix} always is at full resolution", output)
    if suffix == ".png" and (result.dtype not in ("uint8", "uint16") or result.bands > MOST_PNG_BANDS):
        expected = f"up to {MOST_PNG_BANDS} bands of uint8 in a .png, or another format such as .tif"
        raise OptionError("output", expected, f"{result.bands} of {result.dtype}")
    if result.task == "multiclass" and not result.probabilities and len(result.class_names) > MISSING:
        expected = f"`probabilities`, as class ids are bytes, for a run of more than {MISSING} classes"
        raise OptionError("output", expected, f"{len(result.class_names)} classes")
    if options.cog and suffix not in (".tif", ".tiff"):
        raise OptionError("cog", "an output that ends in .tif", output)
    if options.full_size and options.probabilities:
        raise OptionError("full_size", "class ids", f"`probabilities` {options.probabilities}")
    if options.rle_dialect is not None:
        if suffix != ".csv":
            raise OptionError("rle_dialect", "an output that ends in .csv", output)
        classes = described.class_names[1 if described.task == "multiclass" else 0 :]
        if not data.TABLE_DIALECTS[options.rle_dialect].class_in_id and len(classes) > 1:
            expected = f"a run of one class, as {options.rle_dialect} has a row per image"
            raise OptionError("rle_dialect", expected, ", ".join(classes))


def check_place(source: data.Source, output: Path) -> None:
    """Refuses outlines of an image whose place no transform says: their coordinates would be wrong in silence.

    Raises:
        ImageError: If only control points or polynomials say where it lies.
    """
    if data.file_suffix(output) == ".geojson" and source.frame.has_only_nonlinear_place:
        points = "control points, which no affine transform meets within a quarter of a pixel"
        received = points if source.frame.control_points else "rational polynomials (RPC)"
        raise ImageError(source.name, "an image with a transform, for outlines, or an output such as .tif", received)


def write_result(
    result: Result, read: ReadBand, source: data.Source, output: Path, options: OutputOptions = DEFAULT_OUTPUT
) -> None:
    """Writes an output from finished values; it appears under its name when it is complete, with the same bytes always.

    Args:
        result: The kind of values.
        read: Function from a `data.Window` and the number of a band to the values.
        source: The image.
        output: Path; its suffix says the format.
        options: What is written.

    Raises:
        OSError: If it cannot be written.
    """
    suffix = data.file_suffix(output)
    unfinished = output.with_name(f".{output.name}.unfinished{suffix}")
    if suffix in TEXT_SUFFIXES:
        with written_atomically(output, unfinished) as path, open(path, "w", encoding="utf-8", newline="\n") as file:
            if suffix == ".csv":
                write_runs(file, result.masks(read), source, options.rle_dialect)
            else:
                write_outlines(file, result.masks(read), source)
        return
    like = source
    if options.full_size and (full := source.frame.full.shape) != source.shape:
        like, read = data.ResampledSource(source, full, nearest=True), enlarged(read, source.shape, full)
    missing = missing_value(result.probabilities) if suffix in (".tif", ".tiff") and data.lacks_pixels(like) else None
    if missing is not None:
        read = with_missing(read, like, missing)
    writing = data.WriterOptions(
        bands=result.bands,
        dtype=result.dtype,
        like=like,
        class_names=result.class_names if result.bands > 1 or result.probabilities is None else None,
        # 8-bit probabilities are grey, not class ids.
        colors=[] if result.probabilities else None,
        cog=options.cog,
        nodata=missing,
    )
    with data.open_writer(output, like.shape, writing, unfinished=unfinished) as writer:
        writer.fill(read)


def enlarged(read: ReadBand, shape: tuple[int, ...], full: tuple[int, ...]) -> ReadBand:
    """A function like `read` to the values at the full resolution, each repeated for the pixels that it stands for."""
    return lambda window, band: data.nearest(lambda part: read(part, band), shape, full, window)


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
