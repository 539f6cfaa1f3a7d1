"""Metrics: offline ones in numpy and scipy, streaming ones for Keras, which is imported when one of them is touched."""

import importlib

from .decision import predicted_labels, probabilities
from .overlap import (
    confusion_counts,
    dice_from_counts,
    iou_from_counts,
    precision_from_counts,
    recall_from_counts,
)

_STREAMING = ("Dice", "IoU", "Precision", "Recall")

__all__ = [
    *_STREAMING,
    "confusion_counts",
    "dice_from_counts",
    "iou_from_counts",
    "precision_from_counts",
    "predicted_labels",
    "probabilities",
    "recall_from_counts",
]


def __getattr__(name):
    if name in _STREAMING:
        return getattr(importlib.import_module(".streaming", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
