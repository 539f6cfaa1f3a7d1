"""Whether an exported model answers as the run that it was made of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from maskzoo.errors import RunError

from .. import data, metrics
from ..data.images.source import Source
from ..inference.options import TileOptions
from ..inference.predictor import Predictor
from ..inference.results import Result
from ..inference.run import Run
from ..inference.tiles import of_image, predict_tiles
from ..models import analysis
from .formats import BundleCall

# Largest difference of probabilities; labels may differ only where both are this close to a threshold.
TOLERANCE = 1e-4
# Spatial sizes on which a bundle is compared with `predict`, and a network without its surroundings with itself.
COMPARED_SIZES = {2: ((64, 64), (131, 97), (200, 256)), 3: ((16, 16, 16), (21, 32, 17), (32, 24, 40))}
NETWORK_SIZES = {2: (64, 160), 3: (16, 40)}
# A bundle takes an image in one piece; so must `predict` in the comparison, whatever its memory.
COMPARING_MEMORY = 1 << 40


@dataclass(frozen=True)
class ParityRow:
    """How a bundle's answer to one image compares with that of `predict`.

    Attributes:
        size: Spatial sizes of the image.
        pixels: Number of values of the mask.
        different_pixels: Number of those that differ; all of them lie within the tolerance of a threshold.
        largest_difference: Of probabilities.
    """

    size: tuple[int, ...]
    pixels: int
    different_pixels: int
    largest_difference: float


def parity_images(run: Predictor, dtype: str | None, size: Sequence[int] | None) -> tuple[str, list[np.ndarray]]:
    """Pixels to compare on: windows of the images that the run held out; noise where those cannot be read.

    Args:
        run: A run, or an ensemble of runs.
        dtype: The type that they are to have, `None` for their own.
        size: Their spatial sizes, `None` for several.

    Returns:
        What they are, in words, and arrays `(*size, channels)`.
    """
    first = run.members[0]
    sizes = COMPARED_SIZES[run.data.spatial_dims] if size is None else (tuple(size),)
    rng = np.random.default_rng(0)
    origin, images = "windows of the run's validation images", held_out_windows(first, sizes, rng)
    if images is None:
        images = [rng.integers(0, 256, (*size, run.data.channels)).astype(dtype or "uint8") for size in sizes]
        origin = "noise: the run's validation images cannot be read"
    if dtype is not None:
        images = [image.astype(dtype) for image in images]
    return origin, images


def held_out_windows(run: Run, sizes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray] | None:
    """Windows of images that a run held out, one of each size; `None` where they cannot be read."""
    if not run.data.labels:
        return None
    images = []
    try:
        cases = data.labelled_cases(run.data.as_mapping())
        for index, size in enumerate(sizes):
            image = cases[index % len(cases)].image
            offset = tuple(int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(image.shape, size, strict=True))
            images.append(image.read(data.Window(offset, size)))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return images


def compare_bundle(
    run: Predictor, call: BundleCall, images: Sequence[np.ndarray], tolerance: float, name: Path
) -> list[ParityRow]:
    """Compares a bundle with `predict`, which is given each image in one piece.

    Args:
        run: A run, or an ensemble of runs.
        call: The bundle.
        images: Arrays `(*size, channels)`.
        tolerance: Largest difference of probabilities.
        name: The bundle's folder, for messages.

    Raises:
        RunError: Probabilities differ by more than the tolerance, or masks differ elsewhere than at a threshold.
    """
    rows = []
    for image in images:
        source = data.open_source(image, spatial_dims=image.ndim - 1)
        expected_mask, expected = predict_whole(run, source)
        mask, received = (np.asarray(output)[0] for output in call(image[None]))
        size = " x ".join(map(str, source.shape))
        if mask.shape != expected_mask.shape or received.shape != expected.shape or mask.dtype != np.uint8:
            raise RunError(name, f"a mask of {expected_mask.shape} uint8 at {size}", f"{mask.shape} {mask.dtype}")
        difference = float(np.abs(received - expected).max())
        if not difference <= tolerance:
            within = f"probabilities within {tolerance:.0e} of those of predict at {size}"
            raise RunError(name, within, f"a difference of {difference:.1e}")
        different = mask != expected_mask
        if (different & ~near_threshold(expected, run, tolerance)).any():
            count = int(different.sum())
            raise RunError(name, f"the mask of predict at {size}", f"one that differs in {count} of {mask.size} pixels")
        rows.append(ParityRow(tuple(source.shape), int(different.size), int(different.sum()), difference))
    return rows


def predict_whole(run: Predictor, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """The mask and the probabilities `(*size, classes)` that `predict` gives an image that it takes in one piece."""
    one_piece = any(analysis.geometry(one.model).is_global for one in run.members)
    tile = max(source.shape) if one_piece else None
    plan = run.plan(source, TileOptions(seam_tolerance=0, tile=tile, memory=COMPARING_MEMORY))
    task, names = run.data.task, run.data.class_names
    logits = np.empty((*source.shape, len(names)), np.float32)
    for window, part in of_image(predict_tiles(run.scorer(plan), run.reader(source), plan), source.name):
        logits[window.slices] = part
    mask = Result(task, names, run.thresholds).values(logits)
    return mask if task == "multilabel" else mask[..., 0], metrics.probabilities(logits, task)


def near_threshold(probabilities: np.ndarray, run: Predictor, tolerance: float) -> np.ndarray:
    """Where a label may change within the tolerance: `(*size,)`, or `(*size, classes)` in a multilabel task."""
    if run.data.task == "multiclass":
        two = np.sort(probabilities, axis=-1)[..., -2:]
        return two[..., 1] - two[..., 0] <= 2 * tolerance
    near = np.abs(probabilities - np.array(run.thresholds)) <= tolerance
    return near[..., 0] if run.data.task == "binary" else near


def compare_network(model: keras.Model, folder: Path, name: Path) -> Iterator[tuple[tuple[int, ...], float]]:
    """Compares a Keras model with the SavedModel of it at two sizes.

    Args:
        model: The Keras model.
        folder: The SavedModel.
        name: Its name in messages.

    Yields:
        Spatial sizes and the largest difference of logits.

    Raises:
        RunError: Logits differ by more than `TOLERANCE` of their range.
    """
    exported = tf.saved_model.load(str(folder))
    rng = np.random.default_rng(0)
    spatial_dims, channels = len(model.inputs[0].shape) - 2, model.inputs[0].shape[-1]
    for smallest in NETWORK_SIZES[spatial_dims]:
        size = analysis.nearest_size(model, tuple(smallest + 8 * axis for axis in range(spatial_dims)))
        images = rng.normal(size=(1, *size, channels)).astype(np.float32)
        expected = [np.asarray(output) for output in tf.nest.flatten(model.predict_on_batch(images))]
        received = [np.asarray(output) for output in tf.nest.flatten(exported.serve(images))]
        difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, received, strict=True))
        allowed = TOLERANCE * max(1.0, *(float(np.ptp(output)) for output in expected))
        # A difference that is not a number is refused too.
        if math.isnan(difference) or difference > allowed:
            within = f"logits within {allowed:.1e} of those of the Keras model at {' x '.join(map(str, size))}"
            raise RunError(name, within, f"a difference of {difference:.1e}")
        yield size, difference
