"""Labelled images in memory, whose pixels say where they come from, and the batches of windows made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskzoo.data import Case, LabelScheme, Normalizer, open_source

# The values of the images of `cases` lie this far apart: a multiple of 3.
APART = 10_002


def labelled(label: np.ndarray, image: np.ndarray | None = None, name: str = "case", scheme: LabelScheme | None = None):
    """A case of a label map; its image shows the label unless one is given."""
    source = open_source(label, spatial_dims=label.ndim)
    shown = open_source(label.astype(np.float32) if image is None else image, spatial_dims=label.ndim)
    scheme = found_scheme([source]) if scheme is None else scheme
    return Case(name, None, shown, Normalizer("none", shown.channels)(shown), scheme.reader(source))


def found_scheme(sources: Sequence, **options) -> LabelScheme:
    """The scheme of label values that is read off some labels."""
    from maskzoo.data.labels.finding import find_scheme

    return find_scheme(sources, **options)


def cases(shapes: Sequence[tuple[int, ...]], channels: int = 1) -> list[Case]:
    """Images whose pixels are all different, also from image to image; the label is 1 where they divide by 3."""
    made = []
    for number, shape in enumerate(shapes):
        values = np.random.default_rng(number).permutation(int(np.prod(shape))).reshape(shape) + APART * number
        image = np.stack([values.astype(np.float32)] * channels, axis=-1)
        made.append(labelled((values % 3 == 0).astype(np.uint8), image, str(number)))
    return made


def batches(windows, epoch: int = 0, hardness: np.ndarray | None = None) -> list[tuple[np.ndarray, ...]]:
    """All batches of an epoch of `RandomWindows` or `GridWindows`."""
    return [windows.batch(epoch, index, hardness) for index in range(windows.steps)]


def first_values(made: list[tuple[np.ndarray, ...]]) -> list[float]:
    """The value of the first pixel of every sample of some batches, which says where in which image it lies."""
    return [value for images, *_ in made for value in images.reshape(len(images), -1)[:, 0].tolist()]


def assert_equal_batches(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)
