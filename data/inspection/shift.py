"""Whether two sets of images differ: a classifier that tells their windows apart, and the features it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskzoo.errors import ImageError, OptionError
from maskzoo.names import counted

from ..images.opening import open_source
from ..sets.folders import files_by_stem
from ..sets.folds import make_folds
from ..sets.pairs import open_pairs
from ..sets.spec_file import check_path, read_spec
from ..windows import Window
from .features import describe, feature_names

if TYPE_CHECKING:
    from ..images.source import Source

WINDOW_SIDE = {2: 128, 3: 32}
MAX_IMAGES = 150
WINDOWS_PER_IMAGE = 8
FOLDS = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class Shift:
    """What `compare_images` found.

    Attributes:
        report: AUC and its interval, how many images and windows, and the features by how much they differ, as values
            that JSON can hold.
        features: Features of every window `(windows, features)`.
        second: Whether a window is of the second set `(windows,)`.
        scores: The logit of being of the second set for every window `(windows,)`, from a classifier that has not seen
            its image.
        places: Image and `Window` of every window.
    """

    report: dict[str, Any]  # JSON values
    features: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    places: list[tuple[Source, Window]]

    def windows(self, second: bool, count: int = 6) -> list[np.ndarray]:
        """Returns the windows `(*size, channels)` of one set that look most like it, each from another image."""
        order = np.argsort(-self.scores if second else self.scores)
        shown: dict[int, tuple[Source, Window]] = {}
        for index in order[self.second[order] == second]:
            source, window = self.places[index]
            shown.setdefault(id(source), (source, window))
        return [source.read(window) for source, window in list(shown.values())[:count]]


def open_images(path: str | Path, spatial_dims: int | None = None) -> list[Source]:
    """Opens the images of a folder, of its `images/`, or of a specification, with or without labels.

    Raises:
        OSError: If there is nothing at the path.
        ValueError: If it holds no images.
    """
    check_path(path)
    path = Path(path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return [image for _, image, _ in open_pairs(read_spec(path), spatial_dims or 2, 0)[0]]
    folder = path / "images" if (path / "images").is_dir() else path
    return [open_source(file, spatial_dims=spatial_dims) for file in files_by_stem(folder).values()]


def compare_images(first: Sequence[Source], second: Sequence[Source], *, seed: int = 0) -> Shift:
    """Trains a classifier to tell windows of two sets of images apart, and tests it on images that it has not seen.

    Up to eight windows of each of up to 150 images are described by `features.describe` and told apart by logistic
    regression, in five-fold cross-validation by image. The interval of the AUC is that of 95 % of 1000 resamplings of
    the images.

    Args:
        first: The images of one set.
        second: Those of the other, with as many channels.
        seed: Seed of windows, folds and resampling.

    Raises:
        ImageError: If spatial axes or channels differ.
        OptionError: If a set has fewer than two images.
    """
    from sklearn.metrics import roc_auc_score

    sets = [thinned(first), thinned(second)]
    check_sets(sets)
    spatial_dims = len(sets[0][0].shape)
    side = min(WINDOW_SIDE[spatial_dims], *(min(source.shape) for sources in sets for source in sources))
    rows, places, owners, images, folds = [], [], [], [], []
    number = min(FOLDS, *map(len, sets))
    for which, sources in enumerate(sets):
        # The same names and seed: images that are in both sets are held out together.
        held = make_folds([f"{index:06}" for index in range(len(sources))], number, seed=seed)
        for index, (source, fold) in enumerate(zip(sources, held.values(), strict=True)):
            for window in some_windows(source.shape, side, np.random.default_rng([seed, index])):
                rows.append(describe(source.read(window)))
                places.append((source, window))
                owners.append(which)
                images.append((which, index))
                folds.append(fold)
    features, of_second, fold_of = np.array(rows), np.array(owners, bool), np.array(folds)
    scores = np.empty(len(features))
    for fold in range(number):
        held = fold_of == fold
        scores[held] = logits(features[~held], of_second[~held], features[held])
    low, high = auc_interval(scores, of_second, np.array(images), seed)
    names = feature_names(sets[0][0].channels)
    report = {
        "auc": float(roc_auc_score(of_second, scores)),
        "interval": [low, high],
        "images": [len(sources) for sources in sets],
        "windows": [int((~of_second).sum()), int(of_second.sum())],
        "side": side,
        "features": sorted(differences(features, of_second, names), key=lambda row: -abs(row["deviations"])),
    }
    return Shift(report, features, of_second, scores, places)


def check_sets(sets: Sequence[Sequence[Source]]) -> None:
    """Checks that two sets can be compared.

    Raises:
        ImageError: If spatial axes or channels differ.
        OptionError: If a set has fewer than two images.
    """
    if min(map(len, sets)) < 2:
        raise OptionError("against", "at least 2 images in each set", f"{len(sets[0])} and {len(sets[1])}")
    like = sets[0][0]
    expected = f"{counted(len(like.shape), 'spatial axis', 'spatial axes')} and {counted(like.channels, 'channel')}"
    for source in [source for sources in sets for source in sources]:
        if (len(source.shape), source.channels) != (len(like.shape), like.channels):
            raise ImageError(source.name, f"{expected} as in {like.name}", f"{len(source.shape)} and {source.channels}")


def thinned(sources: Sequence[Source]) -> list[Source]:
    """Returns at most `MAX_IMAGES` of some images, spread over them."""
    if len(sources) <= MAX_IMAGES:
        return list(sources)
    return [sources[index] for index in np.linspace(0, len(sources) - 1, MAX_IMAGES).round().astype(int)]


def some_windows(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> list[Window]:
    """Returns windows at random places inside an image; only one if it is no larger than the window."""
    places = {tuple(int(rng.integers(length - side + 1)) for length in shape): None for _ in range(WINDOWS_PER_IMAGE)}
    return [Window(place, (side,) * len(shape)) for place in places]


def logits(features: np.ndarray, of_second: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the logits of other windows `(others,)`, from a logistic regression in which both sets weigh the same.

    Args:
        features: `(windows, features)` to train on.
        of_second: Whether a window is of the second set `(windows,)`.
        others: Features `(others, features)` of the other windows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(features), of_second)
    # A feature that is far out of range in an unseen image must not decide alone.
    return model.decision_function(np.clip(scaler.transform(others), -5, 5))


def auc_interval(scores: np.ndarray, of_second: np.ndarray, images: np.ndarray, seed: int) -> tuple[float, float]:
    """Returns the 2.5th and 97.5th percentile of the AUC when whole images are drawn with replacement.

    Args:
        scores: Scores of the windows `(windows,)`.
        of_second: Whether a window is of the second set `(windows,)`.
        images: Which image a window is of `(windows, 2)`: number of the set, number of the image.
        seed: Seed of the resampling.
    """
    from sklearn.metrics import roc_auc_score

    _, member = np.unique(images, axis=0, return_inverse=True)
    member = member.ravel()
    sets = [np.unique(member[of_second == which]) for which in (False, True)]
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in sets])
        weights = np.bincount(drawn, minlength=member.max() + 1)[member]
        areas.append(roc_auc_score(of_second, scores, sample_weight=weights))
    low, high = np.percentile(areas, (2.5, 97.5))
    return float(low), float(high)


def differences(features: np.ndarray, of_second: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns each feature's mean in both sets, and their difference in deviations within the sets, as JSON values."""
    parts = features[~of_second], features[of_second]
    means = [part.mean(axis=0) for part in parts]
    within = np.sqrt(np.mean([part.var(axis=0) for part in parts], axis=0))
    within = np.maximum(within, 1e-9 * (1 + np.abs(means).max(axis=0)))
    return [
        {"name": name, "first": float(a), "second": float(b), "deviations": float((b - a) / scale)}
        for name, a, b, scale in zip(names, *means, within, strict=True)
    ]
