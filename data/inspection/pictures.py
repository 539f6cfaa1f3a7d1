"""Pictures of images with their labels drawn over them."""

import os
from pathlib import Path

import numpy as np

# Okabe and Ito's palette, told apart by colour-blind readers and readable over grey tissue, then darker ones of Tol's,
# so that the classes of a street scene differ.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
COLORS += ("#332288", "#882255", "#999933", "#661100", "#AA4499", "#44AA99", "#777777", "#000000")
LARGEST_SIDE = 512


def save_overlays(path, rows, class_names, title=""):
    """Writes one picture: per sample the image alone and the image under each of its label maps, side by side.

    Args:
        path: The PNG to write; it appears under its name only when complete.
        rows: List of `(name, image, {caption: labels})`. Images `(*spatial, channels)` of any range; labels
            `(*spatial, classes)` in {0, 1}, one channel per class, which may overlap. Of a volume the slice
            across the last axis with the most labels is shown.
        class_names: One name per class.
        title: Heading of the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    width = 1 + max(len(labels) for _, _, labels in rows)
    views = [(name, *flat_view(image, labels)) for name, image, labels in rows]
    # Two samples side by side where that keeps the picture from becoming a ribbon.
    across = 2 if width == 2 and len(views) > 2 else 1
    lines = [views[start : start + across] for start in range(0, len(views), across)]
    heights = [max(min(image.shape[0] / image.shape[1], 2) for _, image, _ in line) for line in lines]
    size = (3.2 * width * across, 3.2 * sum(heights) + 0.3 * len(lines) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(lines), width * across, squeeze=False, height_ratios=heights)
    for row, line in zip(axes, lines, strict=True):
        for number, (name, image, labels) in enumerate(line):
            panels = row[number * width : (number + 1) * width]
            for axis, (caption, overlay) in zip(panels, [(name, None), *labels.items()], strict=False):
                axis.imshow(image, interpolation="nearest")
                if overlay is not None:
                    axis.imshow(tinted(overlay), interpolation="nearest")
                axis.set_title(caption, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    colors = [COLORS[index % len(COLORS)] for index in range(len(class_names))]
    patches = [Patch(facecolor=c, edgecolor="#888888", label=n) for c, n in zip(colors, class_names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def save_figure(figure, path):
    """Writes a matplotlib figure as PNG under a temporary name, then renames it."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(unfinished, format="png", dpi=110)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def flat_view(image, labels):
    """The 2D view that is shown: RGB in 0..1 and its label maps, thinned to `LARGEST_SIDE` pixels a side."""
    if image.ndim == 4:
        counts = sum(map_.sum(axis=(0, 1, 3), dtype=np.int64) for map_ in labels.values())
        middle = image.shape[2] // 2
        index = int(np.argmax(counts)) if np.any(counts) else middle
        image, labels = image[:, :, index], {caption: map_[:, :, index] for caption, map_ in labels.items()}
    step = -(-max(image.shape[:2]) // LARGEST_SIDE)
    image = image[::step, ::step].astype(np.float32)
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    low, high = np.percentile(image, (0.5, 99.5))
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return image, {caption: map_[::step, ::step] for caption, map_ in labels.items()}


def tinted(labels):
    """Label maps `(H, W, classes)` as one half-transparent RGBA picture; later classes lie on top."""
    from matplotlib.colors import to_rgb

    picture = np.zeros((*labels.shape[:2], 4), np.float32)
    for index in range(labels.shape[-1]):
        picture[labels[..., index] > 0] = (*to_rgb(COLORS[index % len(COLORS)]), 0.5)
    return picture
