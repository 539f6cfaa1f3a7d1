"""Which region of the mirrored plane around an image a network is given, so that it answers as `predict` does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskzoo.errors import RunError

from ..inference.tile_plan import AFFORDABLE_WORK, common_step, symmetric_halo_and_crop
from ..models.analysis import Geometry
from .tensors import Size, choose, larger, largest, product, round_up


@dataclass(frozen=True)
class InputRegion:
    """The region of the mirrored plane that a network is given for one image.

    Attributes:
        before: Pixels before the image, per axis.
        size: Pixels of the whole region, per axis.
        crop: Pixels of the network's output that lie before the image, per axis.
    """

    before: list[Size]
    size: list[Size]
    crop: list[Size]


# From the spatial sizes of an image to its region, or to the next sizes that a network takes.
RegionRule = Callable[[Sequence[Size]], InputRegion]
SizeRule = Callable[[Sequence[Size]], list[Size]]


def region_rule(geometry: Geometry, geometries: Sequence[Geometry], symmetric: bool) -> RegionRule:
    """Returns the function from an image's sizes to the region that one member of a bundle is given.

    Args:
        geometry: That of the member.
        geometries: Those of all members.
        symmetric: Whether the image is also shown with its axes exchanged or flipped.

    Raises:
        RunError: A member sees the whole image, and another has valid padding.
    """
    if not any(one.is_global for one in geometries):
        return _own_rule(geometry, symmetric)
    # All members are given the same region.
    if any(any(one.crop) for one in geometries):
        raise RunError("runs", "models with same padding beside one that sees the whole image", "valid padding")
    return lambda shape: _whole_region(geometries, shape, symmetric)


def size_rule(geometry: Geometry) -> SizeRule:
    """Returns the function from sizes to the next ones that a network takes."""

    def allowed(sizes: Sequence[Size]) -> list[Size]:
        rules = zip(sizes, geometry.rules, strict=True)
        return [round_up(larger(size, rule.minimum), rule.multiple, rule.remainder) for size, rule in rules]

    return allowed


def _own_rule(geometry: Geometry, symmetric: bool) -> RegionRule:
    """That of a plan with a single tile: with the whole halo, unless that is too much work."""
    exact = _symmetric_rule(geometry) if symmetric else _exact_rule(geometry)

    def region(shape: Sequence[Size]) -> InputRegion:
        with_halo = exact(shape)
        if any(geometry.crop):
            return with_halo
        whole = _whole_region([geometry], shape, symmetric)
        affordable = product(with_halo.size) <= AFFORDABLE_WORK * product(shape)

        def chosen(one: list[Size], other: list[Size]) -> list[Size]:
            return [choose(affordable, *pair) for pair in zip(one, other, strict=True)]

        before, crop = chosen(with_halo.before, whole.before), chosen(with_halo.crop, whole.crop)
        return InputRegion(before, chosen(with_halo.size, whole.size), crop)

    return region


def _symmetric_rule(geometry: Geometry) -> RegionRule:
    """With a halo that is alike on all sides, around a square."""
    step, spatial_dims = common_step(geometry), len(geometry.stride)
    # Halo and crop do not depend on the tile, once that is larger than the least size.
    far = step * (1 + -(-max(rule.minimum for rule in geometry.rules) // step))
    halo, crop = symmetric_halo_and_crop(geometry, (far,) * spatial_dims)

    def region(shape: Sequence[Size]) -> InputRegion:
        tile = largest([round_up(size, step) for size in shape])
        return InputRegion([before for before, _ in halo], [tile + sum(pair) for pair in halo], list(crop))

    return region


def _exact_rule(geometry: Geometry) -> RegionRule:
    """With the halo of each side."""
    step, axes = common_step(geometry), range(len(geometry.stride))
    spans = [geometry.input_span(axis, 0, step) for axis in axes]
    before, crop = [-first for first, *_ in spans], [skip for *_, skip in spans]

    def size(axis: int, length: Size) -> Size:
        stride, offset, rule = geometry.stride[axis], geometry.offset[axis], geometry.rules[axis]
        reach = before[axis] - offset // stride * stride + offset + geometry.tile_halo[axis][1]
        needed = larger(round_up(length, stride) + reach, rule.minimum)
        return round_up(needed, math.lcm(rule.multiple, stride), rule.remainder)

    return lambda shape: InputRegion(list(before), [size(axis, shape[axis]) for axis in axes], list(crop))


def _whole_region(geometries: Sequence[Geometry], shape: Sequence[Size], symmetric: bool) -> InputRegion:
    """The image, mirrored beyond its end up to a size that all networks take."""
    sizes = [largest(shape)] * len(shape) if symmetric else list(shape)
    # One round suits all, unless their sizes have different remainders.
    for geometry in [*geometries] * 2:
        sizes = size_rule(geometry)(sizes)
    nothing = [0] * len(sizes)
    return InputRegion(nothing, sizes, nothing)
