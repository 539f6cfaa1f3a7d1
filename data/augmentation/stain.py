"""Stains of histological images: brought to one appearance (normalisation) or varied at random (augmentation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from maskzoo.errors import ImageError, OptionError
from maskzoo.names import counted, one_of

from ..images.measurement_cache import remembered
from ..images.source import Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource
from ..windows import Window

METHODS = ("macenko", "reinhard", "vahadane")

# Optical densities of haematoxylin, eosin and DAB in red, green and blue. Source: Ruifrok and Johnston, 2001, table 1.
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED /= np.linalg.norm(HED, axis=1, keepdims=True)

MIN_DENSITY = 0.15
SAMPLED_PIXELS = 1 << 18
MIN_PIXELS = 100

# -log((v + 1) / 256) of each value: glass, 255, has density 0.
DENSITIES = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)

# Directions `(2, 3)` of two stains and their strengths `(2,)`; for Reinhard mean and deviation `(3,)` in CIELAB.
Stains = tuple[np.ndarray, np.ndarray]


class StainedSource(WrappedSource):
    """Shows an 8-bit RGB image as if it had been stained and scanned like others.

    The image's own stains are measured once, on windows spread over it, when the first window is read.

    Args:
        source: The image.
        target: What `stain_target` returned.

    Raises:
        ImageError: If the image is not 8-bit RGB.
    """

    def __init__(self, source: Source, target: Mapping[str, Any]) -> None:  # JSON values, see `stain_target`
        require_colors(source)
        super().__init__(source)
        self._target = target
        self._own: Stains | None = None
        self._is_measured = False

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, in the target's stain."""
        if not self._is_measured:
            self._own = measure_stains(self.source, self._target["method"])
            self._is_measured = True
        return restain(self.source.read(window), self._own, self._target)


# Any: JSON values, as `data.json` holds them, which only this file looks into.
def stain_target(method: str, sources: Sequence[Source]) -> dict[str, Any]:
    """Returns the stain that images are brought to: the mean over those of some images.

    Args:
        method: `macenko`, `reinhard` or `vahadane`.
        sources: The images.

    Raises:
        ImageError: If an image is not 8-bit RGB.
        OptionError: If the method is unknown, or no image shows anything but glass.
    """
    if method not in METHODS:
        raise OptionError("stain", one_of(method, METHODS), method)
    for source in sources:
        require_colors(source)
    stains = [stain for source in sources if (stain := measure_stains(source, method)) is not None]
    if not stains:
        raise OptionError("stain", f"images with stained tissue for {method}", f"{len(sources)} without")
    first, second = (np.mean([stain[part] for stain in stains], axis=0) for part in (0, 1))
    if method == "reinhard":
        return {"method": method, "mean": first.tolist(), "std": second.tolist()}
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return {"method": method, "vectors": first.tolist(), "strengths": second.tolist()}


def require_colors(source: Source) -> None:
    """Checks that an image is 8-bit RGB.

    Raises:
        ImageError: If it is not.
    """
    if source.channels != 3 or source.dtype != np.uint8:
        raise ImageError(
            source.name,
            "8-bit RGB, which `stain` needs",
            f"{counted(source.channels, 'channel')} of {source.dtype}",
        )


def measure_stains(source: Source, method: str) -> Stains | None:
    """Returns what `fit_stains` does for an image, measured on windows spread over it."""

    def measure() -> list[np.ndarray]:
        windows = measured_windows(source.shape, 4 * SAMPLED_PIXELS)
        stride = max(1, -(-sum(prod(window.size) for window in windows) // SAMPLED_PIXELS))
        pixels = np.concatenate([source.read(window).reshape(-1, 3)[::stride] for window in windows])
        found = fit_stains(pixels, method)
        return [] if found is None else list(found)

    found = remembered(f"stain {method}", [source], measure)
    return (found[0], found[1]) if len(found) else None


def fit_stains(pixels: np.ndarray, method: str) -> Stains | None:
    """Returns the stains of an image: two directions of density and their strengths, or Reinhard's mean and deviation.

    Args:
        pixels: `uint8` array `(number, 3)`.
        method: `macenko`, `reinhard` or `vahadane`.

    Returns:
        Haematoxylin's and eosin's direction in optical density `(2, 3)` and the 99th percentile of each's
        concentration `(2,)`; for Reinhard mean and deviation in CIELAB of pixels that are not glass. `None` if there
        are too few of those.
    """
    densities = DENSITIES[pixels].astype(np.float64)
    tissue = densities.mean(axis=1) > MIN_DENSITY if method == "reinhard" else densities.min(axis=1) >= MIN_DENSITY
    if np.count_nonzero(tissue) < MIN_PIXELS:
        return None
    if method == "reinhard":
        lab = to_lab(pixels[tissue][None])[0].astype(np.float64)
        return lab.mean(axis=0), np.maximum(lab.std(axis=0), 1e-3)
    vectors = macenko_vectors(densities[tissue])
    if method == "vahadane":
        vectors = vahadane_vectors(densities[tissue], vectors)
    concentrations = densities @ np.linalg.pinv(vectors)
    return vectors, np.maximum(np.percentile(concentrations, 99, axis=0), 1e-3)


def macenko_vectors(densities: np.ndarray) -> np.ndarray:
    """Returns the directions of two stains `(2, 3)`, haematoxylin first: the extremes of the angles in their plane.

    Args:
        densities: `(number, 3)`.

    Source: Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009, section 2.
    """
    plane = np.linalg.eigh(np.cov(densities.T))[1][:, 1:]
    # Pointing towards the pixels, so that no angle is near the jump from pi to -pi.
    plane = plane * np.where(densities.mean(axis=0) @ plane < 0, -1, 1)
    angles = np.arctan2(*(densities @ plane).T[::-1])
    extremes = np.percentile(angles, (1, 99))
    return ordered(np.stack([np.cos(extremes), np.sin(extremes)], axis=1) @ plane.T)


def vahadane_vectors(densities: np.ndarray, start: np.ndarray, sparsity: float = 0.1, rounds: int = 200) -> np.ndarray:
    """Returns the directions of two stains `(2, 3)`, haematoxylin first, by sparse non-negative factorisation.

    Args:
        densities: `(number, 3)`.
        start: Directions `(2, 3)` to start from.
        sparsity: Weight of the sum of the concentrations relative to the squared error.
        rounds: Multiplicative updates.

    Source: Vahadane et al., "Structure-preserving color normalization and sparse stain separation", IEEE TMI 2016,
    equation 4; the updates are those of Hoyer, "Non-negative sparse coding", 2002.
    """
    some = np.maximum(densities[:: max(1, len(densities) // 20000)], 0)
    vectors = np.maximum(start, 1e-3)
    amounts = np.maximum(some @ np.linalg.pinv(vectors), 1e-3)
    for _ in range(rounds):
        amounts *= (some @ vectors.T) / (amounts @ (vectors @ vectors.T) + sparsity + 1e-12)
        vectors *= (amounts.T @ some) / ((amounts.T @ amounts) @ vectors + 1e-12)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors, amounts = vectors / length, amounts * length.T
    return ordered(vectors)


def ordered(vectors: np.ndarray) -> np.ndarray:
    """Returns two directions `(2, 3)` at length 1, the one with more red density first, which is haematoxylin."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors if vectors[0, 0] > vectors[1, 0] else vectors[::-1]


# Any: JSON values, see `stain_target`.
def restain(pixels: np.ndarray, own: Stains | None, target: Mapping[str, Any]) -> np.ndarray:
    """Returns `uint8` pixels `(*size, 3)` in another stain.

    Args:
        pixels: `uint8` array `(*size, 3)`.
        own: What `fit_stains` returned for their image; `None` leaves them as they are.
        target: What `stain_target` returned.
    """
    if own is None:
        return pixels
    first, second = own
    if target["method"] == "reinhard":
        scale = np.array(target["std"]) / second
        lab = to_lab(pixels)
        changed = from_lab(lab * scale.astype(np.float32) + (target["mean"] - first * scale).astype(np.float32))
        # Glass stays as it is: the means of the tissue say nothing about it.
        amount = np.clip(DENSITIES[pixels].mean(axis=-1, keepdims=True) / np.float32(MIN_DENSITY), 0, 1)
        return np.rint(pixels * (1 - amount) + changed * amount).astype(np.uint8)
    amounts = np.linalg.pinv(first) * (np.array(target["strengths"]) / second)
    return with_densities(pixels, amounts @ np.array(target["vectors"]), np.zeros(3))


def stain_jitter(image: np.ndarray, rng: np.random.Generator, strength: float = 0.05) -> np.ndarray:
    """Changes the amounts of haematoxylin, eosin and a third stain slightly, each independently.

    Each concentration is multiplied by 1 plus, and then increased by, a number between minus and plus `strength`.

    Args:
        image: RGB `(*spatial, 3)`, `uint8` or float between 0 and 1.
        rng: Generator that the changes follow from.
        strength: Size of the changes: 0.05 is slight, 0.2 strong.

    Source: Tellez et al., "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 2018, section III-C.
    """
    factors, shifts = rng.uniform(-strength, strength, (2, 3))
    return with_densities(image, np.linalg.inv(HED) @ ((1 + factors)[:, None] * HED), shifts @ HED)


def with_densities(image: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Returns pixels whose optical densities are those of an image times a matrix, plus a shift.

    Args:
        image: RGB `(*spatial, 3)`, `uint8` or float between 0 and 1.
        matrix: `(3, 3)`, from the old densities, its rows, to the new ones.
        shift: `(3,)`.
    """
    # OpenCV is an order of magnitude faster at this than numpy.
    import cv2

    flat = np.ascontiguousarray(image).reshape(-1, image.shape[-2], 3)
    densities = cv2.LUT(flat, DENSITIES) if image.dtype == np.uint8 else -np.log((np.clip(flat, 0, 1) * 255 + 1) / 256)
    light = cv2.exp(cv2.transform(densities, -np.concatenate([matrix.T, shift[:, None]], axis=1)))
    light *= 256
    light -= 1
    np.clip(light, 0, 255, out=light)
    light = np.rint(light, out=light) if image.dtype == np.uint8 else light / np.float32(255)
    return light.astype(image.dtype).reshape(image.shape)


def to_lab(pixels: np.ndarray) -> np.ndarray:
    """Returns CIELAB, float32, of `uint8` RGB pixels `(height, width, 3)`."""
    import cv2

    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def from_lab(lab: np.ndarray) -> np.ndarray:
    """Returns RGB between 0 and 255, float32, of CIELAB `(height, width, 3)`."""
    import cv2

    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255
