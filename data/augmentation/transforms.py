"""Augmentation with albumentations, for images and volumes alike: named presets, or its transforms by name."""

from __future__ import annotations

import inspect
import logging
import os
import random
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import nearest_name, one_of

from .intensity import add_noise, jitter
from .stain import stain_jitter
from .symmetries import groups_of, random_symmetry, slice_axis

if TYPE_CHECKING:
    import albumentations

logger = logging.getLogger(__name__)

# Any: what an option of a transform may be is up to albumentations.
Options = Mapping[str, Any]
# A transform by its name, or a mapping from its name to its options.
Step = str | Mapping[str, Options]

REFLECT = {"border_mode": 4}  # cv2.BORDER_REFLECT_101, without importing OpenCV

PRESETS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "light": [
        ("symmetries", {}),
        ("Affine", {"scale": [0.9, 1.1], "rotate": [-15, 15], "translate_percent": [-0.05, 0.05], **REFLECT}),
        ("jitter", {"strength": 0.1}),
    ],
    "pathology": [
        ("symmetries", {}),
        ("Affine", {"scale": [0.8, 1.25], "rotate": [-45, 45], "translate_percent": [-0.1, 0.1], **REFLECT}),
        ("ElasticTransform", {"alpha": 60, "sigma": 8, "approximate": True, "p": 0.2, **REFLECT}),
        ("stain", {"strength": 0.1}),
        ("HueSaturationValue", {"hue_shift_limit": 15, "sat_shift_limit": 25, "val_shift_limit": 10}),
        ("RandomBrightnessContrast", {"brightness_limit": 0.15, "contrast_limit": 0.2}),
        ("GaussianBlur", {"sigma_limit": [0.3, 1.5], "p": 0.2}),
        ("GaussNoise", {"std_range": [0.01, 0.05], "p": 0.2}),
        ("CoarseDropout", {"num_holes_range": [1, 4], "p": 0.2}),
    ],
    "xray": [
        ("HorizontalFlip", {}),
        ("Affine", {"scale": [0.85, 1.15], "rotate": [-10, 10], "translate_percent": [-0.06, 0.06], **REFLECT}),
        ("GridDistortion", {"distort_limit": 0.2, "p": 0.2, **REFLECT}),
        ("ElasticTransform", {"alpha": 40, "sigma": 8, "approximate": True, "p": 0.1, **REFLECT}),
        ("RandomGamma", {"gamma_limit": [80, 120], "p": 0.3}),
        ("RandomBrightnessContrast", {"brightness_limit": 0.15, "contrast_limit": 0.2}),
        ("GaussNoise", {"std_range": [0.01, 0.04], "p": 0.2}),
    ],
    "volume": [
        ("symmetries", {}),
        ("Affine", {"scale": [0.85, 1.2], "rotate": [-15, 15], "p": 0.3, **REFLECT}),
        ("ElasticTransform", {"alpha": 20, "sigma": 6, "approximate": True, "p": 0.1, **REFLECT}),
        ("GaussianBlur", {"sigma_limit": [0.3, 1.0], "p": 0.15}),
        ("RandomGamma", {"gamma_limit": [80, 120], "p": 0.2}),
        ("jitter", {"strength": 0.15}),
        ("noise", {"strength": 0.15}),
    ],
}

# Our own transforms, with their options.
OURS: dict[str, list[str]] = {"symmetries": [], "stain": ["strength"], "jitter": ["strength"], "noise": ["strength"]}

# Transforms of albumentations that exchange the axes of the plane, however far apart their pixels are.
EXCHANGING = ("D4", "RandomRotate90", "SquareSymmetry", "Transpose")
# The one that exchanges all axes of a volume.
CUBIC = "CubicSymmetry"

# Transforms of albumentations that turn the plane by other angles, and the option that says by how much, if it has one.
TURNING = {"Affine": "rotate", "Rotate": "limit", "SafeRotate": "limit", "ShiftScaleRotate": "rotate_limit"}
# Where pixels are this much longer than wide, what is turned is sheared by more than the turn of a few degrees.
LARGEST_STRETCH = 1.1
_said_sheared: set[tuple[float, ...]] = set()

# Colours exist only where there are three of them.
NEED_COLORS = ("HueSaturationValue", "ColorJitter", "RGBShift", "ToGray", "ChannelShuffle", "PlanckianJitter")


class Pipelines(threading.local):
    """The pipelines of the current thread, by number of channels."""

    def __init__(self) -> None:
        self.by_channels: dict[int, albumentations.Compose] = {}


class Augmentation:
    """Changes an image and its label together, at random; the same generator state gives the same result.

    In volumes a planar transform acts in the same way on every slice. Slices lie along the last axis, unless only the
    two others have equal spacing.

    Args:
        steps: Name of a preset, or a list of transforms, each a name or a mapping from one name to its options: those
            of albumentations 2.0.8; before them `symmetries` (flips and right-angle rotations) and `stain` (the amount
            of each stain; only with three channels), after them `jitter` (contrast and brightness) and `noise`, which
            act on volumes as a whole.

    Raises:
        OptionError: If a preset, a transform or an option is unknown.
    """

    def __init__(self, steps: str | Sequence[Step]) -> None:
        if isinstance(steps, str):
            if steps not in PRESETS:
                raise OptionError("augment", one_of(steps, PRESETS), steps)
            self._steps = PRESETS[steps]
        else:
            if any(not isinstance(step, str) and len(step) != 1 for step in steps):
                raise OptionError("augment", "a list of names or {name: options}", steps)
            self._steps = [(step, {}) if isinstance(step, str) else next(iter(step.items())) for step in steps]
        self._ours = {name: options for name, options in self._steps if name in OURS}
        self._local = Pipelines()
        self._pipeline(3)

    def __call__(
        self,
        image: np.ndarray,
        label: np.ndarray,
        rng: np.random.Generator,
        spacing: Sequence[float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns image and label, changed.

        Args:
            image: `uint8`, or float between 0 and 1, `(*spatial, channels)`.
            label: Integer array of the same spatial size, with or without further axes.
            rng: Generator that all changes follow from.
            spacing: Size of a pixel along each spatial axis; `None` where it is not known: all then count as equal.

        Raises:
            OptionError: If a transform does not exist for volumes, changes the size of the window, or exchanges axes of
                unequal spacing.
        """
        if "symmetries" in self._ours:
            image, label = random_symmetry(image, label, rng, spacing)
        if "stain" in self._ours and image.shape[-1] == 3:
            image = stain_jitter(image, rng, **self._ours["stain"])
        pipeline = self._pipeline(image.shape[-1])
        # set_random_seed would give every transform the same numbers, so that either all or none would act.
        pipeline.set_random_state(rng, random.Random(int(rng.integers(2**31))))
        through = None if image.ndim == 3 else slice_axis(spacing)
        self._check_exchange(spacing, through)
        self._say_sheared(spacing, through)
        # Albumentations has slices first.
        given = (image, label) if through is None else (np.moveaxis(image, through, 0), np.moveaxis(label, through, 0))
        names = ("image", "mask") if through is None else ("volume", "mask3d")
        arrays = dict(zip(names, map(np.ascontiguousarray, given), strict=True))
        try:
            changed = pipeline(**arrays)
        except KeyError:
            raise OptionError(
                "augment",
                "transforms for volumes, such as jitter and noise",
                f"some that albumentations has for images only, among {', '.join(name for name, _ in self._steps)}",
            ) from None
        image, label = (self._same_size(changed[name], arrays[name]) for name in names)
        if through is not None:
            image, label = np.moveaxis(image, 0, through), np.moveaxis(label, 0, through)
        for name, change in (("jitter", jitter), ("noise", add_noise)):
            if name in self._ours:
                image = change(image, rng, **self._ours[name])
        return image, label

    def _check_exchange(self, spacing: Sequence[float] | None, through: int | None) -> None:
        """Refuses transforms of albumentations that would exchange axes of unequal spacing."""
        if spacing is None:
            return
        groups = groups_of(spacing, len(spacing))
        plane = {group for axis, group in enumerate(groups) if axis != through}
        unequal = {*(EXCHANGING if len(plane) > 1 else ()), *((CUBIC,) if len(set(groups)) > 1 else ())}
        for name, _ in self._steps:
            if name in unequal:
                sizes = " x ".join(f"{size:g}" for size in spacing)
                raise OptionError("augment", f"symmetries instead of {name} for pixels of {sizes}", name)

    def _say_sheared(self, spacing: Sequence[float] | None, through: int | None) -> None:
        """Warns, once for each size, of transforms that turn a plane whose pixels are longer than wide."""
        if spacing is None:
            return
        plane = tuple(float(size) for axis, size in enumerate(spacing) if axis != through)
        turning = [name for name, options in self._steps if name in TURNING and options.get(TURNING[name], 1) != 0]
        if not turning or max(plane) <= LARGEST_STRETCH * min(plane) or plane in _said_sheared:
            return
        _said_sheared.add(plane)
        sizes = " x ".join(f"{size:g}" for size in plane)
        logger.warning(
            "augment: %s turns planes whose pixels are %s, which shears what they show; `spacing` makes pixels square",
            ", ".join(turning),
            sizes,
        )

    def _same_size(self, changed: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Returns a changed array with the axes that it had before, and refuses another spatial size."""
        spatial_dims = 2 if before.ndim == 2 or changed.ndim == 2 else min(before.ndim, changed.ndim) - 1
        if changed.shape[:spatial_dims] != before.shape[:spatial_dims]:
            names = ", ".join(name for name, _ in self._steps)
            sizes = " x ".join(map(str, before.shape[:spatial_dims]))
            received = " x ".join(map(str, changed.shape[:spatial_dims]))
            raise OptionError(
                "augment", f"transforms that leave a window of {sizes} as large", f"{received}, of {names}"
            )
        return changed.reshape(before.shape)

    def _pipeline(self, channels: int) -> albumentations.Compose:
        """Returns this thread's transforms, which hold the state of their random numbers."""
        cached = self._local.by_channels
        if channels not in cached:
            cached[channels] = compose([step for step in self._steps if channels == 3 or step[0] not in NEED_COLORS])
        return cached[channels]

    # Any: values of all attributes.
    def __getstate__(self) -> dict[str, Any]:
        return {"_steps": self._steps, "_ours": self._ours}

    def __setstate__(self, state: dict[str, Any]) -> None:  # attributes of whatever types
        self.__dict__.update(state)
        self._local = Pipelines()


def compose(steps: Sequence[tuple[str, Options]]) -> albumentations.Compose:
    """Returns albumentations' pipeline of some transforms; our own are left out.

    Raises:
        OptionError: If a transform or an option is unknown.
    """
    # Otherwise it asks the internet for a newer version when imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    transforms = []
    for name, options in steps:
        if name in OURS:
            require_options(name, options, OURS[name])
            continue
        kind = getattr(albumentations, name, None)
        if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
            near = nearest_name(name, [*OURS, *(other for other in dir(albumentations) if other[0].isupper())])
            known = f"{', '.join(OURS)} or a transform of albumentations"
            raise OptionError("augment", f"{near} (of {known})" if near else known, name)
        parameters = inspect.signature(kind).parameters
        require_options(name, options, list(parameters))
        if "mask_interpolation" in parameters and "NEAREST_EXACT" in str(parameters["mask_interpolation"].annotation):
            # OpenCV's plain nearest neighbour shifts a resized mask by up to half a pixel against the image.
            options = {"mask_interpolation": 6, **options}
        values: dict[str, Any] = {  # what an option may be is up to albumentations
            key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
        }
        try:
            transforms.append(kind(**values))
        except (TypeError, ValueError) as error:
            raise OptionError("augment", f"options of {name}", " ".join(str(error).split())) from None
    return albumentations.Compose(transforms)


def require_options(name: str, options: Options, known: Sequence[str]) -> None:
    """Refuses unknown options, about which albumentations only warns.

    Raises:
        OptionError: If an option is not known.
    """
    for option in options:
        if option not in known:
            raise OptionError("augment", f"as an option of {name} {one_of(option, known)}", option)
