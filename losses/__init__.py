"""Losses for segmentation: from logits, for every task, one value per sample, added up by name."""

from . import boundary, pixel, region
from .compound import SegmentationLoss, build_loss
from .registry import list_losses
from .schedule import WeightSchedule

__all__ = ["SegmentationLoss", "WeightSchedule", "boundary", "build_loss", "list_losses", "pixel", "region"]
