"""The tiles of a plan, read ahead, predicted, and cut or blended to the parts of an image."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import keras
import numpy as np

from maskzoo.errors import ImageError

from .. import data, models
from .engines.engine import OpenedEngine
from .tile_plan import BATCHES_AHEAD, TilePlan, covered_windows, tile_windows

# What an error names before it is known which image a batch is of.
AN_IMAGE = "an image"
Answer = TypeVar("Answer")
# From a window, which may reach outside the image, to float32 pixels `(*size, channels)`.
ReadWindow = Callable[[data.Window], np.ndarray]
# From float32 images `(batch, *size, channels)` to logits `(batch, *size, classes)`.
Predict = Callable[[np.ndarray], np.ndarray]
# A window of the image with its logits `(*size, classes)`.
Part = tuple[data.Window, np.ndarray]


class Scorer(Protocol):
    """What answers for a run in `predict_tiles`: a network, an engine, or an ensemble of them."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, *size, classes)` of images `(batch, *size, channels)`."""
        ...


@dataclass(frozen=True)
class TileSelection:
    """The parts of a plan that are asked for; the others come out as they would without it.

    Attributes:
        first: Number of the first part.
        stop: Number of the part behind the last one; `None` for all to the end.
        keep: Function from a tile's window, which may reach outside the image, to whether it is predicted at all;
            `None` to predict all.
        fill: Logits `(classes,)` of the tiles that are not predicted.
    """

    first: int = 0
    stop: int | None = None
    keep: Callable[[data.Window], bool] | None = None
    fill: np.ndarray | None = None


ALL_TILES = TileSelection()


def predict_tiles(
    model: keras.Model | Scorer,
    read: ReadWindow,
    plan: TilePlan,
    selection: TileSelection = ALL_TILES,
) -> Iterator[Part]:
    """Yields `(window, logits)` for every part of an image that is finished, from top to bottom.

    Tiles are read ahead in threads while the model computes, in a thread too; memory depends on the tile, never on the
    image's height.

    Args:
        model: A Keras model; or anything with `predict(images)` that returns a float32 array as the plan's model would,
            `(batch, *size, classes)`, logits or probabilities.
        read: Function from a `data.Window`, which may reach outside the image, to float32 `(*size, channels)`.
        plan: A `TilePlan`.
        selection: The parts that are asked for.

    Returns:
        Iterator of windows that cover the image once, those of `part_windows`, with logits `(*window.size, classes)`.
    """
    predict, first = tile_predictor(model, plan), selection.first
    if not plan.is_blended:
        stop = plan.tiles if selection.stop is None else selection.stop
        return inside(tile_outputs(predict, read, plan, range(first, stop), selection))
    # A row of tiles also needs what the row before it adds to the overlap.
    before = max(0, first - 1)
    rows = plan.tile_counts[0]
    across = plan.tiles // rows
    numbers = range(before * across, (rows if selection.stop is None else selection.stop) * across)
    return islice(blended(tile_outputs(predict, read, plan, numbers, selection), plan), first - before, None)


def tile_predictor(model: keras.Model | Scorer, plan: TilePlan) -> Predict:
    """The function from the images of a plan to the logits of their tiles, or of all that is blended.

    Only what the tile depends on is computed, of a Keras model always, of another engine where that is worth it.
    """
    if isinstance(model, keras.Model) and plan.share < 1:
        return predict_of(models.cropped(model, plan.input_size, plan.part))
    if isinstance(model, OpenedEngine) and model.parts and (answer := model.parts.answer(plan)):
        return lambda images: require_finite(answer(images))
    predict = predict_of(model)
    if plan.is_blended:
        return predict
    kept = tuple(slice(*span) for span in plan.part)
    return lambda images: predict(images)[(slice(None), *kept)]


def predict_of(model: keras.Model | Scorer) -> Predict:
    """The function from images to the numpy logits of a model's mask, or to what a scorer's `predict` returns.

    It raises an `ImageError` of `AN_IMAGE` if one is not finite.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        if not isinstance(model, keras.Model):
            return require_finite(model.predict(images))
        outputs = model.predict_on_batch(images)
        return require_finite(outputs["mask"] if isinstance(outputs, dict) else outputs)

    return predict


def require_finite(answers: np.ndarray) -> np.ndarray:
    """Returns answers of a model, and refuses those that are no numbers: they would become background in silence.

    Raises:
        ImageError: If one is NaN or infinite.
    """
    if np.isfinite(answers).all():
        return answers
    wrong = "NaN" if np.isnan(answers).any() else "infinity"
    raise ImageError(AN_IMAGE, "an image that the model has finite answers for", wrong)


def of_image(parts: Iterable[Answer], name: str) -> Generator[Answer, None, None]:
    """Yields what a model answers to an image, and names the image where the answers are not finite."""
    try:
        yield from parts
    except ImageError as error:
        if error.path != AN_IMAGE:
            raise
        raise ImageError(name, error.expected, error.received) from None


def tile_outputs(
    predict: Predict, read: ReadWindow, plan: TilePlan, numbers: range, selection: TileSelection
) -> Generator[Part, None, None]:
    """Yields some tiles of a plan, by their numbers in row-major order; blended ones with all of the output."""
    keep, fill = selection.keep, selection.fill
    windows = tile_windows(plan)
    if keep is None:
        with closing(predicted(predict, read, plan, windows, numbers)) as outputs:
            # The last batch may hold more.
            yield from islice(outputs, len(numbers))
        return
    kept = [number for number, window in enumerate(covered_windows(plan)) if keep(window)]
    inside = range(bisect_left(kept, numbers.start), bisect_left(kept, numbers.stop))
    outputs = predicted(predict, read, plan, [windows[number] for number in kept], inside)
    classes = np.asarray(fill, np.float32)
    size = plan.input_size if plan.is_blended else plan.tile
    blank = np.broadcast_to(classes, (*size, classes.size))
    with closing(outputs):
        shown = set(kept)
        for number in numbers:
            if number in shown:
                yield next(outputs)
            else:
                yield windows[number], blank


def predicted(
    predict: Predict, read: ReadWindow, plan: TilePlan, windows: Sequence[data.Window], numbers: range
) -> Generator[Part, None, None]:
    """Yields some windows, by their numbers, with the model's outputs; and those behind them in the last batch.

    The model computes in a thread of its own, so that it does not wait while its last answer is put away. Batches are
    the same wherever it begins: the numbers that a model gives a tile may depend on how many go with it.
    """
    predict = blank_once(predict)
    starts = iter(range(numbers.start // plan.batch * plan.batch, numbers.stop, plan.batch))
    with ThreadPoolExecutor(BATCHES_AHEAD) as readers, ThreadPoolExecutor(1) as model_thread:
        answers: deque[tuple[int, Sequence[data.Window], Future[np.ndarray]]] = deque()

        def answer(images: Future[np.ndarray]) -> np.ndarray:
            return predict(images.result())

        def begin_next() -> None:
            start = next(starts, None)
            if start is not None:
                batch = windows[start : start + plan.batch]
                images = readers.submit(read_batch, read, batch, plan)
                answers.append((start, batch, model_thread.submit(answer, images)))

        for _ in range(1 + BATCHES_AHEAD):
            begin_next()
        try:
            while answers:
                start, batch, pending = answers.popleft()
                outputs = pending.result()
                begin_next()
                yield from islice(zip(batch, outputs, strict=True), max(0, numbers.start - start), None)
        finally:
            for threads in (readers, model_thread):
                threads.shutdown(wait=False, cancel_futures=True)


def blank_once(predict: Predict) -> Predict:
    """The same function, which keeps its answer to images that are blank: one colour in all of their pixels.

    Where a mosaic or a slide holds nothing, tile after tile is the same.
    """
    kept: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}

    def answer(images: np.ndarray) -> np.ndarray:
        pixel = images[(0,) * (images.ndim - 1)]
        # A corner tells most images at once.
        if not all((part == pixel).all() for part in (images[:1, :8, :8], images)):
            return predict(images)
        key = images.shape, pixel.tobytes()
        if key not in kept:
            kept.clear()
            kept[key] = np.asarray(predict(images))
            kept[key].flags.writeable = False
        return kept[key]

    return answer


def read_batch(read: ReadWindow, windows: Sequence[data.Window], plan: TilePlan) -> np.ndarray:
    """The images of some tiles with their halos, all of the full input size, also where the image ends inside one."""
    return np.stack([read(data.Window(window.offset, plan.tile).padded(plan.halo)) for window in windows])


def inside(outputs: Iterator[Part]) -> Iterator[Part]:
    """Yields every tile without what reaches outside the image."""
    for window, logits in outputs:
        yield window, logits[tuple(slice(0, size) for size in window.size)]


def blended(outputs: Iterator[Part], plan: TilePlan) -> Generator[Part, None, None]:
    """Yields bands across the whole image, in which the overlapping outputs are averaged with weights that sum to 1."""
    overlap, step = plan.overlap[0], plan.tile[0]
    weights = blending_weights(plan)[..., None]
    # The open rows lie from `overlap` before the current row of tiles to its end; so do the columns.
    rows, top = np.zeros(0, np.float32), -1
    for window, logits in outputs:
        if top < 0:
            top = window.offset[0]
            across = [c * t + o for c, t, o in zip(plan.tile_counts, plan.tile, plan.overlap, strict=True)][1:]
            rows = np.zeros((plan.input_size[0], *across, logits.shape[-1]), np.float32)
        if window.offset[0] != top:
            yield from finished_rows(rows[:step], top - overlap, plan)
            rows[:overlap] = rows[step:]
            rows[overlap:] = 0
            top = window.offset[0]
        columns = tuple(slice(o, o + size) for o, size in zip(window.offset[1:], plan.input_size[1:], strict=True))
        rows[(slice(None), *columns)] += weights * logits
    if top >= 0:
        yield from finished_rows(rows[:step], top - overlap, plan)


def finished_rows(rows: np.ndarray, top: int, plan: TilePlan) -> Generator[Part, None, None]:
    """Yields the rows that lie inside the image, the first of them at `top`, as one window."""
    first, last = max(0, top), min(plan.shape[0], top + len(rows))
    if first < last:
        inside = [slice(o, o + n) for o, n in zip(plan.overlap[1:], plan.shape[1:], strict=True)]
        window = data.Window((first, *(0,) * len(inside)), (last - first, *plan.shape[1:]))
        yield window, rows[(slice(first - top, last - top), *inside)].copy()


def blending_weights(plan: TilePlan) -> np.ndarray:
    """Weights `(*input_size)` of one tile: 1 inside; they fall off over an overlap, and sum to 1 with the next tile."""
    weights = np.ones((), np.float32)
    for size, overlap in zip(plan.input_size, plan.overlap, strict=True):
        axis = np.ones(size, np.float32)
        if overlap:
            axis[:overlap] = ramp(plan.blend, overlap, size)
            axis[-overlap:] = axis[:overlap][::-1]
        weights = weights[..., None] * axis
    return weights


def ramp(blend: str, overlap: int, size: int) -> np.ndarray:
    """Weights from the first to the last pixel of an overlap, for the tile that begins there."""
    place = (np.arange(overlap) + 0.5) / overlap
    if blend == "cosine":
        return np.sin(np.pi / 2 * place) ** 2
    # Two Gaussians with a deviation of an eighth of the tile, each around its own tile's middle, divided by their sum.
    distance = (size - overlap) * overlap / (size / 8) ** 2
    return 1 / (1 + np.exp(distance * (0.5 - place)))
