"""Small files of every format that is read."""

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile

from maskzoo.data.images.raster_files import open_raster


@pytest.fixture
def write_raster():
    """Function that writes bands `(bands, height, width)` with rasterio's options and returns the path."""
    return save_raster


@pytest.fixture
def write_series():
    """Function that writes a SimpleITK volume as a folder of DICOM slices and returns the folder."""
    return save_series


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory):
    """The paths of one small file, or folder of slices, of each format and layout. Not to be changed."""
    folder = tmp_path_factory.mktemp("samples")
    return [*rasters(folder), *volumes(folder), *stacks(folder), *scans(folder)]


def save_raster(path, bands, driver="GTiff", **options):
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with open_raster(path, "w", **{"driver": driver, "dtype": bands.dtype, **size, **options}) as file:
        file.write(bands.astype(options.get("dtype", bands.dtype)))
    return path


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def rasters(folder):
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    layouts = {
        "striped.tif": {},
        "deflate.tif": {"compress": "deflate", **tiled},
        "lzw.tif": {"compress": "lzw", "predictor": 2},
        "jpeg.tif": {"compress": "jpeg", "photometric": "ycbcr", **tiled},
        "zstd.tif": {"compress": "zstd"},
        "big.tif": {"compress": "deflate", "bigtiff": "yes"},
        "float.tif": {"dtype": "float32", "compress": "deflate"},
        "image.png": {"driver": "PNG"},
        "image.jpg": {"driver": "JPEG"},
    }
    for name, layout in layouts.items():
        yield save_raster(folder / name, noise((3, 300, 300)), **layout)


def volumes(folder):
    voxels = noise((3, 300, 300))
    np.save(folder / "array.npy", voxels[0])
    yield folder / "array.npy"
    for name in ("volume.nii", "packed.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), folder / name)
        yield folder / name


def stacks(folder):
    """Writes what tifffile reads."""
    planes = noise((3, 300, 300), np.uint16)
    tiled = {"tile": (64, 64), "photometric": "minisblack"}
    for codec in ("jpeg2000", "jpegxl"):
        pixels = noise((300, 300, 3))
        path = folder / f"{codec}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", compression=codec, tile=(64, 64))
        yield path
    layouts = {
        "packed.ome.tif": {"metadata": {"axes": "CYX"}, "compression": "zlib", **tiled},
        "plain.ome.tif": {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"},
        "stack.tif": {"metadata": None, "compression": "lzma", **tiled},
    }
    for name, layout in layouts.items():
        tifffile.imwrite(folder / name, planes, **layout)
        yield folder / name


def scans(folder):
    """Writes what SimpleITK reads; the voxels of `raw.mhd` lie beside it."""
    voxels = noise((3, 300, 300))
    scan = sitk.GetImageFromArray(voxels.astype(np.int16))
    for name, packed in (("raw.mhd", False), ("scan.mha", False), ("packed.mha", True), ("packed.nrrd", True)):
        sitk.WriteImage(scan, str(folder / name), packed)
        yield folder / name
    for name, image in (("slice.dcm", voxels[0]), ("frames.dcm", voxels)):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / name))
        yield folder / name
    yield save_series(folder / "series", scan)


def save_series(folder, image, *, slope=1, intercept=0, uid="1.2.826.0.1.3680043.2.1125.1"):
    """Writes a file per slice, named against their order in space, as scanners do."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    turn = np.reshape(image.GetDirection(), (3, 3))
    across, down, _ = image.GetSpacing()
    for number in range(image.GetDepth()):
        plane = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        for tag, value in {
            "0008|0060": "CT",
            "0020|000d": f"{uid}.1",
            "0020|000e": uid,
            "0020|0013": str(number),
            "0020|0032": "\\".join(f"{part:.10g}" for part in place),
            "0020|0037": "\\".join(f"{part:.12g}" for part in (*turn[:, 0], *turn[:, 1])),
            "0028|0030": f"{down}\\{across}",
            "0028|1052": str(intercept),
            "0028|1053": str(slope),
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid[-1]}-{(number * 5) % 6}.dcm"))
        writer.Execute(plane)
    return folder


@pytest.fixture
def write_slice():
    """Function that writes one DICOM slice as pydicom would, with any name, and returns the path."""
    return save_slice


@pytest.fixture
def write_frames():
    """Function that writes a DICOM file of several frames, each with its own facts, and returns the path."""
    return save_frames


AXIAL = (1, 0, 0, 0, 1, 0)
SERIES = "1.2.826.0.1.3680043.8.498.5"


def dicom_content(pixels, kind):
    content = pydicom.Dataset()
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = kind
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = pydicom.uid.generate_uid()
    content.Modality, content.PatientID, content.PatientName = "CT", "1", "A"
    content.StudyInstanceUID, content.SeriesInstanceUID = f"{SERIES}.1", f"{SERIES}.2"
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.Rows, content.Columns = pixels.shape[-2:]
    content.BitsAllocated = content.BitsStored = 8 * pixels.dtype.itemsize
    content.HighBit, content.PixelRepresentation = content.BitsStored - 1, int(pixels.dtype.kind == "i")
    content.PixelData = pixels.tobytes()
    return content


def save_slice(path, pixels, position, *, turn=AXIAL, spacing=(0.7, 0.5), slope=1, intercept=0):
    content = dicom_content(pixels, "1.2.840.10008.5.1.4.1.1.2")
    content.ImagePositionPatient, content.ImageOrientationPatient = list(position), list(turn)
    content.PixelSpacing, content.InstanceNumber = list(spacing), 1
    content.RescaleSlope, content.RescaleIntercept = str(slope), str(intercept)
    path.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(path, enforce_file_format=True)
    return path


def save_frames(path, pixels, positions, *, turns=None, spacings=None, rescales=None):
    content = dicom_content(pixels, "1.2.840.10008.5.1.4.1.1.2.1")
    content.NumberOfFrames, content.InstanceNumber = len(pixels), 1
    groups = []
    for number in range(len(pixels)):
        group = pydicom.Dataset()
        for sequence, facts in (
            ("PlanePositionSequence", {"ImagePositionPatient": positions and list(positions[number])}),
            ("PlaneOrientationSequence", {"ImageOrientationPatient": list((turns or [AXIAL] * 99)[number])}),
            ("PixelMeasuresSequence", {"PixelSpacing": list((spacings or [(0.7, 0.5)] * 99)[number])}),
            ("PixelValueTransformationSequence", rescale_facts(rescales and rescales[number])),
        ):
            part = pydicom.Dataset()
            for name, value in facts.items():
                if value is not None:
                    setattr(part, name, value)
            setattr(group, sequence, [part])
        groups.append(group)
    content.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
    content.PerFrameFunctionalGroupsSequence = groups
    content.save_as(path, enforce_file_format=True)
    return path


def rescale_facts(rescale):
    slope, intercept = rescale or (1, 0)
    return {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept), "RescaleType": "HU"}
