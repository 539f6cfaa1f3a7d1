"""At which size, spacing and orientation images of a data set are read, whatever their files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from maskzoo.errors import ImageError, OptionError

from .pyramid import TOLERANCE as SAME_SPACING
from .resized_source import ResizedSource
from .source import Source
from .turning import Turn, TurnedSource
from .wrapped_source import WrappedSource

# Sizes of a pixel whose ratio is above this make an axis thick: it is not mixed with the others.
THICK = 3
STORED = "stored"
AXES = ("RL", "AP", "SI")
Resize = int | float | Sequence[int]
Spacing = float | Sequence[float] | str


@dataclass(frozen=True)
class Scale:
    """How images are read.

    Attributes:
        level: Level of a pyramid: see `open_source`.
        resolution: Size of a pixel that is read at least: see `open_source`.
        spacing: Size of a pixel along each axis, or one for all, in the unit of the file; images are interpolated.
        orientation: Where the axes of a volume are to lead, such as `RAS`; `stored` for as they lie in the file.
        resize: Pixels per axis that the whole image is resized to, one number or one per axis, or a fraction of them.
    """

    level: int | None = None
    resolution: float | None = None
    spacing: float | Sequence[float] | None = None
    orientation: str = STORED
    resize: Resize | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Scale:  # JSON values
        """Returns how a run reads its images, from the specification in its `data.json`.

        What a run of an earlier version does not say is as that version did it: volumes as they are stored.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None})

    def as_dict(self) -> dict[str, Any]:  # JSON values
        """Returns the values that are not as they would be without saying."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def applied(self, source: Source) -> Source:
        """Returns an image that was opened at `level` or `resolution`, turned and resized as the rest says.

        Raises:
            ImageError: If its file does not say what is needed for it.
            OptionError: If the numbers are not those of its axes.
        """
        source = turned_to(source, self.orientation)
        if self.spacing is not None:
            return at_spacing(source, self.spacing)
        if self.resize is not None:
            shape = resized_shape(source.shape, self.resize)
            return source if shape == source.shape else ResizedSource(source, shape)
        return source


def turned_to(source: Source, orientation: str) -> Source:
    """Returns a volume whose axes lead where they should, as far as its file says where they do."""
    has = source.frame.orientation
    if orientation == STORED or has is None or has == orientation:
        return source
    kinds = [next(pair for pair in AXES if letter in pair) for letter in has]
    axes = [kinds.index(next(pair for pair in AXES if letter in pair)) for letter in orientation]
    flips = tuple(has[axis] != letter for axis, letter in zip(axes, orientation, strict=True))
    return TurnedSource(source, Turn(tuple(axes), flips))


def at_spacing(source: Source, spacing: float | Sequence[float]) -> Source:
    """Returns an image with another size of its pixels, by interpolation; axes that are within 1 % of it stay.

    An axis that is much thicker than the others, in the file or as asked for, gets no slices between two others: where
    there are to be more of them, the nearest is taken; fewer are means, as a scanner makes thicker ones.

    Raises:
        ImageError: If the file does not say the size of its pixels.
        OptionError: If there is not one number, or one per axis.
    """
    has = source.frame.spacing
    if has is None:
        raise ImageError(source.name, "a file that says how large its pixels are, for `spacing`", "one that does not")
    wanted = per_axis_sizes("spacing", spacing, len(has))
    shape = tuple(
        length if abs(size / want - 1) <= SAME_SPACING else max(1, round(length * size / want))
        for length, size, want in zip(source.shape, has, wanted, strict=True)
    )
    if shape == source.shape:
        return source
    nearest = [
        is_thick and new > old for is_thick, new, old in zip(thick_axes(has, wanted), shape, source.shape, strict=True)
    ]
    return ResizedSource(source, shape, nearest=nearest)


def thick_axes(has: Sequence[float], wanted: Sequence[float]) -> tuple[bool, ...]:
    """Says which axis is more than three times as thick as another: one at most, of the file or else of the result."""
    for sizes in (has, wanted):
        thick = tuple(bool(size > THICK * min(sizes)) for size in sizes)
        if sum(thick) == 1:
            return thick
    return (False,) * len(has)


def per_axis_sizes(name: str, value: float | Sequence[float], axes: int) -> tuple[float, ...]:
    """Returns a size for each axis, from one for all or as many.

    Raises:
        OptionError: If there are others.
    """
    sizes = tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),) * axes
    if len(sizes) != axes:
        raise OptionError(name, f"one number, or one for each of {axes} axes", list(sizes))
    return sizes


def resized_shape(shape: Sequence[int], resize: Resize) -> tuple[int, ...]:
    """Returns the size of an image after resizing.

    Args:
        shape: Its size.
        resize: Pixels per axis, one number for all or one per axis; a number between 0 and 1 is a fraction.

    Raises:
        OptionError: If the numbers are not those of its axes.
    """
    if isinstance(resize, Sequence):
        if len(resize) != len(shape):
            raise OptionError("resize", f"one size, or {len(shape)}, one for each axis", list(resize))
        return tuple(int(size) for size in resize)
    if 0 < resize < 1:
        return tuple(max(1, round(length * resize)) for length in shape)
    return (int(resize),) * len(shape)


def like_image(label: Source, image: Source, *, is_instances: bool = False) -> Source:
    """Returns a label turned and resized as its image was: label values class by class, object numbers by place.

    Args:
        label: Label on the grid of the image's file.
        image: Image that `Scale.applied` returned.
        is_instances: The values are numbers of objects.
    """
    if image.own is None or not isinstance(image, WrappedSource):
        return label
    if isinstance(image, TurnedSource):
        return TurnedSource(like_image(label, image.source, is_instances=is_instances), image.turn)
    if isinstance(image, ResizedSource):
        inner = like_image(label, image.source, is_instances=is_instances)
        if is_instances:
            return ResizedSource(inner, image.shape, nearest=(True,) * len(image.shape), is_label=True)
        return ResizedSource(inner, image.shape, nearest=image.nearest, is_label=True)
    return like_image(label, image.source, is_instances=is_instances)
