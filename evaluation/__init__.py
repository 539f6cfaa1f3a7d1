"""Scores of trained runs on labelled images, and the thresholds and weights that these decide."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .scores import evaluate as evaluate
    from .tuning import decide as decide
    from .tuning import draw_findings as draw_findings

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scores": ["evaluate"],
        "tuning": ["decide", "draw_findings"],
    },
)
