"""Propagates the tracks of the spatial axes through a model's graph, from inputs to outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from .graph import Call, concrete, walk
from .layer_rules import folded_axes_of, track_behind
from .tracks import AxisGeometry


@dataclass(frozen=True, eq=False)
class Feature:
    """A tensor of the graph.

    Attributes:
        tracks: One per spatial axis of the input; empty shells where the tensor is not `spatial`.
        spatial: Whether the tensor has the spatial axes of the input, unlike a pooled vector.
        global_layers: The layers behind it that see the whole image, or that are not known, and why.
        folded: Number of last axes that lie in the batch, where layers leave them alone.
    """

    tracks: tuple[AxisGeometry, ...]
    spatial: bool
    global_layers: tuple[str, ...] = ()
    folded: int = 0


def features(model: keras.Function, sizes: Sequence[np.ndarray | Sequence[int]]) -> list[Feature]:
    """Returns the feature of every output.

    Args:
        model: A functional model.
        sizes: For each spatial axis the input sizes to try at once.
    """
    tracks = tuple(AxisGeometry.of_input(axis) for axis in sizes)
    image = Feature(tracks, True)
    vector = Feature(tuple(track.detached(math.nan) for track in tracks), False)
    return walk(model, [image if tensor.ndim == len(sizes) + 2 else vector for tensor in model.inputs], _follow)


def _follow(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Feature]:
    """Returns the features of a call's outputs."""
    read = [value for value in tree.flatten((args, kwargs)) if isinstance(value, Feature)]
    seen = tuple(dict.fromkeys(name for feature in read for name in feature.global_layers))
    spatial = [feature.tracks for feature in read if feature.spatial]
    before, folds = max((feature.folded for feature in read), default=0), folded_axes_of(call.operation)
    folded = before if folds is None else folds
    reason = None
    if spatial:
        kept = len(spatial[0]) - (folded if folds is None else 0)
        tracks = []
        for axis, along in enumerate(zip(*spatial, strict=True)):
            track = track_behind(call.operation, axis, along) if axis < kept else AxisGeometry.united(along)
            if isinstance(track, str):
                reason = track
                break
            tracks.append(track)
        else:
            return [Feature(tuple(tracks), True, seen, folded)] * len(call.outputs)
    if any(track.step for feature in read for track in feature.tracks):
        seen = (*seen, f"{call.operation.name}: {type(call.operation).__name__} {reason}")
    return [_guess(call, index, read, seen) for index in range(len(call.outputs))]


def _guess(call: Call, index: int, read: list[Feature], seen: tuple[str, ...]) -> Feature:
    """Returns the feature of an output of a layer that has no track: only its size matters, for what follows it."""
    tensor, template = call.outputs[index], read[0]
    folded = max(feature.folded for feature in read)
    if tensor.ndim != len(template.tracks) - folded + 2:
        return Feature(tuple(track.detached(math.nan) for track in template.tracks), False, seen, folded)
    source = next((feature for feature in read if feature.spatial), template)
    before, after = _probe(call, read.index(source), index) if source.spatial else (tensor.shape, tensor.shape)
    tracks = []
    kept = source.tracks[: len(source.tracks) - folded]
    for axis, track in enumerate(kept):
        size, made, built = before[axis + 1], after[axis + 1], tensor.shape[axis + 1]
        if not source.spatial or built not in (None, size):
            tracks.append(track.detached(math.nan if built is None else built))
        elif made and size % made == 0:
            tracks.append(track.gather(size // made, size // made, padding="same"))
        elif made and made % size == 0:
            tracks.append(track.enlarge(made // size))
        else:
            tracks.append(track.detached(math.nan))
    return Feature((*tracks, *source.tracks[len(kept) :]), True, seen, folded)


def _probe(call: Call, read: int, made: int) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Returns the shapes of an input and an output tensor of a call, with free sizes replaced by a round number."""
    specs = {id(tensor): concrete(tensor, (64,) * tensor.ndim) for tensor in call.inputs}
    args, kwargs = call.arguments(specs)
    shape = specs[id(call.inputs[read])].shape
    try:
        outputs = tree.flatten(call.operation.compute_output_spec(*args, **kwargs))
    except Exception:  # any layer may stand here, and any error only means that its output size stays unknown
        return shape, (None,) * call.outputs[made].ndim
    return shape, outputs[made].shape
