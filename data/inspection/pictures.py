"""Pictures of images with their labels drawn over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.files import written_atomically

from ..palette import class_color, hex_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SIDE = 512
# Name of a sample, its image `(*spatial, channels)`, and label maps `(*spatial, classes)` in {0, 1} by caption.
Row = tuple[str, np.ndarray, Mapping[str, np.ndarray]]


def save_overlays(path: str | Path, rows: Sequence[Row], class_names: Sequence[str], title: str = "") -> None:
    """Writes one picture: per sample the image alone and the image under each of its label maps, side by side.

    Args:
        path: The PNG to write; it appears under its name only when complete.
        rows: Per sample `(name, image, {caption: labels})`. Images `(*spatial, channels)` of any range; labels
            `(*spatial, classes)` in {0, 1}, one channel per class, which may overlap. Of a volume the slice
            across the last axis with the most labels is shown.
        class_names: One name per class.
        title: Heading of the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    width = 1 + max(len(labels) for _, _, labels in rows)
    views = [(name, *flat_view(image, labels)) for name, image, labels in rows]
    # Two samples side by side if the picture would otherwise become a ribbon.
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
    patches = [
        Patch(facecolor=hex_color(number), edgecolor="#888888", label=name) for number, name in enumerate(class_names)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a matplotlib figure as PNG; it appears under its name only when complete."""
    with written_atomically(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=110)


def flat_view(image: np.ndarray, labels: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns what a picture shows of a sample: RGB `(rows, columns, 3)` between 0 and 1, and its label maps.

    Of a volume it is the slice with the most labels; at most `MAX_SIDE` pixels a side are kept.
    """
    if image.ndim == 4:
        counts = np.zeros(image.shape[2], np.int64)
        for label in labels.values():
            counts += label.sum(axis=(0, 1, 3), dtype=np.int64)
        index = int(np.argmax(counts)) if counts.any() else image.shape[2] // 2
        image, labels = image[:, :, index], {caption: label[:, :, index] for caption, label in labels.items()}
    step = -(-max(image.shape[:2]) // MAX_SIDE)
    is_picture = image.dtype == np.uint8 and image.shape[-1] == 3
    image = image[::step, ::step].astype(np.float32)
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    if is_picture:  # in the colours that every viewer shows
        return image / 255, {caption: label[::step, ::step] for caption, label in labels.items()}
    low, high = np.percentile(image, (0.5, 99.5))
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return image, {caption: label[::step, ::step] for caption, label in labels.items()}


def tinted(labels: np.ndarray) -> np.ndarray:
    """Returns label maps `(rows, columns, classes)` as one half-transparent picture, float32 `(rows, columns, 4)`.

    Later classes lie on top.
    """
    picture = np.zeros((*labels.shape[:2], 4), np.float32)
    for number in range(labels.shape[-1]):
        picture[labels[..., number] > 0] = (*(value / 255 for value in class_color(number)), 0.5)
    return picture
