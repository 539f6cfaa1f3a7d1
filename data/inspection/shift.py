"""Whether two sets of images differ: a classifier that tells their windows apart, and by what."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..images.opening import open_source
from ..sets.folders import files_by_stem
from ..sets.folds import make_folds
from ..sets.pairs import open_pairs
from ..sets.spec_file import check_path, read_spec
from ..windows import Window

WINDOW_SIDE = {2: 128, 3: 32}
MOST_IMAGES = 150
WINDOWS_PER_IMAGE = 8
BANDS = (1 / 16, 1 / 8, 1 / 4)
RESAMPLES = 1000


@dataclass(frozen=True)
class Shift:
    """What `compare_images` found.

    Attributes:
        report: AUC and its interval, how many images and windows, and the features by how much they differ, as values
            that JSON can hold.
        features: Features of every window `(windows, features)`.
        second: Whether a window is of the second set.
        scores: Of every window, the logit of being of the second set, from a classifier that has not seen its image.
        places: Source and `Window` of every window.
    """

    report: dict
    features: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    places: list

    def windows(self, second, count=6):
        """Returns the windows of one set that look most like it, each of another image."""
        order = np.argsort(-self.scores if second else self.scores)
        shown = {}
        for index in order[self.second[order] == second]:
            source, window = self.places[index]
            shown.setdefault(id(source), (source, window))
        return [source.read(window) for source, window in list(shown.values())[:count]]


def open_images(path, spatial_dims=None):
    """Opens the images of a folder, of its `images/`, or of a specification, with or without labels.

    Raises:
        OSError: Where it is not there.
        ValueError: Where there are no images in it.
    """
    check_path(path)
    path = Path(path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return [image for _, image, _ in open_pairs(read_spec(path), spatial_dims or 2, 0)[0]]
    folder = path / "images" if (path / "images").is_dir() else path
    return [open_source(file, spatial_dims=spatial_dims) for file in files_by_stem(folder).values()]


def compare_images(first, second, *, seed=0) -> Shift:
    """Trains a classifier to tell windows of two sets of images apart, and tests it on images that it has not seen.

    Up to eight windows of each of up to 150 images are described by levels, contrast, edges and shares of frequency
    bands, and told apart by logistic regression, in five-fold cross-validation by image. The interval of the AUC is
    that of 95 % of 1000 resamplings of the images.

    Args:
        first: List of sources.
        second: List of sources of as many channels.
        seed: Seed of windows, folds and resampling.

    Raises:
        ValueError: Where a set has fewer than two images, or ranks or channels differ.
    """
    sets = [spread(first), spread(second)]
    check_sets(sets)
    spatial_dims = len(sets[0][0].shape)
    side = min(WINDOW_SIDE[spatial_dims], *(min(source.shape) for sources in sets for source in sources))
    features, places, owners, images, folds = [], [], [], [], []
    number = min(5, *map(len, sets))
    for which, sources in enumerate(sets):
        # The same names and seed: images that are in both sets are held out together.
        held = make_folds([f"{index:06}" for index in range(len(sources))], number, seed=seed)
        for index, (source, fold) in enumerate(zip(sources, held.values(), strict=True)):
            for window in some_windows(source.shape, side, np.random.default_rng([seed, index])):
                features.append(described(source.read(window)))
                places.append((source, window))
                owners.append(which)
                images.append((which, index))
                folds.append(fold)
    features, owners, folds = np.array(features), np.array(owners, bool), np.array(folds)
    scores = np.empty(len(features))
    for fold in range(number):
        held = folds == fold
        scores[held] = logits(features[~held], owners[~held], features[held])
    low, high = interval(scores, owners, images, seed)
    names = feature_names(sets[0][0].channels)
    rows = sorted(differences(features, owners, names), key=lambda row: -abs(row["deviations"]))
    report = {
        "auc": area(scores, owners),
        "interval": [low, high],
        "images": [len(sources) for sources in sets],
        "windows": [int((~owners).sum()), int(owners.sum())],
        "side": side,
        "features": rows,
    }
    return Shift(report, features, owners, scores, places)


def check_sets(sets):
    """Refuses sets that cannot be compared."""
    if min(map(len, sets)) < 2:
        raise ValueError(f"against: expected at least 2 images in each set; received {len(sets[0])} and {len(sets[1])}")
    like = sets[0][0]
    for source in [source for sources in sets for source in sources]:
        if (len(source.shape), source.channels) != (len(like.shape), like.channels):
            raise ValueError(
                f"{source.name}: expected {len(like.shape)} axes and {like.channels} channels as in {like.name}; "
                f"received {len(source.shape)} and {source.channels}"
            )


def spread(sources):
    """Returns at most `MOST_IMAGES` of some images, spread over them."""
    if len(sources) <= MOST_IMAGES:
        return list(sources)
    return [sources[index] for index in np.linspace(0, len(sources) - 1, MOST_IMAGES).round().astype(int)]


def some_windows(shape, side, rng):
    """Returns windows at random places inside an image, one alone where it is no larger than the window."""
    places = {tuple(int(rng.integers(length - side + 1)) for length in shape): None for _ in range(WINDOWS_PER_IMAGE)}
    return [Window(place, (side,) * len(shape)) for place in places]


def feature_names(channels):
    """Returns the names of what `described` measures."""
    colors = ["red", "green", "blue"] if channels == 3 else [f"channel {n + 1}" for n in range(channels)]
    levels = [f"{what} {color}" for color in colors for what in ("mean", "deviation", "5 %", "median", "95 %")]
    ends = [*(round(1 / band) for band in BANDS), 2]
    waves = [f"waves of {long} to {short} px" for long, short in itertools.pairwise(ends)]
    return [*levels, "edges", f"waves over {ends[0]} px", *waves]


def described(pixels):
    """Returns the features of a window: per channel its levels, then edges and frequency bands of its grey values."""
    values = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
    levels = [values.mean(axis=0), values.std(axis=0), *np.percentile(values, (5, 50, 95), axis=0)]
    grey = pixels.astype(np.float64).mean(axis=-1)
    contrast = grey.std() + 1e-6 * (1 + np.abs(grey).max())
    # Relative to the contrast, which the levels describe.
    grey = (grey - grey.mean()) / contrast
    edges = np.mean([np.abs(np.diff(grey, axis=axis)).mean() for axis in range(grey.ndim)])
    taper = grey
    for axis, length in enumerate(grey.shape):
        taper = taper * np.expand_dims(np.hanning(length + 2)[1:-1], [a for a in range(grey.ndim) if a != axis])
    power = np.abs(np.fft.rfftn(taper)) ** 2
    waves = [np.fft.fftfreq(length) for length in grey.shape[:-1]] + [np.fft.rfftfreq(grey.shape[-1])]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*waves, indexing="ij", sparse=True)))
    band = np.searchsorted(BANDS, radius.ravel(), side="right")
    shares = np.bincount(band, power.ravel(), minlength=len(BANDS) + 1)
    shares = np.log10(shares / max(shares.sum(), 1e-12) + 1e-6)
    return np.concatenate([np.stack(levels, axis=1).ravel(), [edges], shares])


def logits(features, owners, others, penalty=1.0):
    """Trains a logistic regression with a squared penalty, both sets weighing the same, and returns others' logits."""
    from scipy.optimize import minimize

    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 1e-12 * (1 + np.abs(mean)), std, np.inf)
    x, signs = (features - mean) / std, np.where(owners, 1.0, -1.0)
    weights = np.where(owners, 0.5 / owners.mean(), 0.5 / (~owners).mean())

    def loss(parameters):
        margins = signs * (x @ parameters[1:] + parameters[0])
        slopes = -weights * signs * np.exp(-np.logaddexp(0, margins))
        value = (weights * np.logaddexp(0, -margins)).sum() + penalty / 2 * (parameters[1:] ** 2).sum()
        return value, np.concatenate([[slopes.sum()], slopes @ x + penalty * parameters[1:]])

    found = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B").x
    # A feature that an unseen image has far outside must not decide alone.
    return np.clip((others - mean) / std, -5, 5) @ found[1:] + found[0]


def area(scores, owners, weights=None):
    """Returns the area under the ROC curve, ties counted half; samples may have weights."""
    weights = np.ones(len(scores)) if weights is None else weights
    values, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights * owners, minlength=len(values))
    no = np.bincount(place, weights * ~owners, minlength=len(values))
    return float((yes * (np.cumsum(no) - no / 2)).sum() / (yes.sum() * no.sum()))


def interval(scores, owners, images, seed):
    """Returns the 2.5th and 97.5th percentile of the AUC when whole images are drawn with replacement."""
    _, member = np.unique(images, axis=0, return_inverse=True)
    member = member.ravel()
    sets = [np.unique(member[owners == which]) for which in (False, True)]
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in sets])
        areas.append(area(scores, owners, np.bincount(drawn, minlength=member.max() + 1)[member]))
    return [float(value) for value in np.percentile(areas, (2.5, 97.5))]


def differences(features, owners, names):
    """Returns each feature's mean in both sets, and their difference in deviations within the sets."""
    parts = features[~owners], features[owners]
    means = [part.mean(axis=0) for part in parts]
    within = np.sqrt(np.mean([part.var(axis=0) for part in parts], axis=0))
    within = np.maximum(within, 1e-9 * (1 + np.abs(means).max(axis=0)))
    return [
        {"name": name, "first": float(a), "second": float(b), "deviations": float((b - a) / scale)}
        for name, a, b, scale in zip(names, *means, within, strict=True)
    ]


def save_shift(path, shift, names):
    """Writes a picture: how well the sets are told apart, what differs most, and the windows most typical of each.

    Args:
        path: The PNG to write; it appears under its name only when complete.
        shift: What `compare_images` returned.
        names: Names of the two sets.
    """
    from matplotlib.figure import Figure

    from .pictures import COLORS, flat_view, save_figure

    samples = [shift.windows(second) for second in (False, True)]
    columns = max(map(len, samples))
    figure = Figure(figsize=(11, 8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.3))
    order = [row["name"] for row in shift.report["features"][:2]]
    known = feature_names(shift.places[0][0].channels)
    panels = [
        ("the classifier's score", shift.scores),
        *((name, shift.features[:, known.index(name)]) for name in order),
    ]
    for axis, (title, values) in zip(upper.subplots(1, 3), panels, strict=True):
        edges = np.linspace(*np.percentile(values, (0.5, 99.5)), 31) if np.ptp(values) else 10
        for which, name in enumerate(names):
            some = values[shift.second == bool(which)]
            axis.hist(
                some, edges, weights=np.full(len(some), 1 / len(some)), alpha=0.6, color=COLORS[which], label=name
            )
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("share of windows", fontsize=8)
        axis.tick_params(labelsize=8)
    low, high = shift.report["interval"]
    upper.suptitle(f"AUC {shift.report['auc']:.3f} ({low:.3f} to {high:.3f})", fontsize=11)
    upper.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    for row, name, windows in zip(lower.subfigures(2, 1), names, samples, strict=True):
        row.suptitle(f"most like {name}", fontsize=9)
        for axis, window in zip(row.subplots(1, columns, squeeze=False)[0], windows, strict=False):
            axis.imshow(flat_view(window, {})[0], interpolation="nearest")
        for axis in row.axes:
            axis.set_axis_off()
    save_figure(figure, path)
