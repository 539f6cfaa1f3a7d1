"""How an image is cut into tiles whose halo is read off the model's graph, so that tiled equals whole prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from maskzoo.errors import OptionError
from maskzoo.files import JSON

from .. import data
from ..models import analysis
from .memory_bound import bounded_tiles
from .options import DEFAULT_TILES, GIGABYTE, TileOptions

if TYPE_CHECKING:
    import keras

# Python with TensorFlow, this project and one traced model (1.0), and the blocks that GDAL keeps (0.25); from here on
# measured on Linux.
BASE_MEMORY = 1.25 * GIGABYTE
# The convolutions' scratch space beside the activations themselves, and what the allocator keeps.
SCRATCH = 2
GRID = {2: 256, 3: 16}
LARGEST_TILE = {2: 4096, 3: 256}
# A smaller tile is taken if it costs at most this many times the least work.
WORTHWHILE = 1.05
# An image that fits into memory is predicted in one piece, without a halo, where with one the model would be given this
# many times its pixels: a volume that is smaller than its network's receptive field.
AFFORDABLE_WORK = 8
BLENDED_TILE = {2: 512, 3: 96}
BATCHES_AHEAD = 2
# Tiles smaller than this are given to the model several at a time.
BATCH_PIXELS = 512 * 512

Halo = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TilePlan:
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
        share: What is computed for a tile, as a share of the multiplications of the whole model on what it is given:
            the halo is not needed in every layer.
        bound: Where the bound on the memory comes from; nothing of one that the caller has set.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    halo: Halo
    crop: tuple[int, ...]
    batch: int
    memory: int
    overlap: tuple[int, ...]
    blend: str = "cosine"
    share: float = 1.0
    bound: str = field(default="", compare=False)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Pixels that the model is given for one tile, per axis."""
        return tuple(t + before + after for t, (before, after) in zip(self.tile, self.halo, strict=True))

    @property
    def part(self) -> tuple[tuple[int, int], ...]:
        """The elements of the model's output that are the tile, per axis: the first, and the one behind the last."""
        return tuple((first, first + size) for first, size in zip(self.crop, self.tile, strict=True))

    @property
    def is_blended(self) -> bool:
        """Whether tiles overlap and are blended."""
        return any(self.overlap)

    @property
    def tile_counts(self) -> tuple[int, ...]:
        """Tiles per axis."""
        return tuple(-(-(n + o) // t) for n, o, t in zip(self.shape, self.overlap, self.tile, strict=True))

    @property
    def tiles(self) -> int:
        """Tiles in all."""
        return math.prod(self.tile_counts)

    @property
    def work(self) -> float:
        """Multiplications for each pixel of the image, as a multiple of those of the whole model on that pixel."""
        return self.share * self.given

    @property
    def given(self) -> float:
        """Pixels that the model is given for each pixel of the image."""
        return self.tiles * math.prod(self.input_size) / math.prod(self.shape)

    def as_notes(self) -> dict[str, JSON]:
        """Returns the attributes as JSON values, for `from_notes`."""
        return asdict(self)

    @classmethod
    def from_notes(cls, notes: Mapping[str, JSON]) -> TilePlan:
        """Returns the plan that `as_notes` described."""
        known = [entry.name for entry in fields(cls) if entry.name in notes]
        return cls(**{name: tupled(notes[name]) for name in known})

    def __str__(self) -> str:
        def by(sizes: tuple[int, ...]) -> str:
            return " x ".join(map(str, sizes))

        halo = ", ".join(f"{before}+{after}" for before, after in self.halo)
        return (
            f"{self.tiles} tile{'s'[: self.tiles > 1]} of {by(self.tile)} for an image of {by(self.shape)}; "
            f"{f'blended over {by(self.overlap)} ({self.blend})' if self.is_blended else 'halo ' + halo}; "
            f"the model is given {self.batch} of {by(self.input_size)} at a time, "
            f"{self.work:.2f} times the work of the image's pixels; "
            f"expected memory {self.memory / GIGABYTE:.1f} GB{f' ({self.bound})' if self.bound else ''}"
        )


@dataclass(frozen=True)
class Tiled:
    """What a plan is made for.

    Attributes:
        model: A functional Keras model, `(batch, *spatial, channels)` to logits.
        shape: Spatial shape of the image.
        channels: Channels of the image.
        symmetric: Whether the model is given squares with equal halos on all sides, to be flipped and turned.
    """

    model: keras.Model
    shape: tuple[int, ...]
    channels: int
    symmetric: bool = False


def plan_tiles(
    model: keras.Model,
    shape: tuple[int, ...],
    channels: int,
    options: TileOptions = DEFAULT_TILES,
    *,
    patch: int | tuple[int, ...] | None = None,
    symmetric: bool = False,
) -> TilePlan:
    """Chooses the tile: the smallest within 5 % of the least work that the memory bound allows.

    An image much smaller than the receptive field, for which the halo would be most of the work, is predicted in one
    piece without one. For a model that sees the whole image no halo is enough: its tiles overlap and are blended.

    Args:
        model: A functional Keras model, `(batch, *spatial, channels)` to logits.
        shape: Spatial shape of the image.
        channels: Channels of the image.
        options: Tile, memory, halo, overlap and blend. A tile is rounded up to the model's stride; a halo must be one
            of `shorter_halos`. The seam tolerance has no part in it: see `halo_search.shorten_halo`.
        patch: Window size that the model was trained on, which is the tile of a model that sees the whole image.
        symmetric: Make what the model is given square, with equal halos on all sides, so that it can be flipped and
            turned without a loss.

    Raises:
        OptionError: If the memory that the caller allows is below the least need.
    """
    options = bounded_tiles(options)
    geometry = analysis.geometry(model)
    image = Tiled(model, tuple(shape), channels, symmetric)
    if geometry.is_global:
        size = options.tile or patch or BLENDED_TILE[len(shape)]
        plans = [replace(blended_plan(image, size, options.overlap), blend=options.blend)]
    else:
        plans = candidate_plans(image, geometry, options.tile, options.halo)
        free = options.tile is None and options.halo is None
        if free and min(plan.given for plan in plans) > AFFORDABLE_WORK:
            whole = whole_plan(image, geometry)
            if whole and whole.memory <= options.memory:
                return replace(whole, bound=options.reason)
    affordable = [plan for plan in plans if plan.memory <= options.memory]
    if not affordable and options.share:
        affordable = [min(plans, key=lambda plan: plan.memory)]
    if not affordable:
        need = min(plan.memory for plan in plans) / GIGABYTE
        raise OptionError(
            "memory",
            f"at least {need:.1f} GB for {model.name} with {plans[0].tile} tiles",
            f"{options.memory / GIGABYTE:.1f} GB",
        )
    return replace(smallest_worthwhile(affordable), bound=options.reason)


def smallest_worthwhile(plans: list[TilePlan]) -> TilePlan:
    """The first of some plans, smaller tiles first, that is nearly as little work as the best of them."""
    least = min(plan.work for plan in plans)
    return next(plan for plan in plans if plan.work <= WORTHWHILE * least)


def candidate_plans(
    image: Tiled, geometry: analysis.Geometry, tile: int | None = None, asked_halo: int | None = None
) -> list[TilePlan]:
    """The plans to choose from, smaller tiles first: only the asked tile where there is one."""
    shape, symmetric = image.shape, image.symmetric
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
    plans = []
    for cut in sorted(cuts):
        if asked_halo:
            halo, crop = ((asked_halo, asked_halo),) * len(shape), (asked_halo,) * len(shape)
        else:
            halo, crop = (symmetric_halo_and_crop if symmetric else halo_and_crop)(geometry, cut)
        plan = TilePlan(shape, cut, halo, crop, batch=1, memory=0, overlap=(0,) * len(shape))
        needed = analysis.needed(image.model, plan.input_size, plan.part)
        plans.append(with_memory(replace(plan, share=needed.work), image, needed.peak_bytes))
    return plans


def whole_plan(image: Tiled, geometry: analysis.Geometry) -> TilePlan | None:
    """The plan of predicting an image in one piece, mirrored up to an allowed size; `None` for valid padding."""
    if any(geometry.crop):
        return None
    shape = image.shape
    sizes = analysis.nearest_size(image.model, (max(shape),) * len(shape) if image.symmetric else shape)
    halo = tuple((0, size - n) for size, n in zip(sizes, shape, strict=True))
    nothing = (0,) * len(shape)
    plan = TilePlan(shape, shape, halo, nothing, batch=1, memory=0, overlap=nothing)
    return with_memory(plan, image, activation_bytes(image, plan))


def blended_plan(image: Tiled, size: int | tuple[int, ...], fraction: float) -> TilePlan:
    """The plan of tiles that overlap by a fraction of their size, on the axes that are longer than one tile."""
    model, shape = image.model, image.shape
    sizes = analysis.nearest_size(model, (size,) * len(shape) if isinstance(size, int) else tuple(size))
    sizes = tuple(min(pair) for pair in zip(sizes, analysis.nearest_size(model, shape), strict=True))
    if image.symmetric:
        sizes = analysis.nearest_size(model, (max(sizes),) * len(sizes))
    overlap = tuple(max(1, int(fraction * size)) if n > size else 0 for size, n in zip(sizes, shape, strict=True))
    tile = tuple(size - o for size, o in zip(sizes, overlap, strict=True))
    halo = tuple((o, 0) for o in overlap)
    plan = TilePlan(shape, tile, halo, (0,) * len(shape), batch=1, memory=0, overlap=overlap)
    return with_memory(plan, image, activation_bytes(image, plan))


def activation_bytes(image: Tiled, plan: TilePlan) -> int:
    """Peak bytes of the whole model's activations for what it is given."""
    return analysis.peak_activation_bytes(image.model, (*plan.input_size, image.channels))


def with_memory(plan: TilePlan, image: Tiled, activations: int) -> TilePlan:
    """A plan with its batch size and the peak memory to expect, from that of the activations of one tile, in bytes."""
    pixels = math.prod(plan.input_size)
    batch = max(1, min(plan.tiles, BATCH_PIXELS // pixels))
    weights = 4 * analysis.parameters(image.model)[0]
    classes = image.model.outputs[0].shape[-1]
    # Images to come, the answer that is put away while the model computes the next, and that to a blank image.
    images = ((1 + BATCHES_AHEAD) * image.channels + 2 * classes) * 4
    memory = BASE_MEMORY + weights + batch * (SCRATCH * activations + pixels * images)
    if plan.is_blended:
        # The open rows, and a second copy while they move on.
        across = math.prod(n + t for n, t in zip(plan.shape[1:], plan.tile[1:], strict=True))
        memory += 8 * classes * plan.input_size[0] * across
    return replace(plan, batch=batch, memory=round(memory))


def halo_and_crop(geometry: analysis.Geometry, tile: tuple[int, ...]) -> tuple[Halo, tuple[int, ...]]:
    """The pixels to read around a tile, and where the tile begins in the model's output."""
    spans = [geometry.input_span(axis, 0, size) for axis, size in enumerate(tile)]
    halo = tuple((-first, last - size) for (first, last, _), size in zip(spans, tile, strict=True))
    return halo, tuple(skip for _, _, skip in spans)


def symmetric_halo_and_crop(geometry: analysis.Geometry, tile: tuple[int, ...]) -> tuple[Halo, tuple[int, ...]]:
    """The same with one halo for all sides, which keeps the tile on the model's sampling grid where it can.

    Raises:
        OptionError: If the model takes no such size.
    """
    least, stride = max(max(pair) for pair in geometry.halo), math.lcm(*geometry.stride)
    for halo in sorted(range(least, least + 2 * common_step(geometry)), key=lambda halo: halo % stride != 0):
        if all(rule.allows(size + 2 * halo) for rule, size in zip(geometry.rules, tile, strict=True)):
            return ((halo, halo),) * len(tile), tuple(halo - offset for offset in geometry.offset)
    raise OptionError(
        "tta",
        "a model that takes tiles with equal halos on all sides, to flip and turn them",
        f"one that takes {' by '.join(map(str, geometry.rules))}",
    )


def common_step(geometry: analysis.Geometry) -> int:
    """The least number of pixels that is a multiple of the strides of all axes, and of the steps of allowed sizes."""
    return math.lcm(*geometry.stride, *(rule.multiple for rule in geometry.rules))


def shorter_halos(geometry: analysis.Geometry) -> list[int]:
    """The halos, shorter than what the model sees, that a plan may have: none for a model with valid padding."""
    step, longest = common_step(geometry), max(max(pair) for pair in geometry.tile_halo)
    if geometry.is_global or any(geometry.crop) or any(rule.remainder for rule in geometry.rules):
        return []
    # 1, 2, 3, 4, 6, 8, 12, 16 ... steps.
    multiples = sorted({1, *(k * 2**power for k in (2, 3) for power in range(20))})
    return [k * step for k in multiples if k * step < longest]


def tupled(value: JSON) -> JSON:
    """A value from JSON with tuples in place of lists."""
    return tuple(map(tupled, value)) if isinstance(value, list) else value


def round_up(size: int, step: int) -> int:
    """The next multiple of a step from a size on."""
    return -(-size // step) * step


def part_windows(plan: TilePlan) -> Sequence[data.Window]:
    """The windows that `predict_tiles` yields, in its order: tiles; where they are blended, bands across the image."""
    if not plan.is_blended:
        return data.window_grid(plan.shape, plan.tile)
    step, overlap, length = plan.tile[0], plan.overlap[0], plan.shape[0]
    rows = range(plan.tile_counts[0])
    edges = [(max(0, row * step - overlap), min(length, (row + 1) * step - overlap)) for row in rows]
    rest = (0,) * (len(plan.shape) - 1)
    return [data.Window((first, *rest), (last - first, *plan.shape[1:])) for first, last in edges]


def tile_windows(plan: TilePlan) -> Sequence[data.Window]:
    """The tiles of a plan, in row-major order; where they are blended, shifted by the overlap."""
    return data.window_grid([n + o for n, o in zip(plan.shape, plan.overlap, strict=True)], plan.tile)


def covered_windows(plan: TilePlan) -> Iterator[data.Window]:
    """Yields what each tile adds to, in the same order; it may reach outside the image."""
    for window in tile_windows(plan):
        # Where tiles are blended, one reaches back over the overlap.
        yield window.padded([(o, 0) for o in plan.overlap])
