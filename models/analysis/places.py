"""Where the elements of inner tensors of a graph lie in the input: their distance, their start and their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import keras
import numpy as np

from .graph import functional
from .propagation import features
from .receptive_field import geometry
from .tracks import AxisGeometry

# How many allowed sizes of the input are looked at.
SIZES = 8


@dataclass(frozen=True, eq=False)
class Place:
    """Where the elements of a tensor lie in the model's input; tuples have one entry per spatial axis.

    Attributes:
        stride: Distance of neighbouring elements, in input elements.
        start: Where the first element begins, in input elements.
        sizes: Numbers of elements for some allowed input sizes, one array per axis.
    """

    stride: tuple[Fraction, ...]
    start: tuple[Fraction, ...]
    sizes: tuple[np.ndarray, ...]

    def factors(self, fine: "Place") -> tuple[int, ...] | None:
        """Returns how many elements of a finer tensor one element stands for, per axis; `None` if no whole numbers."""
        ratios = [coarse / other for coarse, other in zip(self.stride, fine.stride, strict=True)]
        return None if any(ratio.denominator != 1 for ratio in ratios) else tuple(int(ratio) for ratio in ratios)

    def crop(self, fine: "Place") -> tuple[int, ...] | None:
        """Returns how many elements of a finer tensor lie before its first one, once this tensor is enlarged to it.

        `None` if one's strides do not divide the other's, or if this tensor, enlarged, does not cover the finer one.
        Even kernels and padding move what lies at a place by less than an element of this tensor; such moves do not
        count.
        """
        factors = self.factors(fine)
        if factors is None:
            return None
        crops: list[int] = []
        for axis, factor in enumerate(factors):
            spare = int((self.sizes[axis] * factor - fine.sizes[axis]).min())
            before = round((fine.start[axis] - self.start[axis]) / fine.stride[axis])
            crops.append(min(max(before, 0), spare))
            if spare < 0 or (abs(before - crops[-1]) > factor and not self._is_as_long(fine, axis, factor)):
                return None
        return tuple(crops)

    def fills(self, fine: "Place") -> bool:
        """Returns whether this tensor, enlarged, is as large as a finer one, whatever the input size."""
        factors = self.factors(fine)
        return factors is not None and all(self._is_as_long(fine, axis, factor) for axis, factor in enumerate(factors))

    def _is_as_long(self, fine: "Place", axis: int, factor: int) -> bool:
        return bool(np.all(self.sizes[axis] * factor == fine.sizes[axis]))


def places(model: keras.Model, tensors: Sequence[keras.KerasTensor]) -> list[Place | None]:
    """Returns where tensors of a model's graph lie in its input.

    Args:
        model: A functional model, built for free or for fixed sizes.
        tensors: Outputs of its layers.

    Returns:
        One `Place` per tensor; `None` for those that do not follow the input's elements, such as pooled vectors, and
        for those whose last axes lie in the batch.

    Raises:
        OptionError: The model's layers fit together at no input size.
    """
    built = model.inputs[0].shape[1:-1]
    sizes: list[np.ndarray] = []
    for size, rule in zip(built, geometry(model).rules if None in built else (None,) * len(built), strict=True):
        if size is not None or rule is None:
            sizes.append(np.array([size] * SIZES))
        else:
            sizes.append(rule.at_least(64) + rule.multiple * np.arange(SIZES))
    graph = functional(keras.Model(model.inputs, list(tensors)))
    return [
        _place(feature.tracks) if feature.spatial and not feature.folded else None for feature in features(graph, sizes)
    ]


def _place(tracks: Sequence[AxisGeometry]) -> Place | None:
    if any(not track.step or np.isnan(track.size).any() for track in tracks):
        return None
    return Place(
        tuple(track.spacing for track in tracks),
        tuple(Fraction(track.origin) for track in tracks),
        tuple(track.size for track in tracks),
    )
