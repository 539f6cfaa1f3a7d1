"""Metrics: offline ones in numpy, scipy and scikit-image, streaming ones for Keras.

Keras, scipy and scikit-image are imported when something that needs them is touched: `metrics.Dice`, `metrics.surface`.
"""

import importlib

from .decision import predicted_labels, probabilities
from .overlap import (
    competition_dice,
    confusion_counts,
    dice_from_counts,
    iou_from_counts,
    precision_from_counts,
    recall_from_counts,
)

_STREAMING = ("Dice", "IoU", "Precision", "Recall")
_OFFLINE = ("calibration", "membrane", "objects", "presence", "surface")

__all__ = [
    *_OFFLINE,
    *_STREAMING,
    "competition_dice",
    "confusion_counts",
    "dice_from_counts",
    "iou_from_counts",
    "precision_from_counts",
    "predicted_labels",
    "probabilities",
    "recall_from_counts",
]


def __getattr__(name):
    if name in _OFFLINE:
        return importlib.import_module(f".{name}", __name__)
    if name in _STREAMING:
        return getattr(importlib.import_module(".streaming", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
