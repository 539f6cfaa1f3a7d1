"""Test-time augmentation: transforms in which a tile is shown to a model, and how each answer is transformed back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskzoo.errors import OptionError

from .. import data

GRAMMAR = "none, flips, rotations, symmetries, or scales such as scales:0.75,1.25; joined by commas"

# Order of the spatial axes, and which of them run backwards in the new order.
Orientation = tuple[tuple[int, ...], tuple[bool, ...]]


@dataclass(frozen=True)
class TTATransform:
    """One way to show an image: its axes in another order, then some of them flipped; then resized.

    Attributes:
        axes: Order of the spatial axes.
        flipped: Which of them run backwards, in the new order.
        scale: Factor on the spatial sizes.
    """

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    scale: float = 1.0

    @property
    def transposes(self) -> bool:
        """Whether two axes change places, for which an image must be allowed to lie on its side."""
        return self.axes != tuple(range(len(self.axes)))

    @property
    def reverses(self) -> bool:
        """Whether any axis runs backwards."""
        return any(self.flipped)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Shows images `(batch, *size, channels)` in this orientation; their scale is left as it is."""
        spatial_dims = len(self.axes)
        transposed = images.transpose(0, *(1 + axis for axis in self.axes), spatial_dims + 1)
        return np.ascontiguousarray(np.flip(transposed, self._flipped_axes()))

    def invert(self, outputs: np.ndarray) -> np.ndarray:
        """Undoes `apply`, exactly."""
        spatial_dims = len(self.axes)
        unflipped = np.flip(outputs, self._flipped_axes())
        return unflipped.transpose(0, *(1 + np.argsort(self.axes)), spatial_dims + 1)

    def predict(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        images: np.ndarray,
        allowed_size: Callable[[tuple[int, ...]], tuple[int, ...]],
    ) -> np.ndarray:
        """Returns what a model answers to images that it is shown transformed, laid back over them.

        Args:
            predict: Function from images to outputs of the same size; without a change of scale they may be smaller, by
                as much on either side of an axis, or their crop must be that of the transform.
            images: `(batch, *size, channels)`.
            allowed_size: Function from spatial sizes to the next ones that the model can take.

        Returns:
            Outputs `(batch, *size, classes)`.
        """
        shown = self.apply(images)
        size = shown.shape[1:-1]
        if self.scale != 1:
            wanted = allowed_size(tuple(max(1, round(n * self.scale)) for n in size))
            shown = data.resize(shown, wanted, first_axis=1, average=False)
        outputs = np.asarray(predict(shown))
        if self.scale != 1:
            outputs = data.resize(outputs, size, first_axis=1, average=False)
        return self.invert(outputs)

    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(1 + axis for axis, flipped in enumerate(self.flipped) if flipped)


def parse_tta(text: str, spatial_dims: int) -> tuple[TTATransform, ...]:
    """Returns the transforms that a description of test-time augmentation stands for.

    Flips mirror every axis, that across the slices of a volume too. Rotations are those by right angles in the plane of
    the first two axes, which is the plane of a 2D image and of a volume's slices along the last axis. Symmetries are
    flips and rotations together: eight in 2D, sixteen in 3D. Each scale is shown beside scale 1, in every one of these
    orientations.

    Args:
        text: `none`, `flips`, `rotations`, `symmetries`, `scales:0.75,1.25`, or an orientation and scales joined by a
            comma.
        spatial_dims: Number of spatial axes.

    Returns:
        The transforms, the one that changes nothing first.

    Raises:
        OptionError: If a word is unknown, or a scale is not a number from 0.25 to 4.
    """
    orientation, scales, in_scales = None, [1.0], False
    for word in (part.strip() for part in text.split(",")):
        if word.startswith("scales:"):
            word, in_scales = word.removeprefix("scales:"), True
        elif word in ORIENTATIONS and orientation is None:
            orientation = word
            continue
        if not in_scales:
            raise OptionError("tta", GRAMMAR, repr(text))
        try:
            scale = float(word)
        except ValueError:
            scale = math.nan
        if not 0.25 <= scale <= 4:
            raise OptionError("tta", "scales from 0.25 to 4, such as scales:0.75,1.25", repr(text))
        if scale not in scales:
            scales.append(scale)
    orientations = ORIENTATIONS[orientation or "none"](spatial_dims)
    return tuple(TTATransform(axes, flipped, scale) for scale in scales for axes, flipped in orientations)


def upright(spatial_dims: int) -> list[Orientation]:
    """The orientation of the image itself."""
    return [(tuple(range(spatial_dims)), (False,) * spatial_dims)]


def flips(spatial_dims: int) -> list[Orientation]:
    """Every combination of reversed axes."""
    return [(tuple(range(spatial_dims)), flipped) for flipped in itertools.product((False, True), repeat=spatial_dims)]


def symmetries(spatial_dims: int) -> list[Orientation]:
    """The flips, also with the first two axes exchanged."""
    swapped = (1, 0, *range(2, spatial_dims))
    return flips(spatial_dims) + [(swapped, flipped) for _, flipped in flips(spatial_dims)]


def rotations(spatial_dims: int) -> list[Orientation]:
    """The symmetries that keep right and left apart: an exchange of axes needs one flip to undo its mirroring."""
    return [
        (axes, flipped)
        for axes, flipped in symmetries(spatial_dims)
        if not any(flipped[2:]) and sum(flipped[:2]) % 2 == (axes[:2] == (1, 0))
    ]


ORIENTATIONS: dict[str, Callable[[int], list[Orientation]]] = {
    "none": upright,
    "flips": flips,
    "rotations": rotations,
    "symmetries": symmetries,
}
