"""Losses that are means over pixels."""

from maskzoo.errors import OptionError

from .registry import register_loss
from .target import Target, Tensor, class_mean, ops, pixel_mean, spatial_sum


def _cross_entropies(target: Target) -> tuple[Tensor, Tensor]:
    """Returns what a pixel costs if it is positive, and if it is negative: `-log p` and `-log(1 - p)`."""
    return ops.softplus(-target.logits), ops.softplus(target.logits)


@register_loss("binary", "multilabel")
def bce(target: Target) -> Tensor:
    """Binary cross-entropy: the mean over pixels and channels of `-y log p - (1 - y) log(1 - p)`."""
    return 2 * weighted_bce(target, positive_weight=0.5)


@register_loss("binary", "multilabel")
def weighted_bce(target: Target, *, positive_weight: float = 0.99) -> Tensor:
    """Binary cross-entropy with weight `w` for positive and `1 - w` for negative pixels, mean over all pixels.

    Args:
        positive_weight: `w`, between 0 and 1; the default suits targets that fill about a hundredth of the image.
    """
    positive, negative = _cross_entropies(target)
    y = target.labels
    return pixel_mean(positive_weight * y * positive + (1 - positive_weight) * (1 - y) * negative, target)


@register_loss("binary", "multilabel")
def balanced_bce(target: Target, *, positive_share: float = 0.5, batch: bool = True) -> Tensor:
    """Binary cross-entropy in which positives and negatives have fixed weights, whatever their number.

    `positive_share * mean over positive pixels + (1 - positive_share) * mean over negative pixels`; a mean over no
    pixels is 0.

    Args:
        positive_share: The weight of the positives, between 0 and 1.
        batch: Whether the means run over the whole batch. The loss is then not a mean over samples: its value and
            gradient change when a batch is split over replicas or micro-batches. Otherwise they run over each sample.

    Source: Xie, Tu, "Holistically-Nested Edge Detection", ICCV 2015, equation 2, with fixed weights.
    """
    positive, negative = _cross_entropies(target)
    parts = 0
    for weight, mask, cost in (
        (positive_share, target.labels, positive),
        (1 - positive_share, target.valid - target.labels, negative),
    ):
        parts += weight * ops.divide_no_nan(spatial_sum(mask * cost, target, batch), spatial_sum(mask, target, batch))
    return class_mean(parts, target, batch)


@register_loss("multiclass")
def cross_entropy(target: Target) -> Tensor:
    """Softmax cross-entropy: the mean over pixels of `-log p[y]`, each pixel weighted by the weight of its class."""
    return pixel_mean(-ops.sum(target.labels * ops.log_softmax(target.logits), axis=-1, keepdims=True), target)


@register_loss()
def focal(target: Target, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss: the mean over pixels of `-(1 - q)^gamma log q`, where `q` is the probability of the true class.

    Args:
        gamma: How much well-classified pixels are discounted; 0 is cross-entropy.
        alpha: Weight of positive pixels, negative ones having `1 - alpha`; not for multiclass, which has class weights.

    Raises:
        OptionError: `alpha` is given for a multiclass task.

    Source: Lin, Goyal, Girshick, He, Dollar, "Focal Loss for Dense Object Detection", ICCV 2017, equations 4 and 5.
    """
    y = target.labels
    if target.task == "multiclass":
        if alpha is not None:
            raise OptionError("loss", "focal without alpha for task multiclass, which has `class_weights`", alpha)
        log_q = ops.sum(y * ops.log_softmax(target.logits), axis=-1, keepdims=True)
        # log(1 - q) from the other classes alone: 1 - q has no digits left when q is nearly 1.
        others = ops.logsumexp(ops.where(y > 0, -1e9, target.logits), axis=-1, keepdims=True)
        log_rest = others - ops.logsumexp(target.logits, axis=-1, keepdims=True)
        return pixel_mean(-ops.exp(gamma * log_rest) * log_q, target)
    positive, negative = _cross_entropies(target)
    if_positive, if_negative = ops.exp(-gamma * negative) * positive, ops.exp(-gamma * positive) * negative
    of_positive, of_negative = (1, 1) if alpha is None else (alpha, 1 - alpha)
    return pixel_mean(of_positive * y * if_positive + of_negative * (1 - y) * if_negative, target)
