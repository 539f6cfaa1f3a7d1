"""The values of one image, part by part: of tiles, of bands of blended tiles, or of a whole image that was resized."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskzoo.errors import OptionError

from .. import data, metrics
from ..data.images.scale import resized_shape
from .gate import LabelRecorder
from .options import GIGABYTE
from .predictor import Predictor
from .results import Result
from .tile_plan import TilePlan, part_windows
from .tiles import ALL_TILES, ReadWindow, TileSelection, predict_tiles


@dataclass(frozen=True)
class ImageTask:
    """One image to predict.

    Attributes:
        plan: How it is cut into tiles; of an image that was resized, the plan of what it was resized to.
        result: The kind of values.
        size: Sizes that an image which was resized is brought back to, as one part; `None` for tiles.
    """

    plan: TilePlan
    result: Result
    size: tuple[int, ...] | None = None

    def parts(self) -> Sequence[data.Window]:
        """Returns the windows of the parts, in the order in which they are predicted."""
        if self.size is None:
            return part_windows(self.plan)
        return [data.Window((0,) * len(self.size), self.size)]


def values_of(
    predictor: Predictor,
    read: ReadWindow,
    task: ImageTask,
    selection: TileSelection = ALL_TILES,
    recorders: Sequence[LabelRecorder] | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yields the values of the parts of an image, `(*size, bands)`, in their order.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        read: Its reader for the image.
        task: The image.
        selection: The parts that are asked for; tiles that are not predicted are background.
        recorders: What `gate.label_recorders` returned, to record the labels.
    """
    model, result = predictor.scorer(task.plan, recorders), task.result
    if task.size is None:
        selection = replace(selection, fill=result.background())
        for _, logits in predict_tiles(model, read, task.plan, selection):
            yield result.values(logits)
        return
    scores = np.empty((*task.plan.shape, predictor.data.num_classes), np.float32)
    for window, logits in predict_tiles(model, read, task.plan):
        scores[window.slices] = metrics.probabilities(logits, result.task)
    yield result.values(metrics.logits_from(data.resize(scores, task.size), result.task))


def resized_source(source: data.Source, size: float | Sequence[int], memory: int) -> data.Source:
    """Returns the source of an image that is resized to a model's size, its pixels of the same type.

    Args:
        source: An open source.
        size: Pixels per axis, one number or one per axis; a number between 0 and 1 is a fraction.
        memory: Bound in bytes.

    Raises:
        OptionError: If the image is too large to be held, or the sizes are not those of its axes.
    """
    need = math.prod(source.shape) * source.channels * (source.dtype.itemsize + 8)
    if need > memory:
        expected = f"an image that fits the memory, {need / GIGABYTE:.1f} GB of `memory`"
        raise OptionError("resize", expected, f"{memory / GIGABYTE:.1f} GB")
    sizes = tuple(size) if isinstance(size, Sequence) else resized_shape(source.shape, size)
    if len(sizes) != len(source.shape) or min(sizes) < 1:
        raise OptionError("resize", f"{len(source.shape)} sizes of at least 1", sizes)
    pixels = source.read(data.Window((0,) * len(source.shape), source.shape)).astype(np.float32)
    pixels = data.resize(pixels, sizes)
    if source.dtype.kind in "iu":
        pixels = np.rint(pixels)
    small = data.open_source(pixels.astype(source.dtype), spatial_dims=len(source.shape))
    small.name = source.name
    return small
