"""What seams to expect of a plan, measured on the image itself before it is predicted, and the halo that suffices."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import OptionError

from .. import data, metrics
from ..models import analysis
from .memory_bound import bounded_tiles
from .options import TileOptions
from .tile_plan import Halo, TilePlan, common_step, plan_tiles, round_up, shorter_halos
from .tiles import ReadWindow, blending_weights, of_image, predict_of

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

# Work that is not worth measuring for.
CHEAP_WORK = 1.25
# Windows that are read in search of contrast, and those of them that are measured.
EXAMINED, MEASURED = 48, 4
BLOCK = {2: 128, 3: 32}
# The largest error on a few windows is not the largest on the image.
SAFETY_FACTOR = 2


@dataclass(frozen=True)
class Probe:
    """What seams are measured with: a model on one image.

    Attributes:
        model: A functional Keras model.
        task: `binary`, `multilabel` or `multiclass`.
        source: The image.
        read: Its reader for the model.
    """

    model: keras.Model
    task: str
    source: data.Source
    read: ReadWindow

    def probabilities(self, window: data.Window, halo: Halo, crop: tuple[int, ...]) -> np.ndarray:
        """The probabilities in a window that is predicted with a halo."""
        answers = (predict_of(self.model)(self.read(part.padded(halo))[None])[0] for part in (window,))
        (logits,) = of_image(answers, self.source.name)
        inside = tuple(slice(start, start + size) for start, size in zip(crop, window.size, strict=True))
        return metrics.probabilities(logits[inside], self.task)


def shorten_halo(probe: Probe, exact: TilePlan, options: TileOptions, *, symmetric: bool = False) -> TilePlan:
    """Finds the plan with the shortest halo whose seams stay within a tolerance.

    A block of the image is predicted with all that the model sees of it, and again with less on all sides; the largest
    difference of a probability, on a few windows with the most contrast, is what is expected at the border of a tile.
    What was measured is logged as a table.

    Args:
        probe: The model and the image.
        exact: The plan of the whole halo.
        options: Those of `plan_tiles`; the seam tolerance is the largest difference of a probability from seamless
            prediction.
        symmetric: As in `plan_tiles`.

    Returns:
        A `TilePlan`, the exact one where nothing shorter holds or measuring would cost more than it may save.
    """
    model, source = probe.model, probe.source
    geometry, spatial_dims = analysis.geometry(model), len(source.shape)
    halos = shorter_halos(geometry)
    block = round_up(BLOCK[spatial_dims], common_step(geometry))
    if not options.seam_tolerance or not halos or exact.tiles == 1 or exact.work <= CHEAP_WORK:
        return exact
    try:
        one_block = TileOptions(tile=block, memory=bounded_tiles(options).memory)
        whole = plan_tiles(model, (block,) * spatial_dims, source.channels, one_block)
    except OptionError:
        return exact  # the exact halo around a block is more than the memory holds
    cost = MEASURED * sum((block + 2 * halo) ** spatial_dims for halo in (*halos, max(whole.halo[0])))
    if (exact.work - 1) * math.prod(source.shape) < 2 * cost:
        return exact
    windows = contrasting_windows(source, block)
    references = [probe.probabilities(window, whole.halo, whole.crop) for window in windows]
    lines = [f"seams measured\nhalo {'work':>8}  largest error of a probability on {len(windows)} windows"]
    chosen = None
    for halo in halos:
        error = largest_error(probe, windows, references, halo)
        with_halo = replace(options, halo=halo)
        plan = plan_tiles(model, source.shape, source.channels, with_halo, symmetric=symmetric)
        lines.append(f"{halo:<4} {plan.work:8.2f}  {error:.1e}")
        held = SAFETY_FACTOR * error <= options.seam_tolerance
        if held and chosen is not None:
            break
        # One halo that holds may be luck; two in a row are taken for none.
        chosen = plan if held else None
    chosen = chosen if chosen is not None and chosen.work < exact.work else exact
    lines.append(f"{max(map(max, exact.halo)):<4} {exact.work:8.2f}  exact")
    lines.append(f"halo {max(map(max, chosen.halo))} taken: seams are likely below {options.seam_tolerance:g}")
    logger.info("%s", "\n".join(lines))
    return chosen


def largest_error(probe: Probe, windows: list[data.Window], references: list[np.ndarray], halo: int) -> float:
    """The largest difference of a probability from the references where windows are predicted with one halo."""
    errors = []
    for window, reference in zip(windows, references, strict=True):
        found = probe.probabilities(window, ((halo, halo),) * window.ndim, (halo,) * window.ndim)
        errors.append(float(np.abs(found - reference).max()))
    return max(errors)


def contrasting_windows(source: data.Source, size: int) -> list[data.Window]:
    """The windows with the most contrast, of some that are spread over an image; the same at every call."""
    grid = data.window_grid(source.shape, size)
    rng = np.random.default_rng(0)
    numbers = rng.choice(len(grid), min(EXAMINED, len(grid)), replace=False)
    windows = [data.Window(grid[int(number)].offset, (size,) * len(source.shape)) for number in np.sort(numbers)]
    contrasts = [float(np.std(source.read(window), axis=tuple(range(window.ndim))).mean()) for window in windows]
    order = sorted(range(len(windows)), key=lambda number: -contrasts[number])
    return [windows[number] for number in order[:MEASURED]]


def blending_report(probe: Probe, plan: TilePlan) -> str:
    """Says how far neighbouring tiles of a blended plan differ where they overlap, and what is left after blending."""
    axis = next(number for number, overlap in enumerate(plan.overlap) if overlap)
    overlap, step = plan.overlap[axis], plan.tile[axis]
    differences = []
    for window in contrasting_windows(probe.source, BLOCK[len(plan.shape)]):
        shift = step * (np.arange(window.ndim) == axis)
        last = np.maximum(np.subtract(plan.shape, plan.input_size) - shift, 0)
        first = data.Window(tuple(np.minimum(window.offset, last)), plan.input_size)
        second = data.Window(tuple(np.add(first.offset, shift)), plan.input_size)
        nothing = ((0, 0),) * first.ndim, (0,) * first.ndim
        one, other = (np.moveaxis(probe.probabilities(tile, *nothing), axis, 0) for tile in (first, second))
        differences.append(np.abs(one[-overlap:] - other[:overlap]))
    weights = blending_weights(plan)
    slope = np.abs(np.diff(np.moveaxis(weights, axis, 0)[: overlap + 1], axis=0)).max()
    mean, largest = np.mean(differences), np.max(differences)
    return (
        f"this model sees the whole image: where two tiles overlap, their probabilities differ by {mean:.1e} on "
        f"average and by at most {largest:.1e}, measured at {len(differences)} places; blended over {overlap} pixels, "
        f"that is {slope * mean:.1e} on average from one pixel to the next, at most {slope * largest:.1e}"
    )
