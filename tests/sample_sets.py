"""Small data sets, each with one file to damage: every format and kind of label that is read.

A sample is a folder with `images/` and `masks/` or other labels, and what the label and the image are like.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import rasterio
import SimpleITK as sitk
import tifffile
import yaml

from maskzoo.data import encode_rle
from maskzoo.data.images.raster_files import open_raster

ROWS, COLUMNS, SECTIONS = 80, 96, 6
PLACE = {"crs": "EPSG:32616", "transform": (0.5, 0, 700000, 0, -0.5, 3700000)}
SERIES = "1.2.826.0.1.3680043.8.498.5"


@dataclass(frozen=True)
class Sample:
    """One data set with one file to damage.

    Attributes:
        group: The format or the kind of label.
        folder: The data set.
        file: The file, relative to the folder.
        pixels_from: Number of the first byte behind its header.
        spec: What `read_spec` takes, relative to the folder.
        spatial_dims: Number of spatial axes.
    """

    group: str
    folder: Path
    file: str
    pixels_from: int
    spec: str = "."
    spatial_dims: int = 2


def write_samples(root: Path) -> list[Sample]:
    """Writes all samples into a folder."""
    samples: list[Sample] = []
    for make in (
        rasters,
        slides,
        volumes,
        scans,
        dicoms,
        arrays,
        sidecars,
        label_images,
        label_volumes,
        outlines,
        runs,
        specs,
    ):
        samples += make(root / make.__name__)
    return samples


def picture(channels=3, dtype=np.uint8, rows=ROWS, columns=COLUMNS) -> np.ndarray:
    """Returns a smooth picture with an object and some noise, `(channels, rows, columns)`."""
    rng = np.random.default_rng(channels)
    ramp = np.add.outer(np.arange(rows), np.arange(columns))[None] * 0.5
    noise = rng.integers(0, 30, (channels, rows, columns))
    found = ramp + noise + 90 * shape_mask(rows, columns)
    return (found if np.dtype(dtype).itemsize == 1 else found * 100).astype(dtype)


def shape_mask(rows=ROWS, columns=COLUMNS) -> np.ndarray:
    """Returns a mask of two rectangles, boolean `(rows, columns)`."""
    mask = np.zeros((rows, columns), bool)
    mask[20:50, 30:60] = mask[60:70, 70:90] = True
    return mask


def volume(dtype=np.int16) -> np.ndarray:
    """Returns voxels `(x, y, z)`."""
    return np.stack([picture(1, dtype, 48, 40)[0].T + 5 * z for z in range(SECTIONS)], axis=-1).astype(dtype)


def volume_mask() -> np.ndarray:
    """Returns the mask of the volume, `uint8` `(x, y, z)`."""
    return np.stack([shape_mask(48, 40).T] * SECTIONS, axis=-1).astype(np.uint8)


def save_raster(path: Path, bands: np.ndarray, driver="GTiff", colors=None, mask=None, **options) -> Path:
    """Writes bands `(bands, rows, columns)` with rasterio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    if options.get("crs"):
        from affine import Affine

        options["transform"] = Affine(*options["transform"])
    everything = {"driver": driver, "dtype": bands.dtype, **size, **options}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), open_raster(path, "w", **everything) as file:
        file.write(bands)
        if colors:
            file.write_colormap(1, colors)
        if mask is not None:
            file.write_mask(mask)
    return path


def save_mask(folder: Path) -> None:
    """Writes the mask of the picture as `masks/s.png`."""
    save_raster(folder / "masks" / "s.png", shape_mask()[None].astype(np.uint8) * 255, "PNG")


def rasters(root: Path) -> Iterator[Sample]:
    """Writes what GDAL reads."""
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    layouts = {
        "TIFF striped": {},
        "TIFF tiled": tiled,
        "TIFF big endian": {"endianness": "big", "interleave": "pixel"},
        "TIFF LZW": {"compress": "lzw", "predictor": 2},
        "TIFF deflate": {"compress": "deflate", **tiled},
        "TIFF PackBits": {"compress": "packbits"},
        "TIFF JPEG": {"compress": "jpeg", "photometric": "ycbcr", **tiled},
        "TIFF WebP": {"compress": "webp", **tiled},
        "TIFF LERC": {"compress": "lerc"},
        "TIFF Zstandard": {"compress": "zstd", "interleave": "pixel"},
        "BigTIFF": {"compress": "deflate", "bigtiff": "yes"},
        "GeoTIFF": {"nodata": 7, **PLACE, **tiled},
        "TIFF of bits": {"count": 1, "nbits": 1, "compress": "ccittfax4"},
        "TIFF with mask": {"mask": shape_mask(), "compress": "lzw"},
        "TIFF floating point": {"dtype": np.float32, "compress": "deflate", "predictor": 3},
        "TIFF 16 bit, white 0": {"count": 1, "dtype": np.uint16, "photometric": "miniswhite"},
        "COG": {"driver": "COG", "compress": "deflate", "rows": 600, "columns": 600},
        "PNG": {"driver": "PNG"},
        "PNG 16 bit": {"driver": "PNG", "count": 1, "dtype": np.uint16},
        "PNG palette": {"driver": "PNG", "count": 1, "colors": {n: (n, 255 - n, n // 2, 255) for n in range(256)}},
        "PNG alpha": {"driver": "PNG", "count": 4},
        "JPEG": {"driver": "JPEG", "quality": 90},
        "JPEG progressive": {"driver": "JPEG", "progressive": "yes"},
        "JPEG grey": {"driver": "JPEG", "count": 1},
        "JPEG 2000": {"driver": "JP2OpenJPEG"},
        "WebP": {"driver": "WEBP"},
        "BMP": {"driver": "BMP"},
        "GIF": {"driver": "GIF", "count": 1},
    }
    for number, (group, layout) in enumerate(layouts.items()):
        options = dict(layout)
        driver = options.get("driver", "GTiff")
        bands = picture(
            options.pop("count", 3),
            options.pop("dtype", np.uint8),
            options.pop("rows", ROWS),
            options.pop("columns", COLUMNS),
        )
        folder = root / str(number)
        if options.get("nbits") == 1:
            bands = shape_mask()[None].astype(np.uint8)
        if group == "PNG alpha":
            bands[3] = 255 * shape_mask()
        suffix = {"PNG": "png", "JPEG": "jpg", "JP2OpenJPEG": "jp2", "COG": "tif", "GTiff": "tif"}.get(driver, driver)
        path = save_raster(folder / "images" / f"s.{suffix.lower()}", bands, **options)
        rows, columns = bands.shape[1:]
        save_raster(folder / "masks" / "s.png", shape_mask(rows, columns)[None].astype(np.uint8) * 255, "PNG")
        for other in path.parent.glob("*.aux.xml"):
            other.unlink()
        yield Sample(group, folder, f"images/{path.name}", pixels_from(path))


def slides(root: Path) -> Iterator[Sample]:
    """Writes what tifffile reads."""
    bands = picture(3, np.uint16)
    color = np.moveaxis(picture(3), 0, -1)
    tiled = {"tile": (32, 32)}
    layouts = {
        "OME-TIFF": (bands, {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}, ".ome.tif"),
        "OME-TIFF deflate": (bands, {"metadata": {"axes": "CYX"}, "compression": "zlib", **tiled}, ".ome.tif"),
        "TIFF JPEG 2000": (color, {"photometric": "rgb", "compression": "jpeg2000", **tiled}, ".tif"),
        "TIFF JPEG XL": (color, {"photometric": "rgb", "compression": "jpegxl", **tiled}, ".tif"),
        "TIFF LZMA": (color, {"photometric": "rgb", "compression": "lzma", **tiled}, ".tif"),
        "TIFF of pages": (picture(6), {"metadata": None, "photometric": "minisblack"}, ".tif"),
        "TIFF of pages, LZW": (
            picture(6),
            {"metadata": None, "compression": "lzw", "photometric": "minisblack"},
            ".tif",
        ),
        "ImageJ stack": (picture(6, np.uint16), {"imagej": True, "metadata": {"axes": "ZYX"}}, ".tif"),
    }
    for number, (group, (pixels, options, suffix)) in enumerate(layouts.items()):
        folder = root / str(number)
        path = folder / "images" / f"s{suffix}"
        path.parent.mkdir(parents=True)
        tifffile.imwrite(path, pixels, **options)
        save_mask(folder)
        if len(pixels) == 6:
            (folder / "masks" / "s.png").unlink()
            tifffile.imwrite(folder / "masks" / "s.tif", np.stack([shape_mask().astype(np.uint8)] * 6), metadata=None)
        yield Sample(group, folder, f"images/s{suffix}", pixels_from(path), spatial_dims=3 if len(pixels) == 6 else 2)


def save_volume_mask(folder: Path, direction: int = 1) -> None:
    """Writes the mask of the volume as `masks/s.nii.gz`, its first two axes to the right and the front or against."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(volume_mask(), np.diag([0.5 * direction, 0.5 * direction, 3, 1]))
    nibabel.save(image, folder / "masks" / "s.nii.gz")


def volumes(root: Path) -> Iterator[Sample]:
    """Writes what nibabel reads."""
    scaled = nibabel.Nifti1Image(volume(), np.diag([0.5, 0.5, 3, 1]))
    scaled.header.set_slope_inter(2, -1024)
    kinds = {
        "NIfTI": (nibabel.Nifti1Image(volume(), np.diag([0.5, 0.5, 3, 1])), ".nii"),
        "NIfTI packed": (nibabel.Nifti1Image(volume(), np.diag([0.5, 0.5, 3, 1])), ".nii.gz"),
        "NIfTI rescaled": (scaled, ".nii"),
        "NIfTI floating point": (nibabel.Nifti1Image(volume(np.float32), np.diag([0.5, 0.5, 3, 1])), ".nii.gz"),
        "NIfTI-2": (nibabel.Nifti2Image(volume(), np.diag([0.5, 0.5, 3, 1])), ".nii"),
    }
    for number, (group, (image, suffix)) in enumerate(kinds.items()):
        folder = root / str(number)
        save_volume_mask(folder)
        path = folder / "images" / f"s{suffix}"
        path.parent.mkdir()
        nibabel.save(image, path)
        yield Sample(group, folder, f"images/s{suffix}", pixels_from(path), spatial_dims=3)


def scan() -> sitk.Image:
    """Returns the volume as SimpleITK has it, at the place of the mask."""
    image = sitk.GetImageFromArray(volume().transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.5, 3))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def scans(root: Path) -> Iterator[Sample]:
    """Writes MetaImage and NRRD."""
    kinds = {
        "MHA": ("s.mha", False, "s.mha"),
        "MHA packed": ("s.mha", True, "s.mha"),
        "MHD header": ("s.mhd", False, "s.mhd"),
        "MHD voxels": ("s.mhd", False, "s.raw"),
        "MHD packed voxels": ("s.mhd", True, "s.zraw"),
        "NRRD": ("s.nrrd", False, "s.nrrd"),
        "NRRD packed": ("s.nrrd", True, "s.nrrd"),
        "NHDR header": ("s.nhdr", False, "s.nhdr"),
        "NHDR voxels": ("s.nhdr", False, "s.raw"),
    }
    for number, (group, (name, packed, damaged)) in enumerate(kinds.items()):
        folder = root / str(number)
        save_volume_mask(folder)
        (folder / "images").mkdir()
        sitk.WriteImage(scan(), str(folder / "images" / name), packed)
        yield Sample(group, folder, f"images/{damaged}", pixels_from(folder / "images" / damaged), spatial_dims=3)


def dicom(pixels: np.ndarray, kind: str) -> pydicom.Dataset:
    """Returns a DICOM file of one frame or several."""
    content = pydicom.Dataset()
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = kind
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = f"{SERIES}.9"
    content.Modality, content.PatientID, content.PatientName = "CT", "1", "A"
    content.StudyInstanceUID, content.SeriesInstanceUID = f"{SERIES}.1", f"{SERIES}.2"
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.Rows, content.Columns = pixels.shape[-2:]
    content.BitsAllocated = content.BitsStored = 16
    content.HighBit, content.PixelRepresentation = 15, 1
    content.RescaleSlope, content.RescaleIntercept = "1", "-1024"
    content.PixelData = pixels.astype(np.int16).tobytes()
    return content


def dicoms(root: Path) -> Iterator[Sample]:
    """Writes DICOM files, single, of several frames, compressed, and a folder of slices."""
    axes = [1, 0, 0, 0, 1, 0]
    slice_ = dicom(picture(1, np.int16)[0] // 100, "1.2.840.10008.5.1.4.1.1.2")
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient, slice_.PixelSpacing = [0, 0, 0], axes, [0.5, 0.5]
    frames = dicom(volume().transpose(2, 1, 0), "1.2.840.10008.5.1.4.1.1.2.1")
    frames.NumberOfFrames = SECTIONS
    frames.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
    groups = []
    for number in range(SECTIONS):
        place, turn, measures = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient, turn.ImageOrientationPatient = [0, 0, 3 * number], axes
        measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], 3
        group = pydicom.Dataset()
        group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [turn]
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    frames.PerFrameFunctionalGroupsSequence = groups
    kinds = {"DICOM": slice_, "DICOM run-length": slice_, "DICOM deflated": slice_, "DICOM of frames": frames}
    for number, (group, content) in enumerate(kinds.items()):
        folder = root / str(number)
        content = pydicom.dcmread(pydicom.filebase.DicomBytesIO(as_bytes(content)))
        if group == "DICOM run-length":
            content.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        if group == "DICOM deflated":
            content.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        path = folder / "images" / "s.dcm"
        path.parent.mkdir(parents=True)
        content.save_as(path, enforce_file_format=True)
        is_volume = group == "DICOM of frames"
        if is_volume:
            save_volume_mask(folder, -1)
        else:
            save_mask(folder)
        yield Sample(group, folder, "images/s.dcm", pixels_from(path), spatial_dims=3 if is_volume else 2)
    folder = root / "series"
    save_volume_mask(folder, -1)
    place = folder / "images" / "s"
    place.mkdir(parents=True)
    for number, plane in enumerate(volume().transpose(2, 1, 0)):
        content = dicom(plane, "1.2.840.10008.5.1.4.1.1.2")
        content.SOPInstanceUID = f"{SERIES}.9.{number}"
        content.ImagePositionPatient, content.ImageOrientationPatient = [0, 0, 3 * number], axes
        content.PixelSpacing, content.InstanceNumber = [0.5, 0.5], number
        content.save_as(place / f"{number}.dcm", enforce_file_format=True)
    yield Sample("DICOM series", folder, "images/s/2.dcm", pixels_from(place / "2.dcm"), spatial_dims=3)


def as_bytes(content: pydicom.Dataset) -> bytes:
    """Returns a DICOM file in memory."""
    file = pydicom.filebase.DicomBytesIO()
    content.save_as(file, enforce_file_format=True)
    return file.getvalue()


def arrays(root: Path) -> Iterator[Sample]:
    """Writes NPY."""
    (root / "images").mkdir(parents=True)
    np.save(root / "images" / "s.npy", np.moveaxis(picture(3), 0, -1))
    save_mask(root)
    yield Sample("NPY", root, "images/s.npy", 128)


def sidecars(root: Path) -> Iterator[Sample]:
    """Writes TIFFs with a file beside them: overviews, a mask, statistics, a place."""
    from rasterio.enums import Resampling

    for name in ("s.tif.ovr", "s.tif.msk", "s.tif.aux.xml", "s.tfw"):
        folder = root / name
        rows, columns = (600, 600) if name == "s.tif.ovr" else (ROWS, COLUMNS)
        path = save_raster(folder / "images" / "s.tif", picture(3, np.uint8, rows, columns))
        beside = path.parent / name
        if name == "s.tif.ovr":
            with rasterio.Env(TIFF_USE_OVR=True), open_raster(path, "r+") as file:
                file.build_overviews([2, 4], Resampling.average)
        elif name == "s.tif.msk":
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), open_raster(path, "r+") as file:
                file.write_mask(shape_mask())
        elif name == "s.tfw":
            beside.write_text("0.5\n0\n0\n-0.5\n700000\n3700000\n")
        else:
            line = '<MDI key="STATISTICS_MAXIMUM">255</MDI>'
            band = f'<PAMRasterBand band="1"><Metadata>{line}</Metadata></PAMRasterBand>'
            place = "<GeoTransform>700000, 0.5, 0, 3700000, 0, -0.5</GeoTransform><SRS>EPSG:32616</SRS>"
            beside.write_text(f"<PAMDataset>{place}{band}</PAMDataset>")
        save_raster(folder / "masks" / "s.png", shape_mask(rows, columns)[None].astype(np.uint8) * 255, "PNG")
        yield Sample(f"beside TIFF: {beside.suffix}", folder, f"images/{name}", min(40, beside.stat().st_size // 2))


def save_picture(folder: Path, **options) -> None:
    """Writes the picture as `images/s.tif`."""
    save_raster(folder / "images" / "s.tif", picture(3), **options)


def label_images(root: Path) -> Iterator[Sample]:
    """Writes labels that are images."""
    mask = shape_mask().astype(np.uint8)
    ids = mask.copy()
    ids[60:] *= 2
    colors = np.zeros((3, ROWS, COLUMNS), np.uint8)
    colors[0, ids == 1], colors[1, ids == 2] = 255, 255
    palette = {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255)}
    kinds = {
        "label: mask in PNG": (mask[None] * 255, {"driver": "PNG"}, "s.png", {}),
        "label: class ids in PNG": (ids[None], {"driver": "PNG"}, "s.png", {"task": "multiclass"}),
        "label: class ids in TIFF": (ids[None], {"compress": "lzw"}, "s.tif", {"classes": ["a", "b", "c"]}),
        "label: colours": (colors, {"driver": "PNG"}, "s.png", {"colors": {"a": [255, 0, 0], "b": [0, 255, 0]}}),
        "label: palette": (ids[None], {"driver": "PNG", "colors": palette}, "s.png", {"task": "multiclass"}),
        "label: palette in TIFF": (ids[None], {"colors": palette}, "s.tif", {"task": "multiclass"}),
        "label: object numbers": (ids[None].astype(np.uint16), {"compress": "deflate"}, "s.tif", {"instances": True}),
    }
    for number, (group, (bands, options, name, keys)) in enumerate(kinds.items()):
        folder = root / str(number)
        save_picture(folder)
        path = save_raster(folder / "masks" / name, bands, **options)
        for other in path.parent.glob("*.aux.xml"):
            other.unlink()
        yield Sample(group, folder, f"masks/{name}", pixels_from(path), with_spec(folder, **keys))


def with_spec(folder: Path, **keys: object) -> str:
    """Writes `spec.yaml`, and returns its name."""
    (folder / "spec.yaml").write_text(yaml.safe_dump({"path": ".", **keys}, sort_keys=False))
    return "spec.yaml"


def label_volumes(root: Path) -> Iterator[Sample]:
    """Writes labels of volumes."""
    for number, name in enumerate(("s.nii.gz", "s.nii", "s.nrrd")):
        folder = root / str(number)
        (folder / "images").mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume(), np.diag([0.5, 0.5, 3, 1])), folder / "images" / "s.nii")
        path = folder / "masks" / name
        path.parent.mkdir()
        if name == "s.nrrd":
            image = sitk.GetImageFromArray(volume_mask().transpose(2, 1, 0))
            image.CopyInformation(scan())
            sitk.WriteImage(image, str(path))
        else:
            nibabel.save(nibabel.Nifti1Image(volume_mask(), np.diag([0.5, 0.5, 3, 1])), path)
        yield Sample("label: volume", folder, f"masks/{name}", pixels_from(path), spatial_dims=3)


def outlines(root: Path) -> Iterator[Sample]:
    """Writes outlines in pixels, in map coordinates, and as QuPath does."""
    corners = [[30, 20], [60, 20], [60, 50], [30, 50], [30, 20]]
    placed = [[700000 + x / 2, 3700000 - y / 2] for x, y in corners]
    for number, kind in enumerate(("in pixels", "in map coordinates", "of QuPath")):
        folder = root / str(number)
        save_picture(folder, **(PLACE if number == 1 else {}))
        geometry = {"type": "Polygon", "coordinates": [placed if number == 1 else corners]}
        properties = {"classification": {"name": "Tumor", "color": [200, 0, 0]}} if number == 2 else {"id": 7}
        features = [{"type": "Feature", "properties": properties, "geometry": geometry}]
        features.append(
            {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [1, 2]}}
        )
        content = {"type": "FeatureCollection", "features": features}
        if number == 1:
            content["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32616"}}
        (folder / "outlines").mkdir()
        (folder / "outlines" / "s.geojson").write_text(json.dumps(content))
        keys = {"class_property": "classification", "classes": ["Tumor"]} if number == 2 else {}
        yield Sample(
            f"label: GeoJSON {kind}", folder, "outlines/s.geojson", 40, with_spec(folder, labels="outlines", **keys)
        )


def runs(root: Path) -> Iterator[Sample]:
    """Writes tables of runs, absolute and relative."""
    for relative in (False, True):
        folder = root / str(relative)
        save_picture(folder)
        text = encode_rle(shape_mask(), relative=relative)
        (folder / "runs.csv").write_text(f"ImageId,EncodedPixels\ns.tif,{text}\n")
        keys = {"rle": {"relative": True}} if relative else {}
        spec = with_spec(folder, labels="runs.csv", **keys)
        yield Sample("label: runs in CSV", folder, "runs.csv", 30, spec)


def specs(root: Path) -> Iterator[Sample]:
    """Writes a specification and the folds of a set, to be damaged themselves."""
    save_picture(root)
    save_mask(root)
    (root / "folds.json").write_text(json.dumps({"folds": [["s"], []]}))
    yield Sample("YAML", root, with_spec(root, classes=["nucleus"], alpha="data"), 10, "spec.yaml")


def pixels_from(path: Path) -> int:
    """Returns where the pixels of a file begin."""
    content = path.read_bytes()
    name = path.name
    if name.endswith((".raw", ".zraw")):
        return 0
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        with tifffile.TiffFile(path) as file:
            return min(offset for page in file.pages for offset in page.dataoffsets if offset)
    if content.startswith(b"\x89PNG"):
        return content.index(b"IDAT") + 4
    if name.endswith((".webp", ".bmp", ".gif", ".jp2")):
        return {"webp": 30, "bmp": 54, "gif": 810}.get(path.suffix[1:], content.find(b"\xff\x93") + 2)
    if content.startswith(b"\xff\xd8"):
        return content.index(b"\xff\xda") + 14
    if name.endswith(".dcm"):
        place = content.rfind(b"\xe0\x7f\x10\x00")
        return place + 12 if place > 0 else len(content) // 2
    if found := re.search(rb"ElementDataFile = LOCAL\n|\n\n", content[:2000]):
        return found.end()
    if name.endswith(".nii"):
        return 544 if content[:4] == b"\x1c\x02\0\0" else 352
    return 20 if name.endswith(".gz") else len(content) // 2
