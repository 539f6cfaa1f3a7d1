"""DICOM, MHD, MHA and NRRD have the voxels and the place in space of the NIfTI file that SimpleITK makes of them."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from concurrency import whole

from maskzoo.data import Window, WriterOptions, is_image, load_data, open_source, open_writer
from maskzoo.data.sets.folders import files_by_stem
from maskzoo.data.sets.spec_file import read_spec, spatial_dims_of
from maskzoo.errors import ImageError, UnreadableFile


def scan(dtype=np.int16, components=1):
    """Makes an oblique volume of 13 x 11 x 6 voxels of different sizes."""
    shape = (6, 11, 13) if components == 1 else (6, 11, 13, components)
    voxels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    image = sitk.GetImageFromArray(voxels, isVector=components > 1)
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, 0.1, 0.3)
    image.SetDirection(turn.GetMatrix())
    return image


def nifti(image, folder):
    sitk.WriteImage(image, str(folder / "reference.nii"))
    return nibabel.load(folder / "reference.nii")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(("suffix", "packed"), [("mhd", False), ("mhd", True), ("mha", False), ("nrrd", True)])
def test_voxels_and_place_are_those_of_nifti(tmp_path, suffix, packed, dtype):
    image = scan(dtype)
    sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"), packed)
    reference = nifti(image, tmp_path)
    source = open_source(tmp_path / f"scan.{suffix}")
    assert (source.shape, source.channels, source.dtype) == ((13, 11, 6), 1, np.dtype(dtype))
    np.testing.assert_array_equal(whole(source)[..., 0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(source.frame.affine, reference.affine, atol=1e-5)
    np.testing.assert_allclose(source.frame.spacing, (0.5, 0.7, 2), rtol=1e-6)
    window = Window((3, -4, 1), (8, 12, 9))
    reflected = np.pad(np.asarray(reference.dataobj), [(0, 0), (4, 0), (0, 4)], mode="reflect")
    np.testing.assert_array_equal(source.read(window)[..., 0], reflected[3:11, :12, 1:10])


def meta_image(lines):
    header = f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{lines}DimSize = 2 3 4\nElementType = MET_UCHAR\n"
    return f"{header}ElementDataFile = LOCAL\n".encode()


def nrrd(lines):
    return f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\n{lines}encoding: raw\n\n".encode()


@pytest.mark.parametrize(
    ("name", "header", "has_place"),
    [
        ("a.mha", meta_image(""), False),
        ("a.mha", meta_image("ElementSpacing = 0.5 0.5 2\n"), False),
        ("a.mha", meta_image("Offset = 0 0 0\n"), True),
        ("a.mha", meta_image("TransformMatrix = 1 0 0 0 1 0 0 0 1\n"), True),
        ("a.nrrd", nrrd(""), False),
        ("a.nrrd", nrrd("spacings: 0.5 0.5 2\n"), False),
        ("a.nrrd", nrrd("space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"), True),
    ],
)
def test_a_header_that_says_no_place_has_none(tmp_path, name, header, has_place):
    # The voxels look like a header, which they are not.
    (tmp_path / name).write_bytes(header + b"\nOffset = 0\nspace: LPS".ljust(24))
    frame = open_source(tmp_path / name).frame
    assert (frame.has_place, frame.orientation) == (has_place, "LPS" if has_place else None)


def test_one_slice_is_as_thick_as_it_says(tmp_path, write_series):
    image = scan()[:, :, :1]
    folder = write_series(tmp_path / "patient", image)
    (file,) = folder.iterdir()
    content = pydicom.dcmread(file)
    for element, expected in (("SliceThickness", 4.0), ("SpacingBetweenSlices", 5.0)):
        setattr(content, element, expected)
        content.save_as(file)
        source = open_source(folder, spatial_dims=3)
        np.testing.assert_allclose(source.frame.spacing, (0.5, 0.7, expected), rtol=1e-5)


@pytest.mark.parametrize(("modality", "is_left_out"), [("RTSTRUCT", True), ("SR", True), ("CT", False)])
def test_what_describes_a_series_is_no_slice_of_it(tmp_path, write_series, modality, is_left_out):
    folder = write_series(tmp_path / "patient", scan())
    content = pydicom.dcmread(min(folder.iterdir()))
    for element in ("PixelData", "Rows", "Columns"):
        delattr(content, element)
    content.Modality, content.SeriesInstanceUID = modality, "1.2.3"
    content.save_as(folder / "outlines.dcm")
    if is_left_out:
        assert open_source(folder).shape == (13, 11, 6)
    else:
        with pytest.raises(UnreadableFile, match=r"outlines\.dcm: expected a readable DICOM file; received one"):
            open_source(folder)


def test_series_in_one_folder_are_named(tmp_path, write_series):
    folder = write_series(tmp_path / "patient", scan())
    for file in write_series(tmp_path / "other", scan()[:, :, :3]).iterdir():
        content = pydicom.dcmread(file)
        content.SeriesInstanceUID = "1.2.3"
        content.save_as(folder / f"other-{file.name}")
    with pytest.raises(
        ImageError, match=r"2 series: .*6 files like .*3 files like other-|3 files like other-.*6 files"
    ):
        open_source(folder)


def test_a_large_raw_scan_is_read_in_part(tmp_path):
    sitk.WriteImage(scan(), str(tmp_path / "scan.mhd"), False)
    source = open_source(tmp_path / "scan.mhd")
    regions = []
    read = source._region
    source._region = lambda box: regions.append(box) or read(box)
    source.read(Window((2, 3, 4), (5, 4, 1)))
    assert regions == [Window((2, 3, 4), (5, 4, 1))]


def test_a_prediction_overlays_the_scan(tmp_path, write_series):
    image = scan()
    source = open_source(write_series(tmp_path / "patient", image))
    with open_writer(tmp_path / "mask.nii.gz", source.shape, WriterOptions(like=source)) as writer:
        writer.write(Window((0, 0, 0), source.shape), np.ones((*source.shape, 1), np.uint8))
    mask = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    for corner in ((0, 0, 0), (12, 10, 5)):
        np.testing.assert_allclose(
            mask.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner), atol=1e-4
        )


def test_a_dicom_series_is_one_volume_in_order(tmp_path, write_series):
    image = scan()
    folder = write_series(tmp_path / "patient", image, slope=1, intercept=-1024)
    source = open_source(folder)
    reference = nifti(image, tmp_path)
    assert (source.shape, source.channels) == ((13, 11, 6), 1)
    np.testing.assert_array_equal(whole(source)[..., 0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(source.frame.affine, reference.affine, atol=1e-4)
    np.testing.assert_array_equal(source.read(Window((2, 3, 1), (5, 4, 3))), whole(source)[2:7, 3:7, 1:4])


def test_a_series_that_does_not_fit_is_read_slice_by_slice(tmp_path, monkeypatch, write_series):
    source = open_source(write_series(tmp_path / "patient", scan()))
    expected = whole(source)
    monkeypatch.setattr("maskzoo.data.images.reader_cache.VOLUME_BYTES_PER_PROCESS", 0)
    for window in (Window((2, 3, 1), (5, 4, 3)), Window((0, 0, 5), (13, 11, 1))):
        np.testing.assert_array_equal(source.read(window), expected[window.slices])


def test_a_broken_slope_gives_floating_point_numbers(tmp_path, write_series):
    image = scan()
    folder = write_series(tmp_path / "patient", image)
    for path in folder.iterdir():
        content = path.read_bytes()
        one = b"\x28\x00\x53\x10\x02\x00\x00\x001 "
        assert one in content
        path.write_bytes(content.replace(one, one[:-2] + b".5"))
    source = open_source(folder)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(whole(source)[..., 0].transpose(2, 1, 0), sitk.GetArrayFromImage(image) / 2)


def test_one_slice_is_an_image_with_rows_first(tmp_path, write_series):
    image = scan()
    folder = write_series(tmp_path / "patient", image)
    source = open_source(folder / "1-0.dcm", spatial_dims=2)
    assert (source.shape, source.frame.affine) == ((11, 13), None)
    np.testing.assert_array_equal(whole(source)[..., 0], sitk.GetArrayFromImage(image)[0])
    np.testing.assert_array_equal(
        source.read(Window((4, 5), (6, 7)))[..., 0], sitk.GetArrayFromImage(image)[0, 4:10, 5:12]
    )
    np.testing.assert_allclose(source.frame.spacing, (0.7, 0.5))


def test_several_frames_in_one_file_are_a_volume(tmp_path):
    image = scan(np.uint8)
    sitk.WriteImage(image, str(tmp_path / "frames.dcm"))
    source = open_source(tmp_path / "frames.dcm")
    assert source.shape == (13, 11, 6)
    np.testing.assert_array_equal(whole(source)[..., 0], sitk.GetArrayFromImage(image).transpose(2, 1, 0))


def test_colours_are_channels(tmp_path):
    image = scan(np.uint8, components=3)
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    source = open_source(tmp_path / "scan.mha")
    assert (source.shape, source.channels) == ((13, 11, 6), 3)
    np.testing.assert_array_equal(whole(source), sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3))


def test_incomplete_and_mixed_series_are_refused(tmp_path, write_series):
    folder = write_series(tmp_path / "patient", scan())
    with pytest.raises(ValueError, match=r"patient: expected an image with 2 spatial axes; received a volume"):
        open_source(folder, spatial_dims=2)
    missing = shutil.copytree(folder, tmp_path / "missing")
    (missing / "1-4.dcm").unlink()
    with pytest.raises(ValueError, match=r"missing: expected slices at even distances; received 2 to 4 mm"):
        open_source(missing)
    write_series(folder, scan(), uid="1.2.826.0.1.3680043.2.1125.2")
    with pytest.raises(ValueError, match=r"patient: expected the slices of one DICOM series; received 2 series"):
        open_source(folder)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.dcm").write_text("no DICOM\n" * 99)
    with pytest.raises(OSError, match=r"text.a.dcm: expected a readable DICOM file; received"):
        open_source(tmp_path / "text")
    sitk.WriteImage(scan(), str(tmp_path / "scan.mhd"))
    (tmp_path / "scan.raw").unlink()
    with pytest.raises(OSError, match=r"scan.mhd: expected a readable scan"):
        whole(open_source(tmp_path / "scan.mhd"))


def test_folders_of_slices_are_cases(tmp_path, write_series):
    for number, name in enumerate(("patient.1", "patient.2", "patient.3")):
        write_series(tmp_path / "images" / name, scan() + number, uid=f"1.2.826.0.1.3680043.2.1125.{number + 1}")
        voxels = (np.arange(13 * 11 * 6).reshape(13, 11, 6) % 2).astype(np.uint8)
        label = nibabel.Nifti1Image(voxels, open_source(tmp_path / "images" / name).frame.affine)
        (tmp_path / "labels").mkdir(exist_ok=True)
        nibabel.save(label, tmp_path / "labels" / f"{name}.nii.gz")
    assert list(files_by_stem(tmp_path / "images")) == ["patient.1", "patient.2", "patient.3"]
    assert spatial_dims_of(read_spec(tmp_path)) == 3
    loaded = load_data(tmp_path, spatial_dims=3)
    assert sorted(case.name for case in loaded.train + loaded.validation) == ["patient.1", "patient.2", "patient.3"]
    assert loaded.fingerprint == load_data(tmp_path, spatial_dims=3).fingerprint


@pytest.mark.parametrize("order", [(0, -1024, -1024), (-1024, 0, -1024)])
def test_slices_are_rescaled_one_by_one_whatever_is_read_together(tmp_path, write_slice, order):
    stored = (25, 35, 45)
    for number, (value, intercept) in enumerate(zip(stored, order, strict=True)):
        write_slice(
            tmp_path / f"{number}.dcm", np.full((8, 9), value, np.uint16), (0, 0, 2 * number), intercept=intercept
        )
    source = open_source(tmp_path)
    expected = [value + intercept for value, intercept in zip(stored, order, strict=True)]
    assert whole(source)[4, 4, :, 0].tolist() == expected
    for first in range(3):
        for last in range(first + 1, 4):
            read = source.read(Window((0, 0, first), (1, 1, last - first)))
            assert read[0, 0, :, 0].tolist() == expected[first:last]


def test_slices_with_fractions_for_slopes_become_floats(tmp_path, write_slice):
    for number, slope in enumerate((1, 0.5)):
        write_slice(tmp_path / f"{number}.dcm", np.full((8, 9), 7, np.uint16), (0, 0, 2 * number), slope=slope)
    assert whole(open_source(tmp_path))[0, 0, :, 0].tolist() == [7, 3.5]


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"turn": (1, 0, 0, 0, 0, -1)}, "expected slices of one direction; received 1 of 5 turned against the first"),
        ({"spacing": (0.7, 0.6)}, "expected slices of one pixel size, 0.7 x 0.5 mm; received 0.7 x 0.6 mm in 1 of"),
    ],
)
def test_slices_that_lie_on_several_grids_are_refused(tmp_path, write_slice, odd, message):
    for number in range(5):
        write_slice(
            tmp_path / f"{number}.dcm", np.zeros((8, 8), np.uint16), (0, 0, 2 * number), **(odd if number == 2 else {})
        )
    with pytest.raises(ImageError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["s{}", "{}.IMA", "{}.ima", "1.2.840.113619.2.{}", "IM-0001-000{}"])
def test_slices_need_no_suffix(tmp_path, write_slice, name):
    for number in range(3):
        path = tmp_path / "images" / "case" / name.format(number)
        write_slice(path, np.full((8, 9), 10 * number, np.uint16), (0, 0, 2 * number))
    (tmp_path / "images" / "case" / "README").write_text("not a slice")
    folder = tmp_path / "images" / "case"
    assert is_image(folder)
    assert whole(open_source(folder))[0, 0, :, 0].tolist() == [0, 10, 20]
    assert list(files_by_stem(tmp_path / "images")) == ["case"]
    # One of them alone is an image.
    assert open_source(folder / name.format(1)).shape == (8, 9)
    assert sorted(files_by_stem(folder)) == sorted(
        Path(name.format(number)).stem if name.lower().endswith("ima") else name.format(number) for number in range(3)
    )


def test_a_folder_of_other_files_is_no_series(tmp_path):
    (tmp_path / "notes").write_text("not DICOM, and longer than its start" * 10)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert not is_image(tmp_path)
