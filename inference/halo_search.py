"""What seams to expect of a plan, measured on the image itself before it is predicted."""

import math

import numpy as np

from .. import data, metrics
from ..models import analysis
from .tile_plan import blending_weights, common_step, logits_of, plan_tiles, round_up, shorter_halos

# Work that is not worth measuring for.
CHEAP_WORK = 1.25
# Windows that are read in search of contrast, and those of them that are measured.
LOOKED_AT, MEASURED = 48, 4
BLOCK = {2: 128, 3: 32}
# The largest error on a few windows is not the largest on the image.
MARGIN = 2


def plan_within(run, source, read, tolerance, tell, **options):
    """Plans the tiles of an image with the shortest halo whose seams stay within a tolerance.

    A block of the image is predicted with all that the model sees of it, and again with less on all sides; the largest
    difference of a probability, on a few windows with the most contrast, is what is expected at the border of a tile.

    Args:
        run: A `Run`.
        source: An open source.
        read: Its reader for the run.
        tolerance: Largest difference of a probability from seamless prediction; 0 for none.
        tell: Function that is told the table of choices.
        **options: Options of `plan_tiles`.

    Returns:
        A `Plan`, the exact one where nothing shorter holds or measuring would cost more than it may save.
    """
    exact = plan_tiles(run.model, source.shape, source.channels, **options)
    halos = shorter_halos(analysis.geometry(run.model))
    spatial_dims = len(source.shape)
    block = round_up(BLOCK[spatial_dims], common_step(analysis.geometry(run.model)))
    if not tolerance or not halos or exact.tiles == 1 or exact.work <= CHEAP_WORK:
        return exact
    bound = {"memory": options["memory"]} if "memory" in options else {}
    try:
        whole = plan_tiles(run.model, (block,) * spatial_dims, source.channels, tile=block, **bound)
    except ValueError:
        return exact  # the exact halo around a block is more than the memory holds
    cost = MEASURED * sum((block + 2 * halo) ** spatial_dims for halo in (*halos, max(whole.halo[0])))
    if (exact.work - 1) * math.prod(source.shape) < 2 * cost:
        return exact
    windows = contrasting_windows(source, block)
    references = [scores_of(run, read, window, whole.halo, whole.crop) for window in windows]
    lines = [f"seams measured\nhalo {'work':>8}  largest error of a probability on {len(windows)} windows"]
    chosen = None
    for halo in halos:
        sides = ((halo, halo),) * spatial_dims
        pairs = zip(windows, references, strict=True)
        error = max(
            np.abs(scores_of(run, read, w, sides, (halo,) * spatial_dims) - exact_one).max() for w, exact_one in pairs
        )
        plan = plan_tiles(run.model, source.shape, source.channels, halo=halo, **options)
        lines.append(f"{halo:<4} {plan.work:8.2f}  {error:.1e}")
        held = MARGIN * error <= tolerance
        if held and chosen is not None:
            break
        # One halo that holds may be luck; two in a row are taken for none.
        chosen = plan if held else None
    chosen = chosen if chosen is not None and chosen.work < exact.work else exact
    lines.append(f"{max(map(max, exact.halo)):<4} {exact.work:8.2f}  exact")
    lines.append(
        f"taken: {max(map(max, chosen.halo))}, for seams that are likely below {tolerance:g} (--seam-tolerance)"
    )
    tell("\n".join(lines))
    return chosen


def scores_of(run, read, window, halo, crop):
    """The probabilities in a window that is predicted with a halo."""
    logits = logits_of(run.model)(read(window.padded(halo))[None])[0]
    inside = tuple(slice(start, start + size) for start, size in zip(crop, window.size, strict=True))
    return metrics.probabilities(logits[inside], run.data.task)


def contrasting_windows(source, size):
    """The windows with the most contrast, of some that are spread over an image; the same at every call."""
    grid = data.window_grid(source.shape, size)
    rng = np.random.default_rng(0)
    numbers = rng.choice(len(grid), min(LOOKED_AT, len(grid)), replace=False)
    windows = [data.Window(grid[int(number)].offset, (size,) * len(source.shape)) for number in np.sort(numbers)]
    contrasts = [float(np.std(source.read(window), axis=tuple(range(window.ndim))).mean()) for window in windows]
    order = sorted(range(len(windows)), key=lambda number: -contrasts[number])
    return [windows[number] for number in order[:MEASURED]]


def blending_report(run, source, read, plan):
    """Says how far neighbouring tiles of a blended plan differ where they overlap, and what is left after blending."""
    axis = next(number for number, overlap in enumerate(plan.overlap) if overlap)
    overlap, step = plan.overlap[axis], plan.tile[axis]
    differences = []
    for window in contrasting_windows(source, BLOCK[len(source.shape)]):
        shift = step * (np.arange(window.ndim) == axis)
        last = np.maximum(np.subtract(plan.shape, plan.input_size) - shift, 0)
        first = data.Window(np.minimum(window.offset, last), plan.input_size)
        second = data.Window(np.add(first.offset, shift), plan.input_size)
        nothing = ((0, 0),) * first.ndim, (0,) * first.ndim
        scores = [np.moveaxis(scores_of(run, read, tile, *nothing), axis, 0) for tile in (first, second)]
        differences.append(np.abs(scores[0][-overlap:] - scores[1][:overlap]))
    weights = blending_weights(plan)
    slope = np.abs(np.diff(np.moveaxis(weights, axis, 0)[: overlap + 1], axis=0)).max()
    mean, largest = np.mean(differences), np.max(differences)
    return (
        f"this model sees the whole image: where two tiles overlap, their probabilities differ by {mean:.1e} on "
        f"average, at most {largest:.1e} on {len(differences)} places; blended over {overlap} pixels that is "
        f"{slope * mean:.1e} on average from one pixel to the next, at most {slope * largest:.1e}"
    )
