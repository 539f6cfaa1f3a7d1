"""Losses for segmentation: from logits, for every task, one value per sample, added up by name."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from . import boundary as boundary
    from . import pixel as pixel
    from . import region as region
    from . import registry as registry
    from .compound import SegmentationLoss as SegmentationLoss
    from .compound import build_loss as build_loss
    from .registry import register_loss as register_loss
    from .schedule import WeightSchedule as WeightSchedule
    from .terms import list_losses as list_losses

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["boundary", "pixel", "region", "registry"],
    submod_attrs={
        "compound": ["SegmentationLoss", "build_loss"],
        "registry": ["register_loss"],
        "schedule": ["WeightSchedule"],
        "terms": ["list_losses"],
    },
)
