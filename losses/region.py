"""Losses that compare regions: overlaps of soft masks, per class."""

from keras import ops

from .registry import register_loss
from .target import class_mean, spatial_sum

# Where `smooth` is 0 this keeps the ratio of two empty masks at 1, so that their loss is 0.
EPSILON = 1e-5


@register_loss()
def dice(target, *, smooth=1.0, squared=False, batch=False):
    """Soft Dice loss `1 - (2 sum(y p) + s) / (sum(y) + sum(p) + s)` per class, averaged by the class weights.

    Args:
        smooth: `s`; at least 1e-5 is used, so that an empty prediction on an empty mask costs nothing.
        squared: Whether the denominator has `sum(y^2) + sum(p^2)` instead.
        batch: Whether the sums run over the whole batch. The loss is then not a mean over samples: its value and
            gradient change when a batch is split over replicas or micro-batches.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, section 3 (squared); Drozdzal et al., "The Importance of Skip
    Connections", DLMIA 2016 (plain).
    """
    y, p = target.labels, target.probabilities * target.valid
    # 1 - (2 sum(yp) + s) / (d + s) = (d - 2 sum(yp)) / (d + s): the difference, summed per pixel, loses no digits.
    if squared:
        difference, total = ops.square(y - p), ops.square(y) + ops.square(p)
    else:
        difference, total = y + p - 2 * y * p, y + p
    difference, total = spatial_sum(difference, target, batch), spatial_sum(total, target, batch)
    return class_mean(difference / (total + max(smooth, EPSILON)), target)
