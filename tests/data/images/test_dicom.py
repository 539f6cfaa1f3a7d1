"""DICOM files that declare more than they hold are refused before GDCM allocates it."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from concurrency import whole
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from maskzoo.data import open_source
from maskzoo.data.images.dicom import require_whole_elements, slice_step
from maskzoo.errors import ImageError, UnreadableFile

VOXELS = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)


@pytest.fixture
def content(tmp_path):
    """A DICOM of three frames with a sequence in a sequence."""
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / "made.dcm"))
    content = pydicom.dcmread(tmp_path / "made.dcm")
    inner, outer = Dataset(), Dataset()
    inner.PatientID = "inner identity"
    outer.ReferencedImageSequence = [inner]
    content.ReferencedStudySequence = [outer, outer]
    return content


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_whole_files_of_every_encoding_pass(tmp_path, content, syntax):
    content.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "scan.dcm"
    content.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    require_whole_elements(path)
    np.testing.assert_array_equal(whole(open_source(path))[..., 0], VOXELS.transpose(2, 1, 0))


def test_whole_compressed_pixels_and_sequences_without_length_pass(tmp_path, content):
    content["ReferencedStudySequence"].is_undefined_length = True
    content.compress(RLELossless)
    path = tmp_path / "scan.dcm"
    content.save_as(path)
    require_whole_elements(path)
    np.testing.assert_array_equal(whole(open_source(path))[..., 0], VOXELS.transpose(2, 1, 0))
    encoded = path.read_bytes()
    item = encoded.rindex(b"\xfe\xff\x00\xe0")
    path.write_bytes(encoded[: item + 4] + b"\xf0\xff\xff\x7f" + encoded[item + 8 :])
    with pytest.raises(UnreadableFile, match="past its end"):
        require_whole_elements(path)


def declared(encoded, tag, length):
    """Another length of an element of a kind with two bytes for it."""
    place = encoded.index(tag) + 6
    return encoded[:place] + length.to_bytes(2, "little") + encoded[place + 2 :]


def test_elements_that_are_longer_than_the_file_are_refused(tmp_path, content):
    path = tmp_path / "scan.dcm"
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.save_as(path, implicit_vr=False, little_endian=True)
    encoded = path.read_bytes()
    pixels = encoded.index(b"\xe0\x7f\x10\x00O")
    faults = {
        "pixels": encoded[: pixels + 8] + b"\xff\xff\xff\x7f" + encoded[pixels + 12 :],
        "nested": declared(encoded, b"\x10\x00\x20\x00LO\x0e\x00inner", 0xFFF0),
        "cut off": encoded[:-100],
        "without pixels": encoded[:pixels],
        "header only": encoded[:200],
        "no mark": encoded.replace(b"DICM", b"DICN", 1),
        "unknown kind": encoded.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00QQ", 1),
    }
    for name, fault in faults.items():
        path.write_bytes(fault)
        with pytest.raises(UnreadableFile, match=r"scan.dcm: expected a readable DICOM file; received ") as caught:
            require_whole_elements(path)
        assert "\n" not in str(caught.value), name


def test_slices_are_at_even_distances(tmp_path):
    origins = np.array([[0, 0, 0], [0, 0.3, 2], [0, 0.6, 4]])
    np.testing.assert_allclose(slice_step(tmp_path, origins), (0, 0.3, 2))
    with pytest.raises(ImageError, match="expected slices at even distances; received 2 to 4 mm"):
        slice_step(tmp_path, np.array([[0, 0, 0], [0, 0, 2], [0, 0, 6]]))
    with pytest.raises(ImageError, match="expected one slice at each place; received 3 slices at 2 places"):
        slice_step(tmp_path, np.array([[0, 0, 0], [0, 0, 0], [0, 0, 2]]))
