"""`Source`, what every reader of pixels is, and `Frame`, where an image lies in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from ..windows import Window

if TYPE_CHECKING:
    from affine import Affine
    from nibabel.nifti1 import Nifti1Header
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.rpc import RPC

LARGEST_LABEL = 2**53
# How many there are in NIfTI's units of length; what says none is a slide.
MICROMETRES = {"": 1.0, "micron": 1.0, "mm": 1e3, "meter": 1e6}

# Spatial shape of a level, and how many pixels of the finest level one of its pixels stands for.
Level = tuple[tuple[int, ...], float]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the pixels of an image lie, as far as its file says.

    Attributes:
        shape: Number of pixels per spatial axis.
        spacing: Size of a pixel along each axis: micrometres in slides, units of the coordinate system in maps,
            millimetres in volumes and slices of them (the unit of `header`); `None` where it is not known.
        transform: Of maps: from column and row to map coordinates.
        crs: Of maps: the coordinate system of `transform`.
        control_points: Of maps: pixels whose map coordinates are known. There is a transform beside them only if it
            takes all of them to their coordinates.
        control_points_crs: The coordinate system of the control points.
        rpcs: Of satellite images: the polynomials that take places on the ground to pixels.
        affine: Of volumes: from voxel to patient coordinates, an array `(4, 4)`.
        header: Of volumes and slices of them: the NIfTI header, which names the unit of affine and spacing.
        scale: How many pixels of the full resolution a pixel stands for, per axis; empty for one each.
        has_place: Of volumes: the file says where the affine lies, not only how large voxels are.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    transform: Affine | None = None
    crs: CRS | None = None
    control_points: tuple[GroundControlPoint, ...] = ()
    control_points_crs: CRS | None = None
    affine: np.ndarray | None = None
    header: Nifti1Header | None = None
    rpcs: RPC | None = None
    scale: tuple[float, ...] = ()
    has_place: bool = True

    @property
    def full(self) -> Frame:
        """The frame of the same image at its full resolution."""
        if all(size == 1 for size in self.scale):
            return self
        shape = tuple(round(length * size) for length, size in zip(self.shape, self.scale, strict=True))
        steps = [length / whole for length, whole in zip(self.shape, shape, strict=True)]
        return replace(self.scaled(steps, shape), scale=())

    @property
    def has_only_nonlinear_place(self) -> bool:
        """Whether control points or polynomials say where the pixels lie, and no transform does."""
        return self.transform is None and bool(self.control_points or self.rpcs)

    @property
    def micrometres(self) -> tuple[float, ...] | None:
        """The size of a pixel that lies on no map, in micrometres; `None` where it is not known."""
        factor = MICROMETRES[self.unit]
        return self.spacing and tuple(size * factor for size in self.spacing)

    @property
    def pixel_area(self) -> float:
        """How many pixels of the full resolution a pixel stands for."""
        return math.prod(self.scale)

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Returns where points lie: in map coordinates, or in pixels of the full resolution where there are none.

        Args:
            points: Corners of pixels `(n, 2)`, x before y, the upper left corner of the image being `(0, 0)`.
        """
        if self.crs is not None and self.transform is not None:
            a, b, c, d, e, f = self.transform[:6]
            return points @ np.array([[a, d], [b, e]]) + [c, f]
        return points * np.array(self.scale[::-1]) if self.scale else points

    @property
    def turns_over(self) -> bool:
        """Whether `coordinates` turn over what is clockwise in pixels, as those of all maps with north up do."""
        return self.crs is not None and self.transform is not None and self.transform.determinant < 0

    @property
    def unit(self) -> str:
        """The unit of the affine by NIfTI's name, such as `mm` or `micron`; empty where nothing says it."""
        return "" if self.header is None else str(self.header.get_xyzt_units()[0]).replace("unknown", "")

    @property
    def orientation(self) -> str | None:
        """Where the axes of a volume lead, such as `RAS` for right, front, up; `None` where the file does not say it.

        An axis leads where it mostly leads; `LPS` runs to the left, the back and up.
        """
        if self.affine is None or not self.has_place or len(self.shape) != 3:
            return None
        import nibabel

        codes = nibabel.orientations.aff2axcodes(self.affine)
        return None if None in codes else "".join(map(str, codes))

    def steps(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns the way from one pixel to the next along each axis, as columns, and the image's first corner.

        Returns:
            `(steps, corner)` of shapes `(world axes, axes)` and `(world axes,)`; `None` for an image without a place.
        """
        axes = len(self.shape)
        if self.affine is not None and self.has_place:
            steps = np.asarray(self.affine, float)[:3, :axes]
            return steps, np.asarray(self.affine, float)[:3, 3] - steps.sum(axis=1) / 2
        if self.transform is not None and not self.transform.is_identity:
            a, b, c, d, e, f = self.transform[:6]
            return np.array([[b, a], [e, d]], float), np.array([c, f], float)
        return None

    def turned(self, axes: Sequence[int], flips: Sequence[bool]) -> Frame:
        """Returns the frame of the same image with other axes.

        Args:
            axes: For each new axis the number of the old one.
            flips: For each new axis whether it runs against the old one.
        """
        shape = tuple(self.shape[axis] for axis in axes)
        frame = replace(self, shape=shape, spacing=self.spacing and tuple(self.spacing[axis] for axis in axes))
        frame = replace(frame, rpcs=None, scale=self.scale and tuple(self.scale[axis] for axis in axes))
        number = len(axes)
        if self.affine is not None:
            turn = np.eye(4)
            turn[:number] = 0
            for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
                turn[old, new] = -1 if flip else 1
                turn[old, 3] = self.shape[old] - 1 if flip else 0
            frame = replace(frame, affine=np.asarray(self.affine, float) @ turn)
        if self.transform is not None:
            from affine import Affine

            # From new to old column and row; `axes` counts rows first.
            parts = {}
            for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
                parts[old] = (new, -1.0 if flip else 1.0, float(self.shape[old]) if flip else 0.0)
            rows = []
            for old in (1, 0):
                new, sign, start = parts[old]
                rows += [sign if new == 1 else 0.0, sign if new == 0 else 0.0, start]
            frame = replace(frame, transform=self.transform @ Affine(*rows))
        if self.control_points:
            from rasterio.control import GroundControlPoint

            moved = []
            for point in self.control_points:
                old_place = (point.row or 0, point.col or 0)
                row, column = (
                    self.shape[old] - old_place[old] if flip else old_place[old]
                    for old, flip in zip(axes, flips, strict=True)
                )
                moved.append(GroundControlPoint(row, column, point.x, point.y, point.z))
            frame = replace(frame, control_points=tuple(moved))
        return frame

    def cropped(self, box: Window) -> Frame:
        """Returns the frame of a box of the image."""
        frame = replace(self, shape=box.size)
        if self.affine is not None:
            moved = np.eye(4)
            moved[: len(box.offset), 3] = box.offset
            frame = replace(frame, affine=np.asarray(self.affine, float) @ moved)
        if len(box.offset) != 2:
            return frame
        row, column = box.offset
        if self.transform is not None:
            from affine import Affine

            frame = replace(frame, transform=self.transform @ Affine.translation(column, row))
        if self.control_points:
            from rasterio.control import GroundControlPoint

            moved_points = (
                GroundControlPoint((point.row or 0) - row, (point.col or 0) - column, point.x, point.y, point.z)
                for point in self.control_points
            )
            frame = replace(frame, control_points=tuple(moved_points))
        if self.rpcs is not None:
            import attrs

            rpcs = attrs.evolve(self.rpcs, line_off=self.rpcs.line_off - row, samp_off=self.rpcs.samp_off - column)
            frame = replace(frame, rpcs=rpcs)
        return frame

    def scaled(self, steps: Sequence[float], shape: tuple[int, ...]) -> Frame:
        """Returns the frame of the same image with larger pixels.

        Args:
            steps: How many pixels one of the new pixels stands for, per axis.
            shape: The new shape.
        """
        spacing = self.spacing and tuple(size * step for size, step in zip(self.spacing, steps, strict=True))
        scale = tuple(size * step for size, step in zip(self.scale or (1.0,) * len(steps), steps, strict=True))
        frame = replace(self, shape=shape, spacing=spacing, scale=scale)
        if self.affine is not None:
            grown = np.eye(4)
            for axis, step in enumerate(steps):
                grown[axis, axis], grown[axis, 3] = step, (step - 1) / 2
            frame = replace(frame, affine=self.affine @ grown)
        if self.transform is not None:
            from affine import Affine

            rows, columns = steps
            a, b, c, d, e, f = self.transform[:6]
            frame = replace(frame, transform=Affine(a * columns, b * rows, c, d * columns, e * rows, f))
        if self.control_points:
            from rasterio.control import GroundControlPoint

            rows, columns = steps
            points = ((point.row or 0, point.col or 0, point) for point in self.control_points)
            moved = (GroundControlPoint(row / rows, col / columns, p.x, p.y, p.z) for row, col, p in points)
            frame = replace(frame, control_points=tuple(moved))
        if self.rpcs is not None:
            frame = replace(frame, rpcs=scaled_rpcs(self.rpcs, steps))
        return frame


def scaled_rpcs(rpcs: RPC, steps: Sequence[float]) -> RPC:
    """Returns the polynomials of an image with larger pixels; they count pixels by their centres.

    Args:
        rpcs: Those of the image.
        steps: How many pixels one of the new pixels stands for, along rows and columns.
    """
    import attrs

    rows, columns = steps
    return attrs.evolve(
        rpcs,
        line_off=(rpcs.line_off + 0.5) / rows - 0.5,
        line_scale=rpcs.line_scale / rows,
        samp_off=(rpcs.samp_off + 0.5) / columns - 0.5,
        samp_scale=rpcs.samp_scale / columns,
    )


def is_label_value(nodata: float) -> bool:
    """Whether the nodata value of a label can be one of its values: a number, and none of the last before infinity."""
    return abs(nodata) < LARGEST_LABEL


class Source(Protocol):
    """An image, a volume or a label whose windows can be read, whatever its size.

    A source can be pickled, and read by several threads and processes at once; as a context manager it is closed at the
    end. Images have rows before columns; volumes are as NIfTI stores them, `(x, y, z)`. A reader inherits from this
    class what a file of one level says of its levels.

    Attributes:
        path: The file or folder; `None` of what lies in memory.
        name: What messages call it.
        shape: Number of pixels per spatial axis.
        channels: Number of values per pixel.
        dtype: Type of the values.
        frame: Where the pixels lie in the world.
        roles: What the file says each channel is, such as `red` or `alpha`; empty where it says nothing.
        palette_colors: Of indices of a palette: their colours, `uint8` `(indices, 3)`.
        nodata: Value that the file declares to be no value.
        value_step: Of values stored as scaled whole numbers: how far apart they are; 0 of all others.
        bits: Bits per value that the file declares, where they are fewer than those of the type.
        band_names: How the file describes each channel, such as `B8`; empty where it does not describe all.
        notes: What was decided about the meaning of the pixels, in words: see `pixel_meaning`.
    """

    path: Path | None
    name: str
    shape: tuple[int, ...]
    channels: int
    dtype: np.dtype
    frame: Frame
    roles: tuple[str, ...] = ()
    palette_colors: np.ndarray | None = None
    nodata: float | None = None
    value_step: float = 0.0
    bits: int | None = None
    band_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files that the values come from; none for what lies in memory."""
        return [] if self.path is None else [self.path]

    @property
    def own(self) -> Source | None:
        """The same image on the grid of its file, where results belong; `None` if this is that grid."""
        return None

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        return [(self.shape, 1.0)]

    @property
    def scale(self) -> tuple[float, ...]:
        """How many pixels of the finest level a pixel stands for, per axis."""
        return self.frame.scale or (1.0,) * len(self.shape)

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        ...

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds, boolean `(*size, channels)`; `None` where it lacks none.

        A value is lacking where it is the file's nodata value, under its mask, or transparent; images are 0 there.
        """
        return None

    def thumbnail(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns the whole image `(*shape, channels)` from the overviews of its file; `None` where it has none."""
        return None

    def close(self) -> None:
        """Closes what this process holds open of the file. It is opened again when it is read again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
