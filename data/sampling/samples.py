"""One training sample: a window read at a scale, changed at random, its masks blurred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..augmentation.intensity import jitter
from ..augmentation.symmetries import random_symmetry
from ..augmentation.transforms import Augmentation
from ..windows import Window, crop
from .options import WindowOptions, shrink_factors
from .scales import enlarge, shrink_image, shrink_label

if TYPE_CHECKING:
    from ..sets.cases import Case


class SampleReader:
    """Reads windows of cases as training samples.

    Args:
        halo: Pairs (before, after) of pixels that images show around labels, one per axis.
        options: How samples are changed.
    """

    def __init__(self, halo: tuple[tuple[int, int], ...], options: WindowOptions) -> None:
        self._halo = halo
        self._flips = options.augment == "flips"
        self._augmentation = None if options.augment in ("none", "flips") else Augmentation(options.augment)
        self._factors = shrink_factors(options.scales)
        self._sigma = options.mask_sigma

    def draw_factor(self, rng: np.random.Generator) -> int:
        """Returns how many pixels of an image become one of a sample, per axis: 1 divided by one of the scales."""
        several = len(self._factors) > 1
        return self._factors[rng.integers(len(self._factors))] if several else self._factors[0]

    def read(
        self, case: Case, window: Window, rng: np.random.Generator, out: np.ndarray, factor: int = 1
    ) -> np.ndarray:
        """Reads a sample.

        Args:
            case: The case to read from.
            window: Where the label lies; the image shows the halo around it.
            rng: Generator that all random changes follow from.
            out: Float32 array `(*spatial, channels)` that receives the image.
            factor: How many pixels of the image become one, per axis: more of it is then read, around the same centre.

        Returns:
            The label: `uint8` `(*spatial, classes)`, or float32 if masks are blurred.
        """
        label = self._read_changed(case, window, factor, rng, out)
        return blur_masks(label, self._sigma) if self._sigma else label

    def _read_changed(
        self, case: Case, window: Window, factor: int, rng: np.random.Generator, out: np.ndarray
    ) -> np.ndarray:
        if factor == 1 and not self._flips and self._augmentation is None:
            case.read_image(window.padded(self._halo), out)
            return case.read_label(window)
        # With the same halo on both sides of an axis, image and label have one centre, about which both are turned.
        even = tuple((max(pair), max(pair)) for pair in self._halo)
        excess = tuple((e[0] - h[0], e[1] - h[1]) for e, h in zip(even, self._halo, strict=True))
        # Presets move image and label together, so the label's halo may come into view.
        around = 0 if self._augmentation is None else even
        pixels = shrink_image(case.read_image.source.read(enlarge(window.padded(even), factor)), factor)
        label = shrink_label(case.read_label(enlarge(window.padded(around), factor)), factor, len(self._halo))
        if self._augmentation is not None:
            image, label = self._augmented(self._augmentation, case, pixels, label, rng)
            out[...] = crop(image, excess)
            return crop(label, even)
        image = case.read_image.normalize(pixels)
        if self._flips:
            image, label = random_symmetry(image, label, rng, case.image.frame.spacing)
            jitter(crop(image, excess), rng, out=out)
        else:
            out[...] = crop(image, excess)
        return label

    def _augmented(
        self, augmentation: Augmentation, case: Case, pixels: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        spacing = case.image.frame.spacing
        if pixels.dtype == np.uint8:
            pixels, label = augmentation(pixels, label, rng, spacing)
            return case.read_image.normalize(pixels), label
        # Colours are changed between 0 and 1, which is the range of values in the window.
        image = case.read_image.normalize(pixels)
        low = image.min()
        extent = max(image.max() - low, np.float32(1e-6))
        image, label = augmentation((image - low) / extent, label, rng, spacing)
        return image * extent + low, label


def blur_masks(masks: np.ndarray, sigma: float) -> np.ndarray:
    """Returns masks after a Gaussian, float32 between 0 and 1; ignored pixels stay 255 and contribute nothing.

    Args:
        masks: `uint8` array `(*spatial, classes)` of 0, 1 and 255.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    from scipy.ndimage import gaussian_filter

    sigmas = [sigma] * (masks.ndim - 1) + [0]
    counts = masks != 255
    blurred = gaussian_filter((masks * counts).astype(np.float32), sigmas, mode="nearest")
    if not counts.all():
        blurred /= np.maximum(gaussian_filter(counts.astype(np.float32), sigmas, mode="nearest"), 1e-6)
    return np.where(counts, np.clip(blurred, 0, 1), np.float32(255))
