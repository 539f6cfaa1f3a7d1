"""Sinks of pixels: write a mask or a map of probabilities window by window, in bounded memory, all or nothing."""

from __future__ import annotations

import glob
import gzip
import os
import shutil
from math import prod
from pathlib import Path

import numpy as np

from ..images.rasterio_source import check_png, open_raster
from ..images.reading import file_suffix, reason
from ..windows import Window, window_grid

# What `Sink.fill` holds at a time.
BYTES_AT_ONCE = 1 << 25
SINK_SUFFIXES = (".tif", ".tiff", ".nii", ".nii.gz", ".png", ".npy")

# Class 0 is black so that it recedes; the others are Okabe and Ito's colours, which colour-blind readers tell apart.
COLORS = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
)


def open_sink(
    path, shape, *, bands=1, dtype="uint8", like=None, class_names=None, colors=None, cog=False, temporary=None
):
    """Prepares a file that windows can be written to, in any order.

    The result is a context manager with `write(window, array)`. The file appears under its name when the context ends
    without an exception; until then, and after an exception, there is none.

    Args:
        path: A `.tif` or `.tiff` (tiled, compressed BigTIFF), `.nii` or `.nii.gz`, `.png` or `.npy` file in an existing
            folder; replaced where it exists.
        shape: Spatial sizes, two of them, or two or three for NIfTI and NPY.
        bands: Number of values per pixel.
        dtype: Type of the values; one band of `uint8` means class ids and gets a colour table in TIFF and PNG.
        like: Source whose georeference or affine the file gets.
        class_names: Names of the bands or, with one band, of the class ids (a single name is that of id 1).
        colors: Colours `(red, green, blue)` of the class ids from 0 on; empty for a grey image without a colour table.
        cog: Make a TIFF a cloud-optimised one, with overviews; needs the disk space twice while it is made.
        temporary: Path to write to until the file is complete; by default one that no other process has.

    Raises:
        OSError: Where the file cannot be written.
        ValueError: Where the format cannot hold what is asked for.
    """
    path = Path(path)
    shape = tuple(int(length) for length in shape)
    suffix = file_suffix(path)
    dtype = np.dtype(dtype)
    writer = {".nii": VolumeWriter, ".nii.gz": VolumeWriter, ".npy": ArrayWriter}.get(suffix, RasterWriter)
    if suffix not in SINK_SUFFIXES:
        raise ValueError(
            f"{path}: expected an output of type {' '.join(SINK_SUFFIXES)}; received {suffix or 'no suffix'}"
        )
    if len(shape) != 2 and (len(shape) != 3 or writer is RasterWriter):
        raise ValueError(f"{path}: expected an image with 2 axes for {suffix}; received shape {shape}")
    if cog and suffix not in (".tif", ".tiff"):
        raise ValueError(f"{path}: expected a .tif or .tiff to make a COG of; received {suffix}")
    if suffix == ".png" and (dtype not in (np.uint8, np.uint16) or bands > 4):
        raise ValueError(f"{path}: expected up to 4 bands of uint8 or uint16 for .png; received {bands} of {dtype}")
    if like is not None and tuple(like.shape) != shape:
        raise ValueError(f"{path}: expected the size of {like.name}, {tuple(like.shape)}; received {shape}")
    if class_names is not None and bands > 1 and len(class_names) != bands:
        raise ValueError(f"{path}: expected {bands} class names; received {list(class_names)}")
    check_writable(path)
    georeference = (like.georeference if like is not None else None) or {}
    temporary = temporary or temporary_name(path)
    return Sink(path, temporary, shape, bands, dtype, writer, georeference, class_names, colors, cog)


def lock_file(file, expected):
    """Holds an open file for this process alone, until it is closed or the process ends, where the system has locks.

    Args:
        file: An open file.
        expected: What is said to the process that comes second: the file, and what of it was expected.

    Raises:
        OSError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(f"{expected}; received one in work") from None


def check_writable(path):
    """Refuses an output that cannot be written, before any work is done for it.

    Raises:
        OSError: Where the folder is missing or read-only, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise OSError(f"{path}: expected the name of a file to write; received a folder")
    probe = temporary_name(path)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path}: expected a place that can be written; received {error.strerror}") from None


def temporary_name(path):
    """Returns a name beside a path that no other process writes to, with the same suffix."""
    return path.with_name(f".{path.name.split('.')[0]}.{os.getpid()}.part{file_suffix(path)}")


class Sink:
    """An output file under a temporary name, renamed when it is complete: see `open_sink`."""

    def __init__(self, path, temporary, shape, bands, dtype, writer, *content):
        self.path, self.shape, self.bands, self.dtype = path, shape, bands, dtype
        self._temporary = temporary
        self._make = lambda: writer(self._temporary, shape, bands, dtype, *content)

    def __enter__(self):
        try:
            self._writer = self._make()
        except OSError as error:
            self._remove()
            raise self._failure(error) from None
        return self

    def write(self, window, array):
        """Writes the values of a window.

        Args:
            window: `Window` inside the image.
            array: Values `(*size, bands)`.

        Raises:
            OSError: Where the disk refuses.
            ValueError: Where shape or type do not fit.
        """
        array = np.asarray(array)
        if window.ndim != len(self.shape) or not window.inside(self.shape):
            raise ValueError(f"{self.path}: expected a window inside {self.shape}; received {window}")
        if array.shape != (*window.size, self.bands):
            raise ValueError(f"{self.path}: expected an array {(*window.size, self.bands)}; received {array.shape}")
        if array.dtype.kind == "f" and self.dtype.kind != "f":
            raise ValueError(f"{self.path}: expected values of {self.dtype}; received {array.dtype}")
        try:
            self._writer.write(window, array.astype(self.dtype, copy=False))
        except OSError as error:
            raise self._failure(error) from None

    def fill(self, read):
        """Writes everything, band after band in the order of the file's blocks: equal values give equal bytes.

        Blocks of zeros are left to the file, which begins with them; so nothing else may have been written to it.

        Args:
            read: Function from a `Window` and the number of a band to an array of the window's size.

        Raises:
            OSError: Where the disk refuses.
        """
        block, across = block_size(self.shape), self.shape[1:]
        pixels = BYTES_AT_ONCE // self.dtype.itemsize
        size = (block, pixels // block) if len(across) == 1 else (max(1, pixels // prod(across)), *across)
        try:
            for band in range(self.bands):
                for window in window_grid(self.shape, size):
                    values = np.asarray(read(window, band), self.dtype)
                    for part in window_grid(window.size, (block,) * len(self.shape)):
                        if (cut := values[part.slices]).any():
                            place = Window(np.add(window.offset, part.offset), part.size)
                            self._writer.write(place, cut[..., None], band)
        except OSError as error:
            raise self._failure(error) from None

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._writer.finish()
                with open(self._temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self.path)
            else:
                self._writer.abandon()
        except OSError as error:
            if kind is None:
                raise self._failure(error) from None
        finally:
            self._remove()

    def _remove(self):
        for path in self.path.parent.glob(f"{glob.escape(self._temporary.name)}*"):
            path.unlink()

    def _failure(self, error):
        return OSError(f"{self.path}: expected a disk that takes the output; received {reason(error)}")


def block_size(shape):
    """The rows and columns of a block of a TIFF."""
    return 256 if max(shape) <= 4096 else 512


class RasterWriter:
    """Writes a TIFF or PNG through GDAL."""

    def __init__(self, path, shape, bands, dtype, georeference, class_names, colors, cog):
        self._path = path
        self._tiff = file_suffix(path) != ".png"
        block = block_size(shape)
        class_ids = dtype == np.uint8 and (colors is None or len(colors) > 0)
        self._cog = cog and ("nearest" if class_ids else "average")
        # Class ids become as small with LZW as with deflate, three times as fast.
        self._compress = "lzw" if class_ids else "deflate"
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
            "crs": georeference.get("crs"),
            "transform": georeference.get("transform"),
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
        if bands == 1 and class_ids:
            self._file.write_colormap(1, dict(enumerate(color_table(colors))))
        if not self._tiff:
            return
        if georeference.get("gcps"):
            self._file.gcps = georeference["gcps"], georeference["gcps_crs"]
        names = list(class_names or [])
        if bands > 1:
            for band, name in enumerate(names, 1):
                self._file.set_band_description(band, name)
        elif names:
            first = 1 if len(names) == 1 else 0
            self._file.update_tags(**{f"CLASS_{number}": name for number, name in enumerate(names, first)})

    def write(self, window, array, band=None):
        box = tuple((cut.start, cut.stop) for cut in window.slices)
        if band is None:
            self._file.write(np.moveaxis(array, -1, 0), window=box)
        else:
            self._file.write(array[..., 0], band + 1, window=box)

    def finish(self):
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
            copy_as_cog(self._path, self._cog, self._compress)

    def abandon(self):
        self._file.close()


def copy_as_cog(path, resampling, compress):
    """Replaces a TIFF by a cloud-optimised one; `resampling` makes its overviews.

    Raises:
        OSError: Where the disk refuses.
    """
    import rasterio.shutil

    copy = path.with_name(f"{path.name}.cog")
    try:
        rasterio.shutil.copy(path, copy, driver="COG", compress=compress, bigtiff="yes", overview_resampling=resampling)
    except Exception as error:  # rasterio lets GDAL's errors, of a class of their own, pass through
        raise OSError(reason(error)) from None
    check_tiff(copy)
    os.replace(copy, path)


def check_tiff(path):
    """Refuses a TIFF whose blocks do not all lie within the file.

    Raises:
        OSError: Where it is incomplete.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            ends = np.add(file.pages[0].dataoffsets, file.pages[0].databytecounts)
            if min(file.pages[0].databytecounts) > 0 and ends.max() <= path.stat().st_size:
                return
    except (tifffile.TiffFileError, IndexError, ValueError):
        pass
    raise OSError("an incomplete file: the disk is full")


def color_table(colors=None):
    """Returns 256 opaque colours for class ids, those given first; 255, which marks ignored pixels, is grey."""
    table = [tuple(color)[:3] for color in (COLORS if colors is None else colors)]
    rest = COLORS[1:]
    table += [rest[(number - 1) % len(rest)] for number in range(len(table), 255)] + [(128, 128, 128)]
    return [(*color, 255) for color in table[:256]]


class VolumeWriter:
    """Writes a NIfTI volume; a compressed one is compressed at the end, when no window comes any more."""

    def __init__(self, path, shape, bands, dtype, georeference, *_):
        import nibabel

        self._path, self._bands = path, bands
        self._raw = path.with_name(f"{path.name}.raw") if file_suffix(path) == ".nii.gz" else path
        self._shape = (*shape, *(1,) * (3 - len(shape)), *((bands,) if bands > 1 else ()))
        kind = nibabel.Nifti1Image if max(self._shape) < 2**15 else nibabel.Nifti2Image
        image = kind(
            np.broadcast_to(np.zeros((), dtype), self._shape),
            georeference.get("affine", np.eye(4)),
            georeference.get("header"),
            dtype=dtype,
        )
        header = image.header
        header.extensions.clear()
        header["cal_min"] = header["cal_max"] = 0
        header.set_slope_inter(1, 0)
        offset = len(header.binaryblock) + 4
        header.set_data_offset(offset)
        with open(self._raw, "wb") as file:
            file.write(header.binaryblock + bytes(4))
        self._values = reserved_array(self._raw, header.get_data_dtype(), offset, self._shape, "F")

    def write(self, window, array, band=None):
        put(self._values, window, array, band, self._bands)

    def finish(self):
        self._values.flush()
        del self._values
        if self._raw != self._path:
            # Without a name and a time in its header, equal volumes are equal files.
            with (
                open(self._raw, "rb") as raw,
                open(self._path, "wb") as plain,
                gzip.GzipFile("", "wb", 5, plain, mtime=0) as file,
            ):
                shutil.copyfileobj(raw, file, 1 << 20)

    def abandon(self):
        del self._values


class ArrayWriter:
    """Writes a NPY file; a single band gets no axis of its own."""

    def __init__(self, path, shape, bands, dtype, *_):
        self._bands = bands
        shape = shape if bands == 1 else (*shape, bands)
        with open(path, "wb") as file:
            np.lib.format.write_array_header_2_0(
                file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            )
            offset = file.tell()
        self._values = reserved_array(path, dtype, offset, shape, "C")

    def write(self, window, array, band=None):
        put(self._values, window, array, band, self._bands)

    def finish(self):
        self._values.flush()
        del self._values

    def abandon(self):
        del self._values


def put(values, window, array, band, bands):
    """Writes all bands of a window, or one, into an array whose bands, if there are several, are its last axis."""
    box = window.slices + ((...,) if band is None or bands == 1 else (..., band))
    values[box] = array.reshape(values[box].shape)


def reserved_array(path, dtype, offset, shape, order):
    """Maps an array of zeros behind the header of a file, its disk space reserved."""
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    with open(path, "rb+") as file:
        if hasattr(os, "posix_fallocate"):
            # A mapped page that finds the disk full kills the process.
            os.posix_fallocate(file.fileno(), offset, size)
        else:
            file.truncate(offset + size)
    return np.memmap(path, dtype, "r+", offset, shape, order)
