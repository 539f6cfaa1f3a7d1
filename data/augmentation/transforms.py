"""Augmentation by albumentations, for images and volumes alike: named presets, or any of its transforms by name."""

from __future__ import annotations

import inspect
import os
import random
import threading

import numpy as np

from ..sets.normalization import unknown
from .mixing import jitter, noise, symmetries
from .stain import stain_jitter

REFLECT = {"border_mode": 4}  # cv2.BORDER_REFLECT_101, without importing OpenCV

PRESETS = {
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

# Transforms of ours, with their options.
OURS = {"symmetries": [], "stain": ["strength"], "jitter": ["strength"], "noise": ["strength"]}

# Colours exist only where there are three of them.
NEED_COLORS = ("HueSaturationValue", "ColorJitter", "RGBShift", "ToGray", "ChannelShuffle", "PlanckianJitter")


class Augmentation:
    """Changes an image and its label together, at random; the same generator state gives the same result.

    In volumes a planar transform acts alike on every slice along the first axis.

    Args:
        steps: Name of a preset, or a list of transforms, each a name or a mapping from one name to its options: those
            of albumentations 2.0.8; before them `symmetries` (flips and right-angle rotations) and `stain` (how much of
            each stain is where; only with three channels), after them `jitter` (contrast and brightness) and `noise`,
            which act on volumes as a whole.

    Raises:
        ValueError: Where a preset, a transform or an option is unknown.
    """

    def __init__(self, steps):
        if isinstance(steps, str):
            if steps not in PRESETS:
                raise ValueError(unknown("augment", steps, list(PRESETS)))
            self._steps = PRESETS[steps]
        else:
            self._steps = [(step, {}) if isinstance(step, str) else next(iter(step.items())) for step in steps]
            if any(not isinstance(step, str) and len(step) != 1 for step in steps):
                raise ValueError(f"augment: expected a list of names or {{name: options}}; received {steps}")
        self._ours = {name: options for name, options in self._steps if name in OURS}
        self._local = threading.local()
        self._pipeline(3)

    def __call__(self, image, label, rng):
        """Returns image and label, changed.

        Args:
            image: `uint8`, or float between 0 and 1, `(*spatial, channels)`.
            label: Integer array of the same spatial size, with or without further axes.
            rng: `numpy.random.Generator`.
        """
        if "symmetries" in self._ours:
            image, label = symmetries(image, label, rng)
        if "stain" in self._ours and image.shape[-1] == 3:
            image = stain_jitter(image, rng, **self._ours["stain"])
        pipeline = self._pipeline(image.shape[-1])
        # Its set_random_seed would give every transform the same numbers: all would act, or none.
        pipeline.set_random_state(rng, random.Random(int(rng.integers(2**31))))
        names = ("image", "mask") if image.ndim == 3 else ("volume", "mask3d")
        arrays = dict(zip(names, map(np.ascontiguousarray, (image, label)), strict=True))
        try:
            changed = pipeline(**arrays)
        except KeyError:
            raise ValueError(
                f"augment: expected transforms for volumes; received some that albumentations has for images only: "
                f"{', '.join(name for name, _ in self._steps)}; in volumes, jitter and noise take their places"
            ) from None
        image, label = (changed[name].reshape(arrays[name].shape) for name in names)
        for name, change in (("jitter", jitter), ("noise", noise)):
            if name in self._ours:
                image = change(image, rng, **self._ours[name])
        return image, label

    def _pipeline(self, channels):
        """Returns this thread's transforms: they keep the state of their random numbers."""
        cached = self._local.__dict__
        if channels not in cached:
            cached[channels] = compose([step for step in self._steps if channels == 3 or step[0] not in NEED_COLORS])
        return cached[channels]

    def __getstate__(self):
        return {"_steps": self._steps, "_ours": self._ours}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._local = threading.local()


def compose(steps):
    """Returns albumentations' pipeline of some transforms."""
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
            known = [*OURS, *(other for other in dir(albumentations) if other[0].isupper())]
            raise ValueError(unknown("augment", name, known).replace(", ".join(known), "those of albumentations"))
        parameters = inspect.signature(kind).parameters
        require_options(name, options, list(parameters))
        if "mask_interpolation" in parameters and "NEAREST_EXACT" in str(parameters["mask_interpolation"].annotation):
            # OpenCV's plain nearest neighbour moves a resized mask by up to half a pixel against the image.
            options = {"mask_interpolation": 6, **options}
        try:
            transforms.append(kind(**{key: _tuples(value) for key, value in options.items()}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"augment: expected options of {name}; received {' '.join(str(error).split())}") from None
    return albumentations.Compose(transforms)


def require_options(name, options, known):
    """Refuses unknown options, about which albumentations only warns."""
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"augment: option of {name}", option, known or ["none"]))


def _tuples(value):
    return tuple(value) if isinstance(value, list) else value
