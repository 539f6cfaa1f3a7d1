"""What a file to be written holds, and what the writer of each format can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from ..images.source import Frame, Source
from ..windows import Window


@dataclass(frozen=True)
class WriterOptions:
    """What an output holds.

    Attributes:
        bands: Number of values per pixel.
        dtype: Type of the values; one band of `uint8` means class ids and gets a colour table in TIFF and PNG.
        like: Source whose place in the world the file gets.
        class_names: Names of the bands or, with one band, of the class ids (a single name is that of id 1).
        colors: Colours `(red, green, blue)` of the class ids from 0 on; empty for a grey image without a colour table.
        nodata: Value of pixels that are lacking, which a TIFF declares.
        cog: Make a TIFF a cloud-optimised one, with overviews; needs the disk space twice while it is made.
    """

    bands: int = 1
    dtype: DTypeLike = "uint8"
    like: Source | None = None
    class_names: Sequence[str] | None = None
    colors: Sequence[Sequence[int]] | None = None
    cog: bool = False
    nodata: float | None = None

    @property
    def frame(self) -> Frame:
        """Where the output lies in the world; a frame without place if it is like nothing."""
        return Frame(()) if self.like is None else self.like.frame


class FormatWriter(Protocol):
    """Writes the files of one format. It is made with a path, the spatial shape and the `WriterOptions`."""

    def __init__(self, path: Path, shape: tuple[int, ...], options: WriterOptions) -> None: ...

    def write(self, window: Window, array: np.ndarray, band: int | None = None) -> None:
        """Writes a window.

        Args:
            window: Window inside the image.
            array: Values `(*size, bands)`, or `(*size, 1)` of one band.
            band: Number of the band to write; `None` for all.
        """
        ...

    def finish(self) -> None:
        """Writes what is left, closes the file and checks it."""
        ...

    def abandon(self) -> None:
        """Closes the file as it is."""
        ...
