"""Sources of pixels: read one window of an image or volume of any size, mirrored where it reaches outside."""

from __future__ import annotations

import os
import threading
import warnings
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from .windows import Window, mirrored

RASTER_SUFFIXES = (".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
ARRAY_SUFFIXES = (".npy",)
SUFFIXES = RASTER_SUFFIXES + VOLUME_SUFFIXES + ARRAY_SUFFIXES

OPEN_FILES_PER_THREAD = 32
VOLUME_BYTES_PER_PROCESS = 1 << 30


def open_source(image, *, rank=None, palette="rgb"):
    """Opens an image or volume so that its windows can be read.

    A source has `name`, `path`, `shape` (spatial sizes), `channels`, `dtype`, `georeference` and `read(window)`. It
    can be pickled, and read by several threads and processes at once; as a context manager it closes its file.

    Args:
        image: Path of a TIFF, SVS, PNG, JPEG, NIfTI or NPY file; or an array `(*spatial)` or `(*spatial, channels)`.
        rank: Number of spatial axes, 2 or 3. Unknown: that of the file; an array of three axes is then an image if its
            last axis is at most 4 long, else a volume.
        palette: `"rgb"` turns the indices of a palette into colours, `"index"` keeps them and keeps pixels marked as
            nodata, which is what label images need.

    Raises:
        FileNotFoundError: Where there is no such file.
        OSError: Where the file cannot be read.
        ValueError: Where its format or its number of axes is not one that can be read.
    """
    if palette not in ("rgb", "index"):
        raise ValueError(f"palette: expected rgb or index; received {palette}")
    if isinstance(image, np.ndarray):
        return ArraySource(image, rank)
    path = Path(image)
    suffix = file_suffix(path)
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file of type {' '.join(SUFFIXES)}; received {suffix or 'no suffix'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected an existing file; received a path where there is none")
    if not path.is_file():
        raise OSError(f"{path}: expected a file; received a folder")
    if suffix in RASTER_SUFFIXES:
        return RasterSource(path, rank, palette)
    return VolumeSource(path, rank) if suffix in VOLUME_SUFFIXES else ArraySource(path, rank)


def file_suffix(path) -> str:
    """Returns the suffix of a path in lower case, `.nii.gz` in one piece."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def file_stem(path) -> str:
    """Returns the name of a path without its suffix, `.nii.gz` taken off in one piece."""
    name = Path(path).name
    return name[: len(name) - len(file_suffix(path))]


def read_mirrored(source, window, read):
    """Reads the pixels that a window shows once the image is mirrored at its borders.

    Args:
        source: What has `name` and `shape`.
        window: `Window`, which may lie outside the image on any side by any distance.
        read: Function from a window inside the image to an array `(*size, channels)`.
    """
    if window.ndim != len(source.shape):
        raise ValueError(f"{source.name}: expected windows of {len(source.shape)} axes; received {window}")
    if window.inside(source.shape):
        return read(window)
    axes = [mirrored(*axis) for axis in zip(window.offset, window.size, source.shape, strict=True)]
    start = [axis.min() for axis in axes]
    array = read(Window(start, [axis.max() + 1 - axis.min() for axis in axes]))
    for number, (axis, first) in enumerate(zip(axes, start, strict=True)):
        array = np.take(array, axis - first, axis=number)
    return array


def require_finite(array, name, window):
    """Refuses NaN and infinity in floating point pixels."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected finite values in the window at {window.offset} of size {window.size}; received "
            f"{np.count_nonzero(~np.isfinite(array))} that are NaN or infinite"
        )
    return array


def require_numbers(name, dtype):
    """Refuses pixels that are not real numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected pixels that are real numbers; received {dtype}")
    return dtype


def spatial_and_channels(name, shape, rank):
    """Splits the shape of an array into its spatial sizes and its number of channels."""
    if rank is None:
        rank = {2: 2, 3: 2 if shape[-1] <= 4 else 3, 4: 3}.get(len(shape))
    if rank is None or len(shape) not in (rank, rank + 1) or min(shape) < 1:
        wanted = "2 to 4" if rank is None else f"{rank} spatial axes, or {rank + 1} with the channels last"
        raise ValueError(f"{name}: expected an array with {wanted}; received shape {tuple(shape)}")
    return tuple(int(length) for length in shape[:rank]), int(shape[rank]) if len(shape) > rank else 1


class ArraySource:
    """Reads an array in memory, or a NPY file without loading the whole of it: see `open_source`."""

    georeference = None

    def __init__(self, image, rank=None):
        self._image = image
        self.path = None if isinstance(image, np.ndarray) else Path(image)
        self.name = str(self.path or "array")
        array = self._open()
        self.dtype = require_numbers(self.name, array.dtype)
        self.shape, self.channels = spatial_and_channels(self.name, array.shape, rank)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _open(self):
        if isinstance(self._image, np.ndarray):
            return self._image
        try:
            return np.load(self._image, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header is parsed as Python, with all that this may raise
            raise OSError(f"{self.name}: expected a readable NPY file; received {reason(error)}") from None

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        array = self._open()
        array = array.reshape((*self.shape, self.channels))
        return require_finite(read_mirrored(self, window, lambda box: np.array(array[box.slices])), self.name, window)


class VolumeSource:
    """Reads a NIfTI volume, without loading the whole of it unless it is compressed: see `open_source`."""

    def __init__(self, path, rank=None):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        image = self._load()
        shape = image.shape
        if rank == 2 and len(shape) > 2:
            if shape[2] != 1:
                raise ValueError(f"{path}: expected an image with 2 spatial axes; received a volume of shape {shape}")
            shape = shape[:2] + shape[3:]
        elif rank is None:
            rank = min(len(shape), 3)
        self.shape, self.channels = spatial_and_channels(self.name, shape, rank)
        stored = require_numbers(self.name, image.get_data_dtype())
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        self.dtype = np.dtype(np.float32) if scaled else stored.newbyteorder("=")
        self.georeference = {"affine": image.affine, "header": image.header.copy()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _volumes.drop(self._version)

    def _load(self):
        import nibabel

        try:
            # Without a memory map no file stays open; only what a window needs is read all the same.
            return nibabel.load(self.path, mmap=False)
        except Exception as error:  # nibabel lets whatever a damaged header provokes pass through
            raise OSError(f"{self.name}: expected a readable NIfTI file; received {reason(error)}") from None

    def _pixels(self):
        proxy = self._load().dataobj
        bytes_needed = int(np.prod(proxy.shape, dtype=object)) * self.dtype.itemsize
        if file_suffix(self.path) == ".nii.gz" and bytes_needed <= VOLUME_BYTES_PER_PROCESS:
            return np.asarray(proxy, dtype=self.dtype)
        return proxy

    def read(self, window):
        """Returns the voxels of a `Window` as an array `(*size, channels)`, mirrored outside the volume."""

        def read(box):
            try:
                pixels = _volumes.get(
                    self._version, self._pixels, lambda value: getattr(value, "nbytes", 4096), VOLUME_BYTES_PER_PROCESS
                )
                slices = box.slices + (slice(None),) * (len(pixels.shape) - len(box.slices))
                return np.array(pixels[slices], dtype=self.dtype).reshape((*box.size, self.channels))
            except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
                raise OSError(f"{self.name}: expected readable voxels; received {reason(error)}") from None

        array = read_mirrored(self, window, read)
        return require_finite(array, self.name, window)


class RasterSource:
    """Reads a TIFF, SVS, PNG or JPEG through GDAL: see `open_source`."""

    def __init__(self, path, rank=None, palette="rgb"):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        if rank not in (None, 2):
            raise ValueError(f"{path}: expected a volume with {rank} spatial axes; received an image with 2")
        self._driver = raster_driver(path)
        if self._driver == "PNG":
            check_png(path)
        dataset = self._dataset()
        if len(set(dataset.dtypes)) != 1 or dataset.count == 0:
            raise ValueError(f"{path}: expected bands of one type; received {dataset.dtypes or 'no bands'}")
        self.shape = dataset.shape
        self.dtype = require_numbers(path, dataset.dtypes[0])
        require_possible_blocks(dataset, self.dtype.itemsize)
        self.georeference = read_georeference(dataset)
        self._colors = None
        self._mask = None
        if palette == "rgb":
            self._colors = read_colors(dataset)
            self.dtype = self.dtype if self._colors is None else self._colors.dtype
            flags = {flag.name for band in dataset.mask_flag_enums for flag in band}
            if flags != {"all_valid"} and (flags != {"nodata"} or dataset.nodata != 0 or self._colors is not None):
                # Bands of measurements lack values one by one; colours are missing together.
                self._mask = "band" if self.dtype.kind == "f" else "pixel"
        self.channels = dataset.count if self._colors is None else 3

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _rasters.files.drop(self._version)

    def _dataset(self):
        def make():
            try:
                return open_raster(self.path, driver=self._driver)
            except (OSError, ValueError) as error:
                raise OSError(f"{self.name}: expected a readable image; received {reason(error)}") from None

        return _rasters.files.get(self._version, make, lambda dataset: 1, OPEN_FILES_PER_THREAD)

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        array = read_mirrored(self, window, self._read)
        return require_finite(array, self.name, window)

    def _read(self, window):
        box = tuple((cut.start, cut.stop) for cut in window.slices)
        dataset = self._dataset()
        try:
            array = dataset.read(window=box)
            if self._mask == "band":
                array[dataset.read_masks(window=box) == 0] = 0
            elif self._mask == "pixel":
                valid = dataset.dataset_mask(window=box) != 0
        except OSError as error:
            raise OSError(
                f"{self.name}: expected readable pixels in the window at {window.offset} of size {window.size}; "
                f"received {reason(error)}"
            ) from None
        # Band by band into place: numpy moves an axis three times slower.
        array = np.stack(list(array), axis=-1) if self._colors is None else self._colors[array[0]]
        if self._mask == "pixel":
            array *= valid[..., None]
        return array


def require_possible_blocks(dataset, itemsize):
    """Refuses a damaged header that declares blocks which no compression puts into the file: GDAL would allocate them.

    Raises:
        ValueError: Where a block is larger than 64 MB and than two thousand times the file.
    """
    height, width = dataset.block_shapes[0]
    if height * width * itemsize > max(1 << 26, 2000 * os.path.getsize(dataset.name)):
        raise ValueError(
            f"{dataset.name}: expected blocks that fit into a file of {os.path.getsize(dataset.name)} bytes; "
            f"received {height} x {width} pixels"
        )


def read_colors(dataset):
    """Returns the palette of a raster file as an array `(indices, 3)`, transparent colours black; None without one."""
    if dataset.count != 1 or dataset.colorinterp[0].name != "palette":
        return None
    colors = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 3), np.uint8)
    for index, (*color, alpha) in dataset.colormap(1).items():
        colors[index] = color if alpha else 0
    return colors


def read_georeference(dataset):
    """Returns coordinate system, transform and ground control points of a raster file; None where it has none."""
    points, points_crs = dataset.gcps
    if dataset.crs is None and dataset.transform.is_identity and not points:
        return None
    return {"crs": dataset.crs, "transform": dataset.transform, "gcps": points, "gcps_crs": points_crs}


def raster_driver(path):
    """Returns GDAL's name of the format that a file starts like, whatever its suffix says."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    return "JPEG" if start[:3] == b"\xff\xd8\xff" else "GTiff"


def check_png(path):
    """Refuses a PNG that is cut off or whose checksums differ: GDAL would show grey pixels instead.

    Raises:
        OSError: Where the file is damaged.
    """
    with open(path, "rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            data = file.read(length)
            if len(data) < length or int.from_bytes(file.read(4)) != zlib.crc32(data, zlib.crc32(kind)) or not kind:
                raise OSError(f"{path}: expected a whole PNG; received one that is cut off or damaged")


class Cache:
    """The most recently used values of one process, such as open files; a forked child starts without its parent's."""

    def __init__(self):
        self._inherited = None
        self._forget()

    def _forget(self):
        self._values = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def get(self, key, make, size, limit):
        """Returns the value of a key, made if there is none; the least recently used go when sizes pass the limit."""
        if self._process != os.getpid():
            # Closing the parent's files here would be wrong: the two processes share file positions.
            self._inherited = self._values
            self._forget()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > 1 and sum(size(v) for v in self._values.values()) > limit:
                self._values.popitem(last=False)
        return value

    def drop(self, key):
        """Forgets a value of this process."""
        if self._process == os.getpid():
            with self._lock:
                self._values.pop(key, None)


class ThreadFiles(threading.local):
    """The raster files that one thread has open: a handle of GDAL shared by threads crashes the process."""

    def __init__(self):
        self.files = Cache()


_rasters = ThreadFiles()
_volumes = Cache()

# Python's warning filters belong to the process: two threads that change and restore them at once leave a mess.
_quiet = threading.Lock()


def open_raster(path, mode="r", **options):
    """Opens a file with rasterio, quiet about a missing georeference, which photographs do not have."""
    # GDAL keeps decoded blocks up to 5 % of the machine's memory unless told otherwise, before its first read.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **options)


def file_version(path):
    """Identifies the content of a file well enough to notice that it was replaced."""
    status = os.stat(path)
    return str(path), status.st_mtime_ns, status.st_size


def reason(error) -> str:
    """Returns what went wrong in one line, in GDAL's own words where rasterio only points at them."""
    return " ".join(str(error.__cause__ or error or type(error).__name__).split())
