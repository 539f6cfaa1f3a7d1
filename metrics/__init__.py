"""Metrics: offline ones in numpy, scipy and scikit-image, streaming ones for Keras.

Keras, scipy and scikit-image are imported when something that needs them is touched: `metrics.Dice`, `metrics.surface`.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from . import calibration as calibration
    from . import membrane as membrane
    from . import objects as objects
    from . import presence as presence
    from . import surface as surface
    from .decision import logits_from as logits_from
    from .decision import predicted_labels as predicted_labels
    from .decision import probabilities as probabilities
    from .overlap import (
        competition_dice as competition_dice,
    )
    from .overlap import (
        confusion_counts as confusion_counts,
    )
    from .overlap import (
        dice_from_counts as dice_from_counts,
    )
    from .overlap import (
        iou_from_counts as iou_from_counts,
    )
    from .overlap import (
        precision_from_counts as precision_from_counts,
    )
    from .overlap import (
        recall_from_counts as recall_from_counts,
    )
    from .streaming import Dice as Dice
    from .streaming import IoU as IoU
    from .streaming import Precision as Precision
    from .streaming import Recall as Recall

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["calibration", "membrane", "objects", "presence", "surface"],
    submod_attrs={
        "decision": ["logits_from", "predicted_labels", "probabilities"],
        "overlap": [
            "competition_dice",
            "confusion_counts",
            "dice_from_counts",
            "iou_from_counts",
            "precision_from_counts",
            "recall_from_counts",
        ],
        "streaming": ["Dice", "IoU", "Precision", "Recall"],
    },
)
