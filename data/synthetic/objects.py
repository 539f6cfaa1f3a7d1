"""Images made on the fly: textured objects on a textured background, which no threshold on brightness separates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskzoo.errors import OptionError

COUNT = {2: 24, 3: 12}
SIZE = {2: 256, 3: 64}


# Name, image `uint8` `(*size, 1)` and label `uint8` class ids `(*size,)`.
SyntheticCase = tuple[str, np.ndarray, np.ndarray]


def synthetic_cases(
    spatial_dims: int,
    count: int | None = None,
    size: int | Sequence[int] | None = None,
    seed: int = 0,
    classes: int = 1,
) -> list[SyntheticCase]:
    """Makes images of blurred blobs that differ from the background by their texture.

    Objects are as bright as parts of the background, under uneven light and noise; distractors have the brightness of
    objects and the texture of the background. Several classes differ from each other in how coarse their texture is.

    Args:
        spatial_dims: Number of spatial axes, 2 or 3.
        count: Number of images; by default 24 images or 12 volumes.
        size: Pixels per axis, one number or one per axis, at least 8; by default 256 or 64.
        seed: The same seed makes the same images.
        classes: Number of classes besides the background, 1 to 4.

    Returns:
        Per image `(name, image, label)`: the image `uint8` `(*size, 1)`, the label `uint8` class ids `(*size,)`.

    Raises:
        OptionError: If an argument is out of range.
    """
    if spatial_dims not in COUNT:
        raise OptionError("spatial_dims", "2 or 3", spatial_dims)
    if not 1 <= classes <= 4:
        raise OptionError("classes", "1 to 4", classes)
    count = COUNT[spatial_dims] if count is None else count
    size = SIZE[spatial_dims] if size is None else size
    size = (size,) * spatial_dims if isinstance(size, int | np.integer) else tuple(size)
    if len(size) != spatial_dims or min(size) < 8:
        raise OptionError("size", f"at least 8 pixels along each of {spatial_dims} axes", size)
    rngs = np.random.default_rng([seed, spatial_dims, classes]).spawn(count)
    return [(f"{spatial_dims}d-{number:02}", *synthetic_case(size, rng, classes)) for number, rng in enumerate(rngs)]


def synthetic_case(size: tuple[int, ...], rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns one image and its label; with 0 classes only distractors: see `synthetic_cases`."""
    # Kind 0 is a distractor: as bright as an object, with the texture of the background.
    kinds = [0] * 4 + list(range(1, classes + 1)) * max(3, 7 // max(1, classes))
    textures = [0.1 * grain(size, rng, sigma) for sigma in (2.5, 0.5, 1.0, 1.6, 4.0)[: classes + 1]]
    wobble = grain(size, rng, min(size) / 12)
    texture, brightness, label = textures[0], np.zeros(size, np.float32), np.zeros(size, np.uint8)
    for kind in rng.permutation(kinds):
        inwards = blob(size, rng, wobble)
        fade = 1 / (1 + np.exp(-2 * np.clip(inwards, -8, 8)))
        texture = texture + fade * (np.roll(textures[kind], 7, axis=0) - texture)
        brightness += fade * (0.06 - brightness)
        label[inwards > 0] = kind
    image = 0.45 + slope(size, rng) + brightness + texture + 0.02 * rng.standard_normal(size, np.float32)
    return (255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], label


def grain(size: tuple[int, ...], rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Returns smooth noise `(*size,)` of standard deviation 1; `sigma` is how coarse it is, in pixels."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(size, np.float32), sigma, mode="wrap")
    return noise / noise.std()


def blob(size: tuple[int, ...], rng: np.random.Generator, wobble: np.ndarray) -> np.ndarray:
    """Returns how far each pixel lies inside a random ellipsoid, in pixels `(*size,)`, negative outside.

    `wobble` is noise `(*size,)` that deforms the ellipsoid.
    """
    # In a volume the same radius fills less of the whole.
    radii = rng.uniform(0.04, 0.08, len(size)) * len(size) * size
    axes = np.ogrid[tuple(slice(0, length) for length in size)]
    centre = rng.uniform(0.05, 0.95, len(size)) * size
    distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) ** 0.5
    shift = [int(step) for step in rng.integers(0, size)]
    return ((1 - distance + 0.15 * np.roll(wobble, shift, range(len(size)))) * radii.min()).astype(np.float32)


def slope(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Returns uneven light `(*size,)`: a plane of random direction, from about -0.12 to 0.12."""
    axes = np.ogrid[tuple(slice(-0.5, 0.5, length * 1j) for length in size)]
    direction = rng.standard_normal(len(size))
    plane = np.zeros(size)
    for axis, part in zip(axes, direction / np.linalg.norm(direction), strict=True):
        plane = plane + axis * part
    return (0.24 * plane).astype(np.float32)
