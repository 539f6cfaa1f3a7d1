"""The memory that a plan may take: what the caller allows, or half of what is free when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from maskzoo import machine

from .options import GIGABYTE, TileOptions

# More would hardly save work, and a machine has other things to do.
LARGEST_SHARE = 16 * GIGABYTE
# What a plan counts that a process holds before: Python and TensorFlow. More may be in use for something else.
HELD_BY_IMPORTS = 2 * GIGABYTE
# What a GPU has free does not show: TensorFlow takes all of it when it begins.
SHARE_OF_GPU = 4 * GIGABYTE


@dataclass(frozen=True)
class BoundedTiles(TileOptions):
    """Options of tiles whose memory is known.

    Attributes:
        memory: Bound in bytes.
        share: Whose share of which memory the bound is; none of one that the caller has set. A share is exceeded where
            even the plan that needs the least needs more.
    """

    memory: int = LARGEST_SHARE
    share: str = ""

    @property
    def reason(self) -> str:
        """Says where the bound comes from; nothing of one that the caller has set."""
        return f"memory {self.memory / GIGABYTE:.1f} GB: {self.share}" if self.share else ""


def bounded_tiles(options: TileOptions, free: int | None = None) -> BoundedTiles:
    """Returns the same options with a bound, which is looked up unless it was before.

    Args:
        options: How an image is cut.
        free: Bytes that are free where the image is predicted; by default on this machine, with what the process holds
            already.
    """
    if isinstance(options, BoundedTiles):
        return options
    values = asdict(options)
    if options.memory is not None:
        return BoundedTiles(**values)
    if free is None:
        free = machine.free_memory() + min(machine.held_memory(), HELD_BY_IMPORTS)
    half = free // 2
    most, share = LARGEST_SHARE, "the most without being asked"
    if machine.has_graphics():
        most, share = SHARE_OF_GPU, "the most on a GPU without being asked"
    if half < most:
        most, share = max(1, half), "half of what is free"
    return BoundedTiles(**values | {"memory": most, "share": share})
