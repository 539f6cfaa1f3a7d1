"""What predictions are written as: class ids, probabilities, run-length tables, outlines."""

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import data, metrics
from .gate import without

OUTPUT_SUFFIXES = (*data.SINK_SUFFIXES, ".csv", ".geojson")
PROBABILITIES = ("uint8", "float32")


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
    def bands(self):
        return len(self.class_names) if self.probabilities or self.task == "multilabel" else 1

    @property
    def dtype(self):
        return self.probabilities or "uint8"

    def values(self, logits):
        """The values `(*size, bands)` of logits; 8-bit probabilities are rounded to the nearest 255th."""
        one = (slice(1),) * (logits.ndim - 1)
        if logits.size > logits[one].size and not any(logits.strides[:-1]):  # one pixel, everywhere
            return np.broadcast_to(self.values(logits[one]), (*logits.shape[:-1], self.bands))
        if self.probabilities is None:
            labels = metrics.predicted_labels(logits, self.task, self.thresholds)
            return labels.reshape(*logits.shape[:-1], self.bands)
        scores = metrics.probabilities(logits, self.task)
        return np.rint(255 * scores).astype(np.uint8) if self.probabilities == "uint8" else scores

    def background(self):
        """Logits of a pixel that shows none of the classes, beyond any doubt."""
        logits = np.full(len(self.class_names), -100, np.float32)
        if self.task == "multiclass":
            logits[0] = 100
        return logits

    def masks(self, read):
        """The name of every class but the background, and a function from a window to its mask."""
        if self.task == "multiclass":
            for number, name in enumerate(self.class_names[1:], 1):
                yield name, lambda window, number=number: read(window, 0) == number
        else:
            for band, name in enumerate(self.class_names):
                yield name, lambda window, band=band: read(window, band) != 0


def check_output(output, spatial_dims, probabilities=None, cog=False):
    """Refuses an output whose format cannot hold what is asked for.

    Raises:
        ValueError: If its suffix is unknown, or does not go with the rest.
    """
    suffix = data.file_suffix(output)
    if suffix not in OUTPUT_SUFFIXES:
        raise ValueError(f"output: expected a file name that ends in {', '.join(OUTPUT_SUFFIXES)}; received {output}")
    if suffix in (".csv", ".geojson"):
        if probabilities:
            raise ValueError(f"--probabilities: expected an output of pixels, such as .tif; received {suffix}")
        if spatial_dims != 2:
            raise ValueError(f"output: expected an image with 2 axes for {suffix}; received a run for {spatial_dims}")
    if cog and suffix not in (".tif", ".tiff"):
        raise ValueError(f"--cog: expected an output that ends in .tif; received {output}")


def write_result(result, read, source, output, *, cog=False):
    """Writes an output from finished values; it appears under its name when it is complete, with the same bytes always.

    Args:
        result: `Result`.
        read: Function from a `data.Window` and the number of a band to the values.
        source: The image.
        output: Path; its suffix says the format.
        cog: Make a TIFF a cloud-optimised one.

    Raises:
        OSError: If it cannot be written.
    """
    output = Path(output)
    suffix = data.file_suffix(output)
    unfinished = output.with_name(f".{output.name}.unfinished{suffix}")
    if suffix == ".csv":
        with appearing(output, unfinished) as file:
            write_runs(file, result, read, source)
    elif suffix == ".geojson":
        with appearing(output, unfinished) as file:
            write_outlines(file, result, read, source)
    else:
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
def cleaned(read, result, shape, cleaning, output, absent=()):
    """A function like `read` to the values after post-processing, which lie in a scratch file meanwhile.

    Args:
        read: As in `write_result`.
        result: `Result`.
        shape: Spatial sizes.
        cleaning: `Cleaning`, or `None`.
        output: Path of the output, beside which the scratch file lies.
        absent: Numbers of classes that are left out.
    """

    def present(window, band):
        return without(read(window, band), absent, result.task, band)

    if not cleaning:
        yield present
        return
    from ..postprocessing.cleaning import clean_labels, strip_height

    height, rest = strip_height(shape), tuple(shape[1:])

    def rows(first, last):
        window = data.Window((first, *(0,) * len(rest)), (last - first, *rest))
        bands = [present(window, band) for band in range(result.bands)]
        return bands[0] if result.task == "multiclass" else np.stack(bands, axis=-1)

    clean = clean_labels(rows, shape, cleaning, result.task)
    scratch = output.with_name(f".{output.name}.cleaned")
    try:
        with open(scratch, "wb") as file:
            for first in range(0, shape[0], height):
                file.write(np.ascontiguousarray(clean(first, min(first + height, shape[0]))))
        values = np.memmap(scratch, np.uint8, "r", shape=(*shape, result.bands))
        yield lambda window, band: np.array(values[(*window.slices, band)])
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def appearing(path, unfinished):
    """A text file that gets its name when it is complete."""
    try:
        with open(unfinished, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_runs(file, result, read, source):
    """Writes a row of runs per class: absolute starts, the first pixel 1, down the columns."""
    masks = list(result.masks(read))
    several = len(masks) > 1
    file.write("ImageId,ClassId,EncodedPixels\n" if several else "ImageId,EncodedPixels\n")
    for name, mask in masks:
        file.write(cell(data.file_stem(source.name)) + ("," + cell(name) if several else "") + ",")
        file.writelines(data.encode_windows(mask, source.shape))
        file.write("\n")


def cell(text):
    """A cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def write_outlines(file, result, read, source):
    """Writes a GeoJSON polygon per connected area, in the image's coordinate system, or in pixels where it has none."""
    located = source.frame if source.frame.crs else None
    file.write('{"type": "FeatureCollection",\n')
    if located:
        name = located.crs.to_string()
        file.write(f'"crs": {json.dumps({"type": "name", "properties": {"name": name}})},\n')
    file.write('"features": [')
    separator = "\n"
    for name, mask in result.masks(read):
        for _, pixels, rings in data.trace_outlines(
            lambda window, mask=mask: mask(window).view(np.uint8), source.shape
        ):
            if located:
                a, b, c, d, e, f = located.transform[:6]
                rings = [ring @ [[a, d], [b, e]] + [c, f] for ring in rings]
            feature = {
                "type": "Feature",
                "properties": {"classification": {"name": name}, "pixels": pixels},
                "geometry": {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]},
            }
            file.write(separator + json.dumps(feature))
            separator = ",\n"
    file.write("\n]}\n")
