"""TIFF and PNG through GDAL, and cloud-optimised TIFFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import reason
from maskzoo.files import written_atomically

from ..images.image_files import file_suffix
from ..images.raster_files import check_png, open_raster
from ..palette import OKABE_ITO
from ..windows import Window
from .format_writer import FormatWriter, WriterOptions

# Class 0 is black so that it recedes; the others are told apart by colour-blind readers too.
COLORS = ((0, 0, 0), *OKABE_ITO)


class RasterWriter(FormatWriter):
    """Writes a TIFF or PNG through GDAL."""

    def __init__(self, path: Path, shape: tuple[int, ...], options: WriterOptions) -> None:
        dtype, bands, frame = np.dtype(options.dtype), options.bands, options.frame
        self._path = path
        self._tiff = file_suffix(path) != ".png"
        block = block_size(shape)
        has_class_ids = dtype == np.uint8 and (options.colors is None or len(options.colors) > 0)
        self._resampling = "nearest" if has_class_ids else "average"
        self._cog = options.cog
        # Class ids become as small with LZW as with deflate, three times as fast.
        self._compress = "lzw" if has_class_ids else "deflate"
        layout = {
            "driver": "GTiff",
            "tiled": True,
            "blockxsize": block,
            "blockysize": block,
            "compress": self._compress,
            # Neighbouring class ids are equal or unrelated: differences would not help.
            "predictor": {"f": 3, "u": 1 if dtype.itemsize == 1 else 2}.get(dtype.kind, 2),
            "interleave": "band",
            "photometric": "minisblack",
            "bigtiff": "yes",
            "nodata": options.nodata,
            # A TIFF has either control points or a transform.
            **({} if frame.control_points else {"crs": frame.crs, "transform": frame.transform}),
        }
        path.unlink(missing_ok=True)
        self._file = open_raster(
            path,
            "w",
            height=shape[0],
            width=shape[1],
            count=bands,
            dtype=dtype.name,
            **(layout if self._tiff else {"driver": "PNG"}),
        )
        if bands == 1 and has_class_ids:
            self._file.write_colormap(1, dict(enumerate(color_table(options.colors))))
        if not self._tiff:
            return
        if frame.control_points:
            self._file.gcps = list(frame.control_points), frame.control_points_crs
        elif frame.transform is None and (sizes := frame.micrometres) is not None:
            self._file.update_tags(**resolution_tags(sizes))
        if frame.rpcs is not None:
            self._file.rpcs = frame.rpcs
        names = list(options.class_names or [])
        if bands > 1:
            for band, name in enumerate(names, 1):
                self._file.set_band_description(band, name)
        elif names:
            first = 1 if len(names) == 1 else 0
            self._file.update_tags(**{f"CLASS_{number}": name for number, name in enumerate(names, first)})

    def write(self, window: Window, array: np.ndarray, band: int | None = None) -> None:
        """Writes a window: see `FormatWriter`."""
        box = tuple((cut.start, cut.stop) for cut in window.slices)
        if band is None:
            self._file.write(np.moveaxis(array, -1, 0), window=box)
        else:
            self._file.write(array[..., 0], band + 1, window=box)

    def finish(self) -> None:
        """Writes what is left, checks the file and makes it a cloud-optimised one if it is to be."""
        import rasterio

        try:
            # Outside of its environment GDAL writes to the terminal what goes wrong here, block after block.
            with rasterio.Env():
                self._file.close()
        except Exception as error:  # rasterio lets GDAL's errors, of a class of their own, pass through
            raise OSError(reason(error)) from None
        # GDAL says nothing when the last blocks, which it writes on closing, find the disk full.
        if self._tiff:
            check_tiff(self._path)
        else:
            check_png(self._path)
        if self._cog:
            make_cog(self._path, self._resampling, self._compress)

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._file.close()


def resolution_tags(spacing: Sequence[float]) -> dict[str, str]:
    """Returns the tags of a TIFF that say the size of its pixels, given in micrometres along rows and columns."""
    height, width = (f"{10000 / size:.9g}" for size in spacing)
    return {"TIFFTAG_XRESOLUTION": width, "TIFFTAG_YRESOLUTION": height, "TIFFTAG_RESOLUTIONUNIT": "3"}


def block_size(shape: Sequence[int]) -> int:
    """Returns the rows and columns of a block of a TIFF."""
    return 256 if max(shape) <= 4096 else 512


def make_cog(path: Path, resampling: str, compress: str) -> None:
    """Replaces a TIFF by a cloud-optimised one.

    Args:
        path: The TIFF.
        resampling: How its overviews are made, such as `nearest`.
        compress: GDAL's name of the compression.

    Raises:
        OSError: If the disk refuses.
    """
    import rasterio.shutil

    layout = {"driver": "COG", "compress": compress, "bigtiff": "yes", "overview_resampling": resampling}
    # A name that begins with that of the TIFF: what a killed process leaves is removed as one of its companions.
    with written_atomically(path, path.with_name(f"{path.name}.cog")) as copy:
        try:
            rasterio.shutil.copy(path, copy, **layout)
        except Exception as error:  # rasterio lets GDAL's errors, of a class of their own, pass through
            raise OSError(reason(error)) from None
        check_tiff(copy)


def check_tiff(path: Path) -> None:
    """Refuses a TIFF whose blocks do not all lie within the file.

    Raises:
        OSError: If it is incomplete.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            ends = np.add(page.dataoffsets, page.databytecounts)
            if min(page.databytecounts) > 0 and ends.max() <= path.stat().st_size:
                return
    except (tifffile.TiffFileError, IndexError, ValueError):
        pass
    raise OSError("an incomplete file: the disk is full")


def color_table(colors: Sequence[Sequence[int]] | None = None) -> list[tuple[int, ...]]:
    """Returns 256 opaque colours for class ids, those given first; 255, which marks ignored pixels, is grey."""
    table = [tuple(color)[:3] for color in (COLORS if colors is None else colors)]
    rest = COLORS[1:]
    table += [rest[(number - 1) % len(rest)] for number in range(len(table), 255)] + [(128, 128, 128)]
    return [(*color, 255) for color in table[:256]]
