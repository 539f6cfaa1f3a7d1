"""Random changes of brightness and contrast, and noise, relative to the image's own deviation."""

import numpy as np


def jitter(
    image: np.ndarray, rng: np.random.Generator, strength: float = 0.1, out: np.ndarray | None = None
) -> np.ndarray:
    """Changes contrast and brightness of an image slightly.

    Args:
        image: Array `(*spatial, channels)`, float or `uint8`.
        rng: Generator that the changes follow from.
        strength: Standard deviation of both changes, relative to the image's own deviation.
        out: Array for the result of a float image.
    """
    scale, shift = rng.normal(0, strength, 2)
    mean, std = approximate_moments(image)
    result = np.multiply(image, np.float32(1 + scale), out=out)
    result += np.float32(shift * std - mean * scale)
    return as_type(result, image.dtype)


def add_noise(image: np.ndarray, rng: np.random.Generator, strength: float = 0.1) -> np.ndarray:
    """Adds normal noise, of a standard deviation between 0 and `strength` times the image's own: see `jitter`."""
    deviation = rng.uniform(0, strength) * approximate_moments(image)[1]
    return as_type(image + np.float32(deviation) * rng.standard_normal(image.shape, np.float32), image.dtype)


def approximate_moments(image: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of an image `(*spatial, channels)`, from about 64 pixels along each axis."""
    some = image[tuple(slice(None, None, max(1, length // 64)) for length in image.shape[:-1])]
    return float(some.mean(dtype=np.float64)), float(some.std(dtype=np.float64))


def as_type(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns changed pixels in the type of the image that they come from."""
    return np.clip(np.rint(image), 0, 255).astype(dtype) if dtype == np.uint8 else image.astype(dtype, copy=False)
