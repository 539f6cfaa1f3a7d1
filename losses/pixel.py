"""Losses that are means over pixels."""

from keras import ops

from .registry import register_loss
from .target import pixel_mean


def _cross_entropies(target):
    """Returns what a pixel costs if it is positive, and if it is negative: `-log p` and `-log(1 - p)`."""
    return ops.softplus(-target.logits), ops.softplus(target.logits)


@register_loss("binary", "multilabel")
def bce(target):
    """Binary cross-entropy: the mean over pixels and channels of `-y log p - (1 - y) log(1 - p)`."""
    positive, negative = _cross_entropies(target)
    return pixel_mean(target.labels * positive + (1 - target.labels) * negative, target)


@register_loss("multiclass")
def cross_entropy(target):
    """Softmax cross-entropy: the mean over pixels of `-log p[y]`, each pixel weighted by the weight of its class."""
    return pixel_mean(-ops.sum(target.labels * ops.log_softmax(target.logits), axis=-1, keepdims=True), target)
