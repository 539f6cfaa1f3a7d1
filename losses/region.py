"""Losses that compare regions: overlaps of soft masks, per class.

Classes are averaged by the class weights; a weight of 0 for class 0 takes the background out of a multiclass loss.
"""

from maskzoo.errors import OptionError

from .pixel import weighted_bce
from .registry import register_loss
from .target import Target, Tensor, class_mean, ops, spatial_sum

# Where `smooth` is 0 this keeps the ratio of two empty masks at 1, so that their loss is 0.
EPSILON = 1e-5


def dice_distance(y: Tensor, p: Tensor, target: Target, smooth: float, squared: bool, batch: bool) -> Tensor:
    """Returns `1 - (2 sum(y p) + s) / (sum(y) + sum(p) + s)` per class, or with squares in the denominator.

    Args:
        y: Labels `(batch, *spatial, channels)`, 0 where ignored.
        p: Probabilities of the same shape, 0 where ignored.
        target: The batch.
        smooth, squared, batch: As in `dice`.

    Returns:
        `(batch, channels)`, or `(1, channels)` when the sums run over the batch.
    """
    # Equal to (d - 2 sum(y p)) / (d + s); the difference, summed pixel by pixel, loses no digits.
    if squared:
        difference, total = ops.square(y - p), ops.square(y) + ops.square(p)
    else:
        difference, total = y + p - 2 * y * p, y + p
    return spatial_sum(difference, target, batch) / (spatial_sum(total, target, batch) + max(smooth, EPSILON))


@register_loss()
def dice(target: Target, *, smooth: float = 1.0, squared: bool = False, batch: bool = False) -> Tensor:
    """Soft Dice loss `1 - (2 sum(y p) + s) / (sum(y) + sum(p) + s)` per class, averaged by the class weights.

    Args:
        smooth: `s`; at least 1e-5 is used, so that an empty prediction on an empty mask costs nothing.
        squared: Whether the denominator has `sum(y^2) + sum(p^2)` instead.
        batch: Whether the sums run over the whole batch. The loss is then not a mean over samples: its value and
            gradient change when a batch is split over replicas or micro-batches.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, section 3 (squared); Drozdzal et al., "The Importance of Skip
    Connections in Biomedical Image Segmentation", DLMIA 2016 (plain).
    """
    y, p = target.labels, target.probabilities * target.valid
    return class_mean(dice_distance(y, p, target, smooth, squared, batch), target, batch)


@register_loss("binary", "multilabel")
def combo(target: Target, *, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0) -> Tensor:
    """Combo loss `alpha * weighted BCE - (1 - alpha) * Dice`; its minimum is `alpha - 1`, below 0.

    Args:
        alpha: Weight of the cross-entropy.
        beta: Weight of the positive pixels in it, negative ones having `1 - beta`.
        smooth: As in `dice`.

    Source: Taghanaki et al., "Combo Loss: Handling Input and Output Imbalance in Multi-Organ Segmentation",
    Computerized Medical Imaging and Graphics 2019, equation 3.
    """
    distance = dice_distance(target.labels, target.probabilities * target.valid, target, smooth, False, False)
    return alpha * weighted_bce(target, positive_weight=beta) - (1 - alpha) * class_mean(1 - distance, target)


@register_loss()
def jaccard(target: Target, *, smooth: float = 1.0, batch: bool = False) -> Tensor:
    """Soft Jaccard loss `1 - (2 I + s) / (2 U + s)` per class, `I = sum(y p)`, `U = sum(y) + sum(p) - I`.

    Args:
        smooth: `s`, on the same scale as in `dice`; at least 1e-5 is used.
        batch: As in `dice`: over the whole batch, and then not a mean over samples.

    Source: Rahman, Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation", ISVC
    2016, equation 3; the place of `s` is that of MONAI's DiceLoss(jaccard=True).
    """
    return class_mean(_tversky_distance(target, 1, 1, max(smooth, EPSILON) / 2, batch), target, batch)


def _tversky_distance(target: Target, alpha: float, beta: float, smooth: float, batch: bool) -> Tensor:
    y, p = target.labels, target.probabilities * target.valid
    errors = alpha * spatial_sum((1 - y) * p, target, batch) + beta * spatial_sum(y * (1 - p), target, batch)
    return errors / (spatial_sum(y * p, target, batch) + errors + smooth)


@register_loss()
def tversky(
    target: Target, *, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0, batch: bool = False
) -> Tensor:
    """Tversky loss `1 - (TP + s) / (TP + alpha FP + beta FN + s)` per class, from soft counts.

    Args:
        alpha: Weight of the false positives.
        beta: Weight of the false negatives. Alpha and beta 0.5 are Dice, 1 are Jaccard.
        smooth: `s`; at least 1e-5 is used.
        batch: As in `dice`: over the whole batch, and then not a mean over samples.

    Source: Salehi, Erdogmus, Gholipour, "Tversky Loss Function for Image Segmentation", MLMI 2017, equation 3.
    """
    return class_mean(_tversky_distance(target, alpha, beta, max(smooth, EPSILON), batch), target, batch)


@register_loss()
def focal_tversky(
    target: Target,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    smooth: float = 1.0,
    batch: bool = False,
) -> Tensor:
    """Tversky loss of each class to the power `gamma`, averaged by the class weights.

    Args:
        alpha: Weight of the false positives.
        beta: Weight of the false negatives.
        gamma: The exponent itself; the paper's gamma is its reciprocal (4/3 there is 0.75 here).
        smooth: As in `tversky`.
        batch: As in `dice`: over the whole batch, and then not a mean over samples.

    Source: Abraham, Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net", ISBI 2019, equation 4.
    """
    distance = _tversky_distance(target, alpha, beta, max(smooth, EPSILON), batch)
    # A power below 1 has an infinite slope at 0.
    return class_mean(ops.power(ops.maximum(distance, 1e-7), gamma), target, batch)


@register_loss()
def hardness_dice(target: Target, *, hardness: float = 0.6) -> Tensor:
    """Dice loss in which pixels weigh `hardness |p - y| + 1 - hardness`, averaged over foreground and background.

    For multiclass it is averaged over all classes, by the class weights.

    Args:
        hardness: Between 0 (plain Dice) and 1 (pixels that are right do not count).

    Source: Wang et al., "Automatic Segmentation of Vestibular Schwannoma from T2-Weighted MRI by Deep Spatial Attention
    with Hardness-Weighted Loss", MICCAI 2019, equations 2 and 3 (epsilon 1e-5).
    """
    y, p = target.labels, target.probabilities * target.valid
    weights = hardness * ops.abs(p - y) + 1 - hardness

    def distance(y: Tensor, p: Tensor) -> Tensor:
        errors, total = spatial_sum(weights * (y + p - 2 * y * p), target), spatial_sum(weights * (y + p), target)
        return errors / (total + EPSILON)

    if target.task == "multiclass":
        return class_mean(distance(y, p), target)
    return class_mean((distance(y, p) + distance(target.valid - y, target.valid - p)) / 2, target)


@register_loss()
def lovasz(target: Target, *, symmetric: bool = False, classes: str = "present") -> Tensor:
    """Lovasz extension of the Jaccard loss, per sample and class: hinge on logits, or softmax for multiclass.

    Args:
        symmetric: Whether the hinge is averaged with the same loss of the background; binary and multilabel.
        classes: Multiclass: `present` averages over the classes that a sample's labels have, `all` over all.

    Raises:
        OptionError: `symmetric` is set for a multiclass task, or `classes` has another value.

    Source: Berman, Rannen Triki, Blaschko, "The Lovasz-Softmax loss", CVPR 2018, algorithm 1, equations 8 to 11;
    symmetric: Yu, Blaschko, "The Lovasz Hinge", TPAMI 2018.
    """
    if classes not in ("present", "all"):
        raise OptionError("loss", "classes of lovasz to be 'present' or 'all'", repr(classes))
    y = target.labels
    if target.task == "multiclass":
        if symmetric:
            raise OptionError("loss", "symmetric of lovasz to be False for task multiclass", True)
        present = spatial_sum(y, target) > 0 if classes == "present" else None
        return class_mean(_lovasz_extension(ops.abs(y - target.probabilities), y, target), target, present=present)
    signs = 2 * y - 1
    errors = ops.relu(1 - target.logits * signs)
    loss = _lovasz_extension(errors, y, target)
    if symmetric:
        loss = (loss + _lovasz_extension(errors, target.valid - y, target)) / 2
    return class_mean(loss, target)


def _lovasz_extension(errors: Tensor, y: Tensor, target: Target) -> Tensor:
    """Returns the Lovasz extension of the Jaccard distance at errors >= 0: `(batch, channels)`."""
    flat = (ops.shape(errors)[0], -1, errors.shape[-1])
    valid = ops.broadcast_to(target.valid, ops.shape(errors))
    # Ignored pixels come last and weigh nothing.
    errors = ops.reshape(ops.where(valid > 0, errors, -1.0), flat)
    y, valid = ops.reshape(ops.cast(y > 0.5, y.dtype), flat), ops.reshape(valid, flat)
    order = ops.argsort(-errors, axis=1)
    errors, y, valid = (ops.take_along_axis(x, order, axis=1) for x in (errors, y, valid))
    positives = ops.sum(y, axis=1, keepdims=True)
    intersection = positives - ops.cumsum(y, axis=1)
    union = positives + ops.cumsum(valid - y, axis=1)
    union = ops.maximum(union, 1.0)
    # The increase of 1 - intersection / union by each pixel. A difference of neighbours has no digits in a large image.
    steps = ops.where((y > 0) | (union < 2), 1 / union, intersection / (union * ops.maximum(union - 1, 1.0)))
    return ops.sum(ops.relu(errors) * steps * valid, axis=1)
