"""Losses that compare the borders of masks."""

from maskzoo.errors import OptionError

from .region import dice_distance
from .registry import register_loss
from .target import Target, Tensor, class_mean, ops


@register_loss()
def border_dice(
    target: Target, *, width: int = 3, smooth: float = 1.0, squared: bool = True, batch: bool = False
) -> Tensor:
    """Dice loss of soft borders: `max_pool(p) * max_pool(1 - p)`, large where both sides of a border are near.

    A mask and its complement have the same border, so add it to a loss that knows which side is inside.

    Args:
        width: Size of the pooling window in pixels, odd, at least 3; the border has `width - 1` pixels.
        smooth: As in `dice`.
        squared: As in `dice`.
        batch: As in `dice`: over the whole batch, and then not a mean over samples.

    Raises:
        OptionError: The width is even or too small.
    """
    if width != int(width) or width < 3 or width % 2 == 0:
        raise OptionError("loss", "width of border_dice to be an odd number from 3", width)

    def border(mask: Tensor) -> Tensor:
        # Ignored pixels are 0 on both sides, so that neither their labels nor their logits can be a maximum.
        sides = (ops.max_pool(x * target.valid, int(width), 1, "same", "channels_last") for x in (mask, 1 - mask))
        return next(sides) * next(sides) * target.valid

    y, p = border(target.labels), border(target.probabilities)
    return class_mean(dice_distance(y, p, target, smooth, squared, batch), target, batch)
