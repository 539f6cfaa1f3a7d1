"""Seamless by construction: tiles whose halo is read off the model's graph, so that tiled equals whole prediction."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from .. import data
from ..models import analysis

GIGABYTE = 1024**3
# Python with TensorFlow, this project and one traced model (1.0), and the blocks that GDAL keeps (0.25); from here on
# measured on Linux.
BASE_MEMORY = 1.25 * GIGABYTE
# The convolutions' scratch space beside the activations themselves, and what the allocator keeps.
SCRATCH = 2
GRID = {2: 256, 3: 16}
LARGEST_TILE = {2: 4096, 3: 256}
WORTHWHILE = 1.05
# An image that fits into memory is predicted in one piece, without a halo, where a halo would make it this many times
# the work: a volume that is smaller than its network's receptive field.
AFFORDABLE_WORK = 8
BLENDS = ("cosine", "gaussian")
BLENDED_TILE = {2: 512, 3: 96}
BATCHES_AHEAD = 2
# Tiles smaller than this are given to the model several at a time.
BATCH_PIXELS = 512 * 512


@dataclass(frozen=True)
class Plan:
    """How one image is cut into tiles.

    Attributes:
        shape: Spatial shape of the image.
        tile: Pixels that one tile contributes to the output, per axis.
        halo: `(before, after)` pixels read around a tile, per axis.
        crop: Pixels of the model's output that lie before the tile, per axis.
        batch: Tiles per model call.
        memory: Expected peak memory of the process in bytes.
        overlap: Pixels per axis over which neighbouring tiles are blended; zeros where tiles are exact.
        blend: How the weights fall off over the overlap: `cosine` or `gaussian`.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    halo: tuple[tuple[int, int], ...]
    crop: tuple[int, ...]
    batch: int
    memory: int
    overlap: tuple[int, ...]
    blend: str = "cosine"

    @property
    def input_size(self):
        return tuple(t + before + after for t, (before, after) in zip(self.tile, self.halo, strict=True))

    @property
    def tiles(self):
        return math.prod(tile_counts(self))

    @property
    def work(self):
        """Pixels that the model is given for each pixel of the image."""
        return self.tiles * math.prod(self.input_size) / math.prod(self.shape)

    def __str__(self):
        def by(sizes):
            return " x ".join(map(str, sizes))

        halo = ", ".join(f"{before}+{after}" for before, after in self.halo)
        return (
            f"{self.tiles} tile{'s'[: self.tiles > 1]} of {by(self.tile)} for an image of {by(self.shape)}; "
            f"{f'blended over {by(self.overlap)} ({self.blend})' if any(self.overlap) else 'halo ' + halo}; "
            f"the model is given {self.batch} of {by(self.input_size)} at a time, "
            f"{self.work:.2f} times the image's pixels; "
            f"expected memory {self.memory / GIGABYTE:.1f} GB"
        )


def plan_tiles(
    model,
    shape,
    channels,
    *,
    tile=None,
    memory=4 * GIGABYTE,
    patch=None,
    symmetric=False,
    halo=None,
    overlap=0.25,
    blend="cosine",
):
    """Chooses the tile: the smallest within 5 % of the least work that the memory bound allows.

    An image much smaller than the receptive field, for which the halo would be most of the work, is predicted in one
    piece without one. For a model that sees the whole image no halo is enough: its tiles overlap and are blended.

    Args:
        model: A functional Keras model, `(batch, *spatial, channels)` to logits.
        shape: Spatial shape of the image.
        channels: Channels of the image.
        tile: Pixels per tile and axis, instead of choosing; rounded up to the model's stride.
        memory: Bound in bytes on the expected peak memory of the process.
        patch: Window size that the model was trained on, which is the tile of a model that sees the whole image.
        symmetric: Make what the model is given square, with equal halos on all sides, so that it can be flipped and
            turned without a loss.
        halo: Pixels to read on all sides of a tile, one of `shorter_halos`, instead of as many as the model sees.
        overlap: Share of a tile over which it is blended with the next, above 0 to 0.5.
        blend: How the weights of tiles that are blended fall off: `cosine` or `gaussian`.

    Raises:
        ValueError: If the memory bound is below the least need, or an option is not one of those above.
    """
    if not 0 < overlap <= 0.5:
        raise ValueError(f"--overlap: expected a share of a tile above 0 to 0.5; received {overlap}")
    if blend not in BLENDS:
        raise ValueError(f"--blend: expected {' or '.join(BLENDS)}; received {blend!r}")
    geometry = analysis.geometry(model)
    if geometry.is_global:
        size = tile or patch or BLENDED_TILE[len(shape)]
        plans = [replace(blended_plan(model, tuple(shape), channels, size, overlap, symmetric), blend=blend)]
    else:
        plans = candidate_plans(model, geometry, tuple(shape), channels, tile, symmetric, halo)
    if tile is None and halo is None and not geometry.is_global and min(plan.work for plan in plans) > AFFORDABLE_WORK:
        whole = whole_plan(model, geometry, tuple(shape), channels, symmetric)
        if whole and whole.memory <= memory:
            return whole
    affordable = [plan for plan in plans if plan.memory <= memory]
    if not affordable:
        need = min(plan.memory for plan in plans)
        raise ValueError(
            f"--memory: expected at least {need / GIGABYTE:.1f} GB for {model.name} with {plans[0].tile} tiles; "
            f"received {memory / GIGABYTE:.1f} GB"
        )
    least = min(plan.work for plan in affordable)
    return next(plan for plan in affordable if plan.work <= WORTHWHILE * least)


def candidate_plans(model, geometry, shape, channels, tile, symmetric, asked_halo=None):
    """The plans to choose from, smaller tiles first: only the asked tile where there is one."""
    strides = geometry.stride
    if symmetric or asked_halo:
        strides = (common_step(geometry),) * len(shape)
    steps = [math.lcm(stride, 1 if tile else GRID[len(shape)]) for stride in strides]
    largest = min(LARGEST_TILE[len(shape)], max(shape) + max(steps))
    sizes = [tile] if tile else range(min(steps), largest + 1, min(steps))
    cuts = {
        # Never larger than the image, so that a small image costs no more than itself and its halo.
        tuple(min(round_up(size, s), round_up(n, t)) for n, s, t in zip(shape, steps, strides, strict=True))
        for size in sizes
    }
    if symmetric:
        cuts = {(max(cut),) * len(cut) for cut in cuts}
    plans, bytes_per_pixel = [], None
    for cut in sorted(cuts):
        if asked_halo:
            halo, crop = ((asked_halo, asked_halo),) * len(shape), (asked_halo,) * len(shape)
        else:
            halo, crop = (symmetric_halo_and_crop if symmetric else halo_and_crop)(geometry, cut)
        plan = Plan(shape, cut, halo, crop, batch=1, memory=0, overlap=(0,) * len(shape))
        if bytes_per_pixel is None:
            bytes_per_pixel = activation_bytes(model, plan, channels)
        plans.append(with_memory(plan, model, channels, bytes_per_pixel))
    return plans


def whole_plan(model, geometry, shape, channels, symmetric):
    """The plan of predicting an image in one piece, mirrored up to an allowed size; `None` for valid padding."""
    if any(geometry.crop):
        return None
    sizes = analysis.nearest_size(model, (max(shape),) * len(shape) if symmetric else shape)
    halo = tuple((0, size - n) for size, n in zip(sizes, shape, strict=True))
    nothing = (0,) * len(shape)
    plan = Plan(shape, shape, halo, nothing, batch=1, memory=0, overlap=nothing)
    return with_memory(plan, model, channels, activation_bytes(model, plan, channels))


def blended_plan(model, shape, channels, size, share, symmetric):
    """The plan of tiles that overlap by a share of their size, on the axes that are longer than one tile."""
    sizes = analysis.nearest_size(model, (size,) * len(shape) if isinstance(size, int) else tuple(size))
    sizes = tuple(min(pair) for pair in zip(sizes, analysis.nearest_size(model, shape), strict=True))
    if symmetric:
        sizes = analysis.nearest_size(model, (max(sizes),) * len(sizes))
    overlap = tuple(max(1, int(share * size)) if n > size else 0 for size, n in zip(sizes, shape, strict=True))
    tile = tuple(size - o for size, o in zip(sizes, overlap, strict=True))
    plan = Plan(shape, tile, tuple((o, 0) for o in overlap), (0,) * len(shape), batch=1, memory=0, overlap=overlap)
    return with_memory(plan, model, channels, activation_bytes(model, plan, channels))


def activation_bytes(model, plan, channels):
    """Peak bytes of activations per pixel that the model is given."""
    return analysis.peak_activation_bytes(model, (*plan.input_size, channels)) / math.prod(plan.input_size)


def with_memory(plan, model, channels, bytes_per_pixel):
    """A plan with its batch size and the peak memory to expect, in bytes."""
    pixels = math.prod(plan.input_size)
    batch = max(1, min(plan.tiles, BATCH_PIXELS // pixels))
    weights = 4 * analysis.parameters(model)[0]
    # Images to come, the answer that is put away while the model computes the next, and that to a blank image.
    images = ((1 + BATCHES_AHEAD) * channels + 2 * model.outputs[0].shape[-1]) * 4
    memory = BASE_MEMORY + weights + batch * pixels * (SCRATCH * bytes_per_pixel + images)
    if any(plan.overlap):
        # The open rows, and a second copy while they move on.
        classes = model.outputs[0].shape[-1]
        across = math.prod(n + t for n, t in zip(plan.shape[1:], plan.tile[1:], strict=True))
        memory += 8 * classes * plan.input_size[0] * across
    return replace(plan, batch=batch, memory=round(memory))


def halo_and_crop(geometry, tile):
    """The pixels to read around a tile, and where the tile begins in the model's output."""
    spans = [geometry.input_span(axis, 0, size) for axis, size in enumerate(tile)]
    halo = tuple((-first, last - size) for (first, last, _), size in zip(spans, tile, strict=True))
    return halo, tuple(skip for _, _, skip in spans)


def symmetric_halo_and_crop(geometry, tile):
    """The same with one halo for all sides, which keeps the tile on the model's sampling grid where it can."""
    least, stride = max(max(pair) for pair in geometry.halo), math.lcm(*geometry.stride)
    for halo in sorted(range(least, least + 2 * common_step(geometry)), key=lambda halo: halo % stride != 0):
        if all(rule.allows(size + 2 * halo) for rule, size in zip(geometry.rules, tile, strict=True)):
            return ((halo, halo),) * len(tile), tuple(halo - offset for offset in geometry.offset)
    raise ValueError(
        f"model: expected one that takes tiles with equal halos on all sides, to flip and turn them; received one that "
        f"takes {' by '.join(map(str, geometry.rules))}"
    )


def common_step(geometry):
    """The least number of pixels that is a multiple of the strides of all axes, and of the steps of allowed sizes."""
    return math.lcm(*geometry.stride, *(rule.multiple for rule in geometry.rules))


def shorter_halos(geometry):
    """The halos, shorter than what the model sees, that a plan may have: none for a model with valid padding."""
    step, longest = common_step(geometry), max(max(pair) for pair in geometry.tile_halo)
    if geometry.is_global or any(geometry.crop) or any(rule.remainder for rule in geometry.rules):
        return []
    # 1, 2, 3, 4, 6, 8, 12, 16 ... steps.
    multiples = sorted({1, *(k * 2**power for k in (2, 3) for power in range(20))})
    return [k * step for k in multiples if k * step < longest]


def round_up(size, step):
    return -(-size // step) * step


def predict_tiles(model, read, plan, *, skip=0, stop=None, keep=None, fill=None):
    """Yields `(window, logits)` for every part of an image that is finished, from top to bottom.

    Tiles are read ahead in threads while the model computes, in a thread too; memory depends on the tile, never on the
    image's height.

    Args:
        model: A Keras model; or anything with `predict(images)` that returns a float32 array as the plan's model would,
            `(batch, *size, classes)`, logits or probabilities.
        read: Function from a `data.Window`, which may reach outside the image, to float32 `(*size, channels)`.
        plan: A `Plan`.
        skip: Number of parts, from the first, that are not asked for; the others come out as they would without it.
        stop: Number of the first part behind those that are asked for; `None` for all to the end.
        keep: Function from a tile's window, which may reach outside the image, to whether it is predicted at all; for
            all where it is `None`.
        fill: Logits `(classes,)` of the tiles that are not.

    Returns:
        Iterator of windows that cover the image once, those of `part_windows`, with logits `(*window.size, classes)`.
    """
    if not any(plan.overlap):
        stop = plan.tiles if stop is None else stop
        return cropped(tile_outputs(model, read, plan, skip, stop, keep, fill), plan)
    # A row of tiles also needs what the row before it adds to the overlap.
    before = max(0, skip - 1)
    rows, *others = tile_counts(plan)
    across = math.prod(others)
    first, last = before * across, (rows if stop is None else stop) * across
    return islice(blended(tile_outputs(model, read, plan, first, last, keep, fill), plan), skip - before, None)


def part_windows(plan):
    """The windows that `predict_tiles` yields, in its order: tiles; where they are blended, bands across the image."""
    if not any(plan.overlap):
        return data.window_grid(plan.shape, plan.tile)
    step, overlap, length = plan.tile[0], plan.overlap[0], plan.shape[0]
    edges = [
        (max(0, row * step - overlap), min(length, (row + 1) * step - overlap)) for row in range(tile_counts(plan)[0])
    ]
    rest = (0,) * (len(plan.shape) - 1)
    return [data.Window((first, *rest), (last - first, *plan.shape[1:])) for first, last in edges]


def tile_windows(plan):
    """The tiles of a plan, in row-major order; where they are blended, shifted by the overlap."""
    return data.window_grid([n + o for n, o in zip(plan.shape, plan.overlap, strict=True)], plan.tile)


def covered_windows(plan):
    """Yields what each tile adds to, in the same order; it may reach outside the image."""
    for window in tile_windows(plan):
        # Where tiles are blended, one reaches back over the overlap.
        yield window.padded([(o, 0) for o in plan.overlap])


def tile_counts(plan):
    """Tiles per axis."""
    return [-(-(n + o) // t) for n, o, t in zip(plan.shape, plan.overlap, plan.tile, strict=True)]


def tile_outputs(model, read, plan, first, last, keep, fill):
    """Yields tiles of a plan, `first` to before `last` in row-major order, with the model's whole output."""
    chosen = windows = tile_windows(plan)
    kept = range(len(windows))
    if keep is not None:
        kept = [number for number, window in enumerate(covered_windows(plan)) if keep(window)]
        chosen = [windows[number] for number in kept]
    outputs = predicted(model, read, plan, chosen, bisect_left(kept, first), bisect_left(kept, last))
    with closing(outputs):
        kept = kept if keep is None else set(kept)
        for number in range(first, last):
            if number in kept:
                yield next(outputs)
            else:
                yield windows[number], np.broadcast_to(np.float32(fill), (*plan.input_size, len(fill)))


def predicted(model, read, plan, windows, first, last):
    """Yields windows from number `first` at least to before `last` with the model's outputs.

    The model computes in a thread of its own, so that it does not wait while its last answer is put away. Batches are
    the same wherever it begins: the numbers that a model gives a tile may depend on how many go with it.
    """
    predict = blank_once(logits_of(model))
    starts = iter(range(first // plan.batch * plan.batch, last, plan.batch))
    with ThreadPoolExecutor(BATCHES_AHEAD) as readers, ThreadPoolExecutor(1) as model_thread:
        answers = deque()

        def answer(images):
            return predict(images.result())

        def begin_next():
            start = next(starts, None)
            if start is not None:
                batch = windows[start : start + plan.batch]
                images = readers.submit(read_batch, read, batch, plan)
                answers.append((start, batch, model_thread.submit(answer, images)))

        for _ in range(1 + BATCHES_AHEAD):
            begin_next()
        try:
            while answers:
                start, batch, outputs = answers.popleft()
                outputs = outputs.result()
                begin_next()
                yield from islice(zip(batch, outputs, strict=True), max(0, first - start), None)
        finally:
            for threads in (readers, model_thread):
                threads.shutdown(wait=False, cancel_futures=True)


def blank_once(predict):
    """The same function, which keeps its answer to images that are blank: one colour in all of their pixels.

    Where a mosaic or a slide holds nothing, tile after tile is the same.
    """
    kept = {}

    def answer(images):
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


def cropped(outputs, plan):
    """Yields every tile with the part of its output that is exact."""
    for window, logits in outputs:
        yield window, logits[tuple(slice(c, c + n) for c, n in zip(plan.crop, window.size, strict=True))]


def blended(outputs, plan):
    """Yields bands across the whole image, in which the overlapping outputs are averaged with weights that sum to 1."""
    overlap, step = plan.overlap[0], plan.tile[0]
    weights = blending_weights(plan)[..., None]
    # The open rows lie from `overlap` before the current row of tiles to its end; so do the columns.
    rows = None
    for window, logits in outputs:
        if rows is None:
            top = window.offset[0]
            across = [c * t + o for c, t, o in zip(tile_counts(plan), plan.tile, plan.overlap, strict=True)][1:]
            rows = np.zeros((plan.input_size[0], *across, logits.shape[-1]), np.float32)
        if window.offset[0] != top:
            yield from finished(rows[:step], top - overlap, plan)
            rows[:overlap] = rows[step:]
            rows[overlap:] = 0
            top = window.offset[0]
        columns = tuple(slice(o, o + size) for o, size in zip(window.offset[1:], plan.input_size[1:], strict=True))
        rows[(slice(None), *columns)] += weights * logits
    yield from finished(rows[:step], top - overlap, plan)


def finished(rows, top, plan):
    """Yields the rows that lie inside the image, the first of them at `top`, as one window."""
    first, last = max(0, top), min(plan.shape[0], top + len(rows))
    if first < last:
        inside = [slice(o, o + n) for o, n in zip(plan.overlap[1:], plan.shape[1:], strict=True)]
        window = data.Window((first, *(0,) * len(inside)), (last - first, *plan.shape[1:]))
        yield window, rows[(slice(first - top, last - top), *inside)].copy()


def blending_weights(plan):
    """Weights of one tile's output: 1 inside; in the overlaps they fall off, and sum to 1 with the neighbour's."""
    weights = np.ones((), np.float32)
    for size, overlap in zip(plan.input_size, plan.overlap, strict=True):
        axis = np.ones(size, np.float32)
        if overlap:
            axis[:overlap] = ramp(plan.blend, overlap, size)
            axis[-overlap:] = axis[:overlap][::-1]
        weights = weights[..., None] * axis
    return weights


def ramp(blend, overlap, size):
    """Weights from the first to the last pixel of an overlap, for the tile that begins there."""
    place = (np.arange(overlap) + 0.5) / overlap
    if blend == "cosine":
        return np.sin(np.pi / 2 * place) ** 2
    # Two Gaussians with a deviation of an eighth of the tile, each around its own tile's middle, divided by their sum.
    distance = (size - overlap) * overlap / (size / 8) ** 2
    return 1 / (1 + np.exp(distance * (0.5 - place)))


def read_batch(read, windows, plan):
    """The images of some tiles with their halos, all of the full input size, also where the image ends inside one."""
    return np.stack([read(data.Window(window.offset, plan.tile).padded(plan.halo)) for window in windows])


def logits_of(model) -> Callable:
    """A function from images to the numpy logits of a model's mask, or to what a scorer's `predict` returns."""
    if not hasattr(model, "predict_on_batch"):
        return model.predict

    def predict(images):
        outputs = model.predict_on_batch(images)
        return outputs["mask"] if isinstance(outputs, dict) else outputs

    return predict
