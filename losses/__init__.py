"""Losses for segmentation: from logits, for every task, one value per sample, added up by name."""

from . import pixel, region
from .compound import SegmentationLoss, build_loss
from .registry import list_losses

__all__ = ["SegmentationLoss", "build_loss", "list_losses", "pixel", "region"]
