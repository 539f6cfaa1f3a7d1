"""Images of one set whose files describe the same bands differently, read alike: as most of them say it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from maskzoo.errors import ImageError
from maskzoo.names import counted

from ..images.source import Source
from .specification import DataSpec

logger = logging.getLogger(__name__)

# From the number of an image and a changed specification to the image.
Reopen = Callable[[int, DataSpec], Source]


def read_alike(images: Sequence[Source], spec: DataSpec, reopen: Reopen) -> list[Source]:
    """Returns the images of a set with the same channels in the same order.

    Where most images hold data in the band that is tagged as transparency, as infrared is stored, it is data in those
    too whose band happens to hold nothing but clear and opaque pixels. Bands that files describe by name are read in
    the order of most files.

    Args:
        images: The images as each is read by itself.
        spec: The data set; what it declares holds.
        reopen: Opens an image otherwise.

    Raises:
        ImageError: If images differ in their channels.
    """
    images = list(images)
    if spec.bands is None:
        for fitted in (with_data_in_alpha, in_one_band_order):
            spec, others = fitted(images, spec)
            for number in others:
                images[number] = reopen(number, spec)
    for image in images[1:]:
        if image.channels != images[0].channels:
            notes = "".join(f"; {note}" for note in image.notes)
            expected = f"{counted(images[0].channels, 'channel')} as in {images[0].name}"
            raise ImageError(image.name, expected, f"{image.channels}{notes}")
    return images


def with_data_in_alpha(images: Sequence[Source], spec: DataSpec) -> tuple[DataSpec, list[int]]:
    """Returns how images are read whose band of transparency is data in most others, and their numbers."""
    others = [number for number, image in enumerate(images) if "alpha" not in image.roles]
    if spec.alpha is not None or not others or len(others) >= len(images) / 2:
        return spec, []
    logger.warning("images: the band tagged as transparency is data, as it is in most; `alpha` says otherwise")
    return replace(spec, alpha="data"), others


def in_one_band_order(images: Sequence[Source], spec: DataSpec) -> tuple[DataSpec, list[int]]:
    """Returns how images are read that have the bands of most in another order, and their numbers."""
    orders = Counter(image.band_names for image in images if image.band_names)
    if spec.band_names is not None or len(orders) < 2:
        return spec, []
    usual = max(orders, key=lambda names: orders[names])
    wrong = {names for names in orders if names != usual and sorted(names) == sorted(usual)}
    return replace(spec, band_names=usual), [n for n, image in enumerate(images) if image.band_names in wrong]
