"""Test-time augmentation: the views in which a tile is shown to a model, and how each view's answer is turned back."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from .. import data

GRAMMAR = "none, flips, rotations, symmetries, or scales such as scales:0.75,1.25; joined by commas"


@dataclass(frozen=True)
class View:
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
    def turns(self):
        """Whether two axes change places, for which an image must be allowed to lie on its side."""
        return self.axes != tuple(range(len(self.axes)))


def parse_tta(text, spatial_dims):
    """The views that a description of test-time augmentation stands for.

    Flips mirror every axis. Rotations are those by right angles in the plane of the first two axes, which is the plane
    of a 2D image and of a volume's slices along the last axis. Symmetries are flips and rotations together: eight in
    2D, sixteen in 3D. Each scale is seen beside scale 1, in every one of these orientations.

    Args:
        text: `none`, `flips`, `rotations`, `symmetries`, `scales:0.75,1.25`, or an orientation and scales joined by a
            comma.
        spatial_dims: Number of spatial axes.

    Returns:
        Tuple of `View`, the unchanged one first.

    Raises:
        ValueError: If a word is unknown, or a scale is not a number from 0.25 to 4.
    """
    orientations, scales, in_scales = None, [1.0], False
    for word in (part.strip() for part in text.split(",")):
        if word.startswith("scales:"):
            word, in_scales = word.removeprefix("scales:"), True
        elif word in ORIENTATIONS and orientations is None:
            orientations = word
            continue
        if not in_scales:
            raise ValueError(f"--tta: expected {GRAMMAR}; received {text!r}")
        try:
            scale = float(word)
        except ValueError:
            scale = math.nan
        if not 0.25 <= scale <= 4:
            raise ValueError(f"--tta: expected scales from 0.25 to 4, such as scales:0.75,1.25; received {text!r}")
        if scale not in scales:
            scales.append(scale)
    turned = ORIENTATIONS[orientations or "none"](spatial_dims)
    return tuple(View(axes, flipped, scale) for scale in scales for axes, flipped in turned)


def unturned(spatial_dims):
    return [(tuple(range(spatial_dims)), (False,) * spatial_dims)]


def flips(spatial_dims):
    return [(tuple(range(spatial_dims)), flipped) for flipped in itertools.product((False, True), repeat=spatial_dims)]


def symmetries(spatial_dims):
    swapped = (1, 0, *range(2, spatial_dims))
    return flips(spatial_dims) + [(swapped, flipped) for _, flipped in flips(spatial_dims)]


def rotations(spatial_dims):
    """The symmetries that keep right and left apart: an exchange of axes needs one flip to undo its mirroring."""
    return [
        (axes, flipped)
        for axes, flipped in symmetries(spatial_dims)
        if not any(flipped[2:]) and sum(flipped[:2]) % 2 == (axes[:2] == (1, 0))
    ]


ORIENTATIONS = {"none": unturned, "flips": flips, "rotations": rotations, "symmetries": symmetries}


def turn(images, view):
    """Shows images `(batch, *size, channels)` in the orientation of a view."""
    spatial_dims = len(view.axes)
    turned = images.transpose(0, *(1 + axis for axis in view.axes), spatial_dims + 1)
    return np.ascontiguousarray(np.flip(turned, flipped_axes(view)))


def turn_back(outputs, view):
    """Undoes `turn`, exactly."""
    spatial_dims = len(view.axes)
    return np.flip(outputs, flipped_axes(view)).transpose(0, *(1 + np.argsort(view.axes)), spatial_dims + 1)


def flipped_axes(view):
    return tuple(1 + axis for axis, flipped in enumerate(view.flipped) if flipped)


def see(predict, images, view, allowed_size):
    """What a model answers to images seen in a view, laid back over them.

    Args:
        predict: Function from images to outputs of the same size; without a change of scale they may be smaller, by as
            much on either side of an axis, or their crop must be that of the view.
        images: `(batch, *size, channels)`.
        view: A `View`.
        allowed_size: Function from spatial sizes to the next ones that the model can take.

    Returns:
        Outputs `(batch, *size, classes)`.
    """
    turned = turn(images, view)
    size = turned.shape[1:-1]
    if view.scale != 1:
        wanted = allowed_size(tuple(max(1, round(n * view.scale)) for n in size))
        turned = data.resize(turned, wanted, first_axis=1, average=False)
    outputs = np.asarray(predict(turned))
    if view.scale != 1:
        outputs = data.resize(outputs, size, first_axis=1, average=False)
    return turn_back(outputs, view)
