"""Checks of the arguments of builders: choices, counts, filters and input sizes."""

from collections.abc import Collection, Sequence
from numbers import Integral

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape


def check_choice(option: str, value: object, choices: Collection[object]) -> None:
    """Refuses an option's value that is none of `choices`.

    Raises:
        OptionError: The value is none of the choices.
    """
    if value not in choices:
        raise OptionError(option, f"one of {', '.join(map(str, choices))}", value)


def check_filters(filters: object, option: str = "filters") -> None:
    """Refuses anything but a list of filters per resolution level.

    Args:
        filters: What was given.
        option: The option's name, for the message.

    Raises:
        OptionError: It is no list or tuple, is empty, or holds something else than whole numbers of at least 1.
    """
    if not isinstance(filters, (list, tuple)) or not filters or not all(_is_count(width) for width in filters):
        raise OptionError(option, "a list of whole numbers, one per resolution level", filters)


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def check_count(option: str, value: object) -> None:
    """Refuses an option's value that is no whole number of at least 1.

    Raises:
        OptionError: The value is no such number.
    """
    if not _is_count(value):
        raise OptionError(option, "a whole number of at least 1", repr(value) if isinstance(value, str) else value)


def check_input_shape(
    model: str,
    input_shape: Shape,
    *,
    spatial_dims: Sequence[int] = (2, 3),
    multiple: int | Sequence[int] = 1,
    remainder: int | Sequence[int] = 0,
    minimum: int | Sequence[int] = 1,
) -> None:
    """Refuses an input shape that the model cannot take.

    Args:
        model: The model's name, for the message.
        input_shape: `(*spatial, channels)`; `None` is a free spatial size.
        spatial_dims: Allowed numbers of spatial axes.
        multiple: Sizes are `multiple * k + remainder`; one number, or one per axis. So are the next two.
        remainder: See `multiple`.
        minimum: Smallest size.

    Raises:
        OptionError: Wrong number of axes, unknown channels, or a size off the grid of allowed sizes.
    """
    spatial, channels = tuple(input_shape)[:-1], input_shape[-1] if input_shape else None
    if len(spatial) not in spatial_dims:
        expected = " or ".join(f"{count} spatial axes and channels" for count in spatial_dims)
        raise OptionError(model, f"input_shape to have {expected}", tuple(input_shape))
    if not _is_count(channels):
        raise OptionError(model, "the channels in input_shape to be at least 1", channels)

    def per_axis(value: int | Sequence[int]) -> Sequence[int]:
        return (value,) * len(spatial) if isinstance(value, int) else value

    rules = map(analysis.SizeRule, per_axis(multiple), per_axis(remainder), per_axis(minimum))
    for axis, (size, rule) in enumerate(zip(spatial, rules, strict=True)):
        if size is not None and not rule.allows(size):
            nearest = ", ".join(map(str, rule.nearest(size)))
            raise OptionError(model, f"axis {axis} to be {rule}", f"{size} (nearest: {nearest})")


def valid_sizes(levels: int) -> analysis.SizeRule:
    """Returns the size rule of a valid-padded U-Net with two 3x3 convolutions per level.

    Args:
        levels: Number of resolution levels, the bottom one included.
    """
    stride = 2 ** (levels - 1)
    lost_before_bottom = 4 * (stride - 1)
    # The bottom block leaves `bottom - 4`; every decoder level doubles that and loses 4; at least 1 must be left.
    bottom = 4 + (4 * stride - 4) // stride + 1
    return analysis.SizeRule(stride, lost_before_bottom % stride, stride * bottom + lost_before_bottom)


def valid_crops(levels: int) -> list[int]:
    """Returns how much to cut off each side of the skips of a valid-padded U-Net, finest level first."""
    crops = [4]
    for _ in range(levels - 2):
        crops.append(2 * (crops[-1] + 4))
    return crops[::-1]
