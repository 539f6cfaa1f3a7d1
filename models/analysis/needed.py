"""Which part of every tensor in a graph a part of the mask depends on: what is left to compute of the rest.

A layer that follows its input's elements commutes with shifts by whole steps of its track. So it may be given a part of
its input that begins at a whole step: it returns a part of its output, right wherever that part holds all that is read.
Ends of a tensor stay ends, where padding counts. Layers that see the whole image, or that bring one tensor to the size
of another, are given everything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from maskzoo.errors import OptionError

from .graph import Call, functional, is_foreign, outputs_by_name, walk
from .layer_rules import TransposedConvolution, track_behind
from .memory import inner_bytes
from .tracks import AxisGeometry

# Elements of an axis: the first, and the one behind the last.
Span = tuple[int, int]
# A tensor is cut before a layer if that leaves out at least this share of it: what is left is copied.
WORTH_A_CUT = 0.03


@dataclass(eq=False)
class Piece:
    """A tensor of the graph, and the part of it that is computed; tuples have one entry per spatial axis.

    Attributes:
        shape: Its shape when all of it is computed, for a batch of 1, or as many as one image is folded to.
        needed: What the mask's part depends on; `None` if nothing of it.
        computed: What is computed, which holds all that is needed.
    """

    shape: tuple[int, ...]
    needed: tuple[Span, ...] | None = None
    computed: tuple[Span, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its spatial sizes; none for a vector."""
        return self.shape[1:-1]

    @property
    def whole(self) -> tuple[Span, ...]:
        """All of it."""
        return tuple((0, size) for size in self.sizes)

    def elements(self, spans: Sequence[Span]) -> int:
        """Numbers in a part of it."""
        return math.prod(self.shape_of(spans))

    def shape_of(self, spans: Sequence[Span]) -> tuple[int, ...]:
        """Shape of a part of it."""
        return (*self.shape[:1], *(b - a for a, b in spans), *self.shape[1:][-1:])

    def need(self, spans: Sequence[Span]) -> None:
        """Notes that these elements are read."""
        known = spans if self.needed is None else self.needed
        self.needed = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(known, spans, strict=True))


@dataclass(eq=False)
class Step:
    """One call of a layer.

    Attributes:
        call: The call.
        number: Its place among all calls of the graph, from 0: a call in a model inside the model has several.
        read: The tensors that it reads.
        made: The tensors that it makes.
        tracks: What it does along each axis that it leaves in place; `None` for a layer that is given everything.
        given: The part of each tensor in `read` that it is given.
    """

    call: Call
    number: int
    read: tuple[Piece, ...]
    made: tuple[Piece, ...]
    tracks: tuple[AxisGeometry, ...] | None
    given: tuple[tuple[Span, ...], ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether the mask's part depends on it."""
        return any(piece.needed is not None for piece in self.made)


@dataclass(frozen=True, eq=False)
class Needed:
    """What is computed for a part of a mask.

    Attributes:
        steps: The calls that are needed, in order.
        work: Multiplications in them, as a share of those of the whole model on the same image.
        peak_bytes: Memory of the activations at the worst moment, for one image in float32.
    """

    steps: tuple[Step, ...]
    work: float
    peak_bytes: int


def needed(model: keras.Model, size: Sequence[int], part: Sequence[Span]) -> Needed:
    """Returns what a part of a model's mask depends on.

    Args:
        model: A functional model from images to a mask.
        size: Spatial size of the images, one that the model takes.
        part: What is wanted of the mask, per axis.

    Raises:
        OptionError: If the mask has no such part.
    """
    steps, mask = _record(model, size)
    if not mask.sizes or any(not 0 <= a < b <= n for (a, b), n in zip(part, mask.sizes, strict=True)):
        raise OptionError("part", f"a part of a mask of {mask.sizes}", tuple(part))
    mask.need(part)
    for step in reversed(steps):
        if step.is_needed:
            _mark(step)
    kept = [step for step in steps if step.is_needed]
    for step in kept:
        _cut(step)
    whole = sum(_products(step, step.read[0].whole, step.made[0].whole) for step in steps if step.read)
    cut = sum(_products(step, step.given[0], step.made[0].computed) for step in kept if step.read)
    return Needed(tuple(kept), cut / whole if whole else 1.0, _peak_bytes(kept, mask))


def _record(model: keras.Model, size: Sequence[int]) -> tuple[list[Step], Piece]:
    """Returns the calls of a graph in order, and the mask."""
    graph = functional(model)
    steps: list[Step] = []

    def visit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = tuple(value for value in tree.flatten((args, kwargs)) if isinstance(value, Piece))
        tracks = _tracks(call, read)
        if _has_places((args, kwargs)):
            tracks = None
        shapes = _shapes(call, (args, kwargs), tracks, [piece.shape for piece in read])
        if tracks and any(track.size[-1] != n for track, n in zip(tracks, shapes[0][1:-1], strict=False)):
            tracks = None  # it pads or cuts by a rule of its own
        made = tuple(map(Piece, shapes))
        steps.append(Step(call, len(steps), read, made, tracks))
        return list(made)

    # Beside the image there may be vectors.
    images = [Piece((1, *tuple(size)[: tensor.ndim - 2], tensor.shape[-1])) for tensor in graph.inputs]
    for image in images:
        image.computed = image.whole
    outputs = walk(graph, images, visit)
    mask = mask_of(model)
    return steps, next(piece for piece, x in zip(outputs, graph.outputs, strict=True) if x is mask)


def mask_of(model: keras.Model) -> keras.KerasTensor:
    """Returns the output of a model that is its mask: the one of that name, or else the first."""
    outputs = outputs_by_name(model)
    return outputs["mask"] if "mask" in outputs else next(iter(outputs.values()))


def _has_places(arguments: object) -> bool:
    """Whether the arguments of a call hold an array with a number for every position, such as a mask or coordinates."""
    arrays = [leaf for leaf in tree.flatten(arguments) if not isinstance(leaf, Piece)]
    return any(n != 1 for array in arrays for n in tuple(getattr(array, "shape", ()))[:-1])


def _tracks(call: Call, read: Sequence[Piece]) -> tuple[AxisGeometry, ...] | None:
    """What a layer does along the axes that it leaves in place, seen from the tensors that it reads."""
    spatial = [piece for piece in read if piece.sizes]
    if not spatial:
        return None
    axes = min(len(piece.sizes) for piece in spatial)
    tracks = []
    for axis in range(min(axes, *(max(x.ndim - 2, 0) for x in call.outputs))):
        lengths = [piece.sizes[axis] for piece in spatial]
        if len({length for length in lengths if length > 1}) > 1:
            return None  # one is brought to the size of another
        track = track_behind(call.operation, axis, tuple(AxisGeometry.of_input([max(lengths)]) for _ in lengths))
        if isinstance(track, str) or not track.step:
            return None
        tracks.append(track)
    return tuple(tracks) or None


def _shapes(
    call: Call, arguments: Any, tracks: Sequence[AxisGeometry] | None, shapes: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Shapes of what a call makes, where the tensors that it reads have these shapes."""
    ranks = [max(x.ndim - 2, 0) for x in call.outputs]
    if tracks and not is_foreign(call.operation) and set(ranks) == {len(tracks)}:
        batch, sizes = max(shape[0] for shape in shapes), [int(track.size[-1]) for track in tracks]
        return [(batch, *sizes, x.shape[-1]) for x in call.outputs]
    args, kwargs = _specs(arguments, shapes)
    made = tree.flatten(call.operation.compute_output_spec(*args, **kwargs))
    if any(None in spec.shape for spec in made):  # Keras knows it in part
        made = tree.flatten(call.operation.call(*args, **kwargs))
    return [tuple(spec.shape) for spec in made]


def _specs(arguments: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """The arguments of a call, with specifications of these shapes in place of the tensors."""
    read = [value for value in tree.flatten(arguments) if isinstance(value, Piece)]
    specs = {id(piece): keras.KerasTensor(shape) for piece, shape in zip(read, shapes, strict=True)}
    return tree.map_structure(lambda value: specs.get(id(value), value), arguments)


def _mark(step: Step) -> None:
    """Notes what a call reads for what is needed of the tensors that it makes."""
    if step.tracks is None:
        for piece in step.read:
            piece.need(piece.whole)
        return
    wanted = [piece.needed for piece in step.made if piece.needed is not None]
    spans = []
    for axis, track in enumerate(step.tracks):
        first, last = min(span[axis][0] for span in wanted), max(span[axis][1] for span in wanted)
        spans.append(_span_behind(track, first, last))
    for piece in step.read:
        piece.need(_fitted(piece, spans))


def _fitted(piece: Piece, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans for a tensor: all of an axis that is only repeated along the others', or that lies behind them."""
    whole = piece.whole
    if not whole:
        return whole
    return (
        tuple(span if piece.sizes[axis] > 1 else whole[axis] for axis, span in enumerate(spans)) + whole[len(spans) :]
    )


def _span_behind(track: AxisGeometry, first: int, stop: int) -> Span:
    """The part of a layer's input, from whole step to whole step, on which some of its output's elements depend.

    It is also as long as the layer must be given for these elements to exist, where it cuts ends off.
    """
    size, step, period = int(track.input_sizes[-1]), track.step, track.period
    element = np.arange(first, min(stop, first + period))
    last = np.arange(max(first, stop - period), stop)
    low = (track.step * (element // period) + track.low[1, element % period]).min()
    high = (track.step * (last // period) + track.high[1, last % period]).max()
    # An element may see nothing but padding.
    start, end = min(max(int(low), 0), size - 1), max(min(int(high) + 1, size), 1)
    start, end = min(start, end - 1), max(end, start + 1)
    return start // step * step, size - (size - end) // step * step


def _cut(step: Step) -> None:
    """Chooses what a call is given of the tensors that it reads, of which the parts to be computed are known."""
    if step.tracks is None:
        step.given = tuple(piece.whole for piece in step.read)
        for piece in step.made:
            piece.computed = piece.whole
        return
    wanted, offered = [], []
    for axis, track in enumerate(step.tracks):
        following = [piece for piece in step.read if len(piece.sizes) > axis and piece.sizes[axis] > 1]
        size, each = int(track.input_sizes[-1]), track.step
        needs = [piece.needed[axis] for piece in step.made if piece.needed]
        wanted.append(_span_behind(track, min(a for a, _ in needs), max(b for _, b in needs)))
        start = max((piece.computed[axis][0] for piece in following), default=0)
        stop = min((piece.computed[axis][1] for piece in following), default=size)
        offered.append((-(-start // each) * each, size - -(-(size - stop) // each) * each))
    copied = all(_is_pointwise(track) for track in step.tracks)
    is_cut = not copied and _elements(wanted) <= (1 - WORTH_A_CUT) * _elements(offered)
    spans = wanted if is_cut else offered
    step.given = tuple(_fitted(piece, spans) for piece in step.read)
    shapes = _shapes_of_parts(step)
    starts = [span[0] // track.step * track.period for span, track in zip(spans, step.tracks, strict=True)]
    for piece, shape in zip(step.made, shapes, strict=True):
        along = [(first, first + n) for first, n in zip(starts, shape[1:-1], strict=False)]
        piece.computed = (*along, *piece.whole[len(along) :])


def _shapes_of_parts(step: Step) -> list[tuple[int, ...]]:
    """Shapes of what a call makes of what it is given."""
    shapes = [piece.shape_of(spans) for piece, spans in zip(step.read, step.given, strict=True)]
    sizes = [shape[1:-1] for shape in shapes]
    lengths = [max(size[axis] for size in sizes if len(size) > axis) for axis in range(len(step.tracks or ()))]
    spatial = sum(bool(piece.sizes) for piece in step.read)
    tracks = [
        track_behind(step.call.operation, axis, (AxisGeometry.of_input([length]),) * spatial)
        for axis, length in enumerate(lengths)
    ]
    return _shapes(step.call, _arguments(step), [t for t in tracks if not isinstance(t, str)], shapes)


def _arguments(step: Step) -> Any:
    """The arguments of a call, with the tensors that it reads."""
    return step.call.arguments({id(x): piece for x, piece in zip(step.call.inputs, step.read, strict=True)})


def _is_pointwise(track: AxisGeometry) -> bool:
    return track.step == track.period == 1 and not track.low[0].any() and not track.high[0].any()


def _elements(spans: Sequence[Span]) -> int:
    return math.prod(b - a for a, b in spans)


def _kernels(operation: Any) -> int:
    """Numbers in the kernels of a layer; Any, as operations have no weights."""
    return sum(math.prod(weight.shape) for weight in getattr(operation, "weights", ()) if len(weight.shape) > 1)


def _products(step: Step, read: Sequence[Span], made: Sequence[Span]) -> int:
    """Multiplications of a call: each of its kernels is applied at every position."""
    is_transposed = isinstance(step.call.operation, TransposedConvolution)
    piece, spans = (step.read[0], read) if is_transposed else (step.made[0], made)
    return _kernels(step.call.operation) * math.prod(piece.shape_of(spans)[:-1])


def _peak_bytes(steps: Sequence[Step], mask: Piece) -> int:
    """Memory of the activations at the worst moment, each alive from the call that makes it to the last that reads."""
    last = {id(piece): moment for moment, step in enumerate(steps) for piece in step.read} | {id(mask): len(steps)}
    alive: dict[int, int] = {}
    peak = 0
    for moment, step in enumerate(steps):
        for piece in (*step.read, *step.made):
            alive[id(piece)] = 4 * piece.elements(piece.computed)
        copies = [
            4 * piece.elements(given)
            for piece, given in zip(step.read, step.given, strict=True)
            if given != piece.computed
        ]
        shapes = [piece.shape_of(given) for piece, given in zip(step.read, step.given, strict=True)]
        inside = inner_bytes(step.call, *_specs(_arguments(step), shapes))
        peak = max(peak, sum(alive.values()) + sum(copies) + inside)
        alive = {key: size for key, size in alive.items() if last.get(key, moment) > moment}
    return peak
