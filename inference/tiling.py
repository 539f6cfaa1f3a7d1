"""Seamless by construction: tiles whose halo is read off the model's graph, so that tiled equals whole prediction."""

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from maskzoo import data
from maskzoo.models import analysis

GIGABYTE = 1024**3
# Python with TensorFlow, this project and one traced model, measured on Linux before the first tile.
BASE_MEMORY = 1.0 * GIGABYTE
# Scratch space of the convolutions beside the activations themselves.
SCRATCH = 1.5
GRID = {2: 256, 3: 16}
LARGEST_TILE = {2: 4096, 3: 256}
WORTHWHILE = 1.05
# An image that fits into memory is predicted in one piece, without a halo, where a halo would make it this many times
# the work: a volume that is smaller than its network's receptive field.
AFFORDABLE_WORK = 8
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
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    halo: tuple[tuple[int, int], ...]
    crop: tuple[int, ...]
    batch: int
    memory: int

    @property
    def input_size(self):
        return tuple(t + before + after for t, (before, after) in zip(self.tile, self.halo, strict=True))

    @property
    def tiles(self):
        return math.prod(-(-s // t) for s, t in zip(self.shape, self.tile, strict=True))

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
            f"halo {halo}; "
            f"the model is given {self.batch} of {by(self.input_size)} at a time, "
            f"{self.work:.2f} times the image's pixels; "
            f"expected memory {self.memory / GIGABYTE:.1f} GB"
        )


def plan_tiles(model, shape, channels, *, tile=None, memory=4 * GIGABYTE):
    """Chooses the tile: the smallest within 5 % of the least work that the memory bound allows.

    An image much smaller than the receptive field, for which the halo would be most of the work, is predicted in one
    piece without one.

    Args:
        model: A functional Keras model, `(batch, *spatial, channels)` to logits.
        shape: Spatial shape of the image.
        channels: Channels of the image.
        tile: Pixels per tile and axis, instead of choosing; rounded up to the model's stride.
        memory: Bound in bytes on the expected peak memory of the process.

    Raises:
        ValueError: If the model sees the whole image, so that no halo is enough, or the bound is below the least need.
    """
    geometry = analysis.geometry(model)
    if geometry.is_global:
        raise ValueError(
            f"{model.name}: expected a model with a finite receptive field, which tiles can be exact for; "
            f"received one that sees the whole image in {', '.join(geometry.global_layers)}"
        )
    plans = candidate_plans(model, geometry, tuple(shape), channels, tile)
    if tile is None and min(plan.work for plan in plans) > AFFORDABLE_WORK:
        whole = whole_plan(model, geometry, tuple(shape), channels)
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


def candidate_plans(model, geometry, shape, channels, tile):
    """The plans to choose from, smaller tiles first: only the asked tile where there is one."""
    steps = [math.lcm(stride, 1 if tile else GRID[len(shape)]) for stride in geometry.stride]
    largest = min(LARGEST_TILE[len(shape)], max(shape) + max(steps))
    sizes = [tile] if tile else range(min(steps), largest + 1, min(steps))
    cuts = {
        # Never larger than the image, so that a small image costs no more than itself and its halo.
        tuple(min(round_up(size, s), round_up(n, t)) for n, s, t in zip(shape, steps, geometry.stride, strict=True))
        for size in sizes
    }
    plans, bytes_per_pixel = [], None
    for cut in sorted(cuts):
        halo, crop = halo_and_crop(geometry, cut)
        plan = Plan(shape, cut, halo, crop, batch=1, memory=0)
        if bytes_per_pixel is None:
            bytes_per_pixel = activation_bytes(model, plan, channels)
        plans.append(with_memory(plan, model, channels, bytes_per_pixel))
    return plans


def whole_plan(model, geometry, shape, channels):
    """The plan of predicting an image in one piece, mirrored up to an allowed size; `None` for valid padding."""
    if any(geometry.crop):
        return None
    halo = tuple((0, size - n) for size, n in zip(analysis.nearest_size(model, shape), shape, strict=True))
    plan = Plan(shape, shape, halo, (0,) * len(shape), batch=1, memory=0)
    return with_memory(plan, model, channels, activation_bytes(model, plan, channels))


def activation_bytes(model, plan, channels):
    """Peak bytes of activations per pixel that the model is given."""
    return analysis.peak_activation_bytes(model, (*plan.input_size, channels)) / math.prod(plan.input_size)


def with_memory(plan, model, channels, bytes_per_pixel):
    """A plan with its batch size and the peak memory to expect, in bytes."""
    pixels = math.prod(plan.input_size)
    batch = max(1, min(plan.tiles, BATCH_PIXELS // pixels))
    weights = 4 * analysis.parameters(model)[0]
    images = (1 + BATCHES_AHEAD) * channels * 4
    memory = BASE_MEMORY + weights + batch * pixels * (SCRATCH * bytes_per_pixel + images)
    return replace(plan, batch=batch, memory=round(memory))


def halo_and_crop(geometry, tile):
    """The pixels to read around a tile, and where the tile begins in the model's output."""
    spans = [geometry.input_span(axis, 0, size) for axis, size in enumerate(tile)]
    halo = tuple((-first, last - size) for (first, last, _), size in zip(spans, tile, strict=True))
    return halo, tuple(skip for _, _, skip in spans)


def round_up(size, step):
    return -(-size // step) * step


def predict_tiles(model, read, plan):
    """Yields `(window, logits)` for every tile of a plan, in row-major order.

    Tiles are read ahead in threads while the model computes; memory depends on the tile, never on the image.

    Args:
        model: A functional Keras model.
        read: Function from a `data.Window`, which may reach outside the image, to float32 `(*size, channels)`.
        plan: A `Plan`.

    Returns:
        Iterator of windows that cover the image once, with logits `(*window.size, classes)`.
    """
    predict = logits_of(model)
    with ThreadPoolExecutor(BATCHES_AHEAD) as threads:
        reading = deque()
        grid = iter(data.window_grid(plan.shape, plan.tile))

        def read_next():
            if windows := list(islice(grid, plan.batch)):
                reading.append((windows, threads.submit(read_batch, read, windows, plan)))

        for _ in range(BATCHES_AHEAD):
            read_next()
        try:
            while reading:
                windows, images = reading.popleft()
                images = images.result()
                read_next()
                for window, logits in zip(windows, predict(images), strict=True):
                    inside = tuple(slice(c, c + n) for c, n in zip(plan.crop, window.size, strict=True))
                    yield window, logits[inside]
        finally:
            threads.shutdown(cancel_futures=True)


def read_batch(read, windows, plan):
    """The images of some tiles with their halos, all of the full input size, also where the image ends inside one."""
    return np.stack([read(data.Window(window.offset, plan.tile).padded(plan.halo)) for window in windows])


def logits_of(model) -> Callable:
    """A function from images to the numpy logits of a model's mask."""

    def predict(images):
        outputs = model.predict_on_batch(images)
        return outputs["mask"] if isinstance(outputs, dict) else outputs

    return predict
