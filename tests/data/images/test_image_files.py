"""Files are known by their suffix, in capitals or not, and by their content."""

import os

import pytest

from maskzoo.data.images.image_files import (
    ends_of_file,
    file_stem,
    file_suffix,
    file_version,
    is_image,
    parts_of_file,
)


@pytest.mark.parametrize(
    ("name", "stem", "suffix", "image"),
    [
        ("a.tif", "a", ".tif", True),
        ("A.TIF", "A", ".tif", True),
        ("brain.nii.gz", "brain", ".nii.gz", True),
        ("Brain.NII.GZ", "Brain", ".nii.gz", True),
        ("patient.1.dcm", "patient.1", ".dcm", True),
        ("table.csv", "table", ".csv", False),
        ("noise.gz", "noise", ".gz", False),
        ("none", "none", "", False),
    ],
)
def test_names(name, stem, suffix, image):
    assert (file_stem(name), file_suffix(name), is_image(name)) == (stem, suffix, image)


@pytest.mark.parametrize("suffix", [".dcm", ".DCM"])
def test_a_folder_of_slices_is_an_image_without_suffix(tmp_path, suffix):
    folder = tmp_path / "patient.1"
    folder.mkdir()
    assert not is_image(folder)
    (folder / f"slice{suffix}").touch()
    assert (file_stem(folder), file_suffix(folder), is_image(folder)) == ("patient.1", "", True)


def test_another_time_or_size_is_another_version(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"1234")
    os.utime(path, ns=(1, 1_000_000_000))
    first = file_version(path)
    assert file_version(path) == first
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1_000_000_000))
    assert file_version(path) != first
    path.write_bytes(b"1234")
    os.utime(path, ns=(1, 2_000_000_000))
    assert file_version(path) != first


def test_the_ends_of_a_file_tell_it_from_others(tmp_path):
    path = tmp_path / "large"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    ends = ends_of_file(path)
    assert len(ends) == (1 << 20) + (1 << 16) + 8
    for place in (0, (1 << 20) - 1, len(content) - (1 << 16), len(content) - 1):
        changed = bytearray(content)
        changed[place] = 1
        path.write_bytes(changed)
        assert ends_of_file(path) != ends
    path.write_bytes(bytes((3 << 20) + 1))
    assert ends_of_file(path) != ends


def test_what_lies_beside_slices_is_no_part_of_them(tmp_path):
    (tmp_path / "b.dcm").write_bytes(b"second")
    (tmp_path / "a.dcm").write_bytes(b"first")
    version = file_version(tmp_path)
    (tmp_path / "result.nii").write_bytes(b"result")
    assert file_version(tmp_path) == version
    assert parts_of_file(tmp_path) == [tmp_path, tmp_path / "a.dcm", tmp_path / "b.dcm"]
    assert ends_of_file(tmp_path) == b"first" + (5).to_bytes(8, "big") + b"second" + (6).to_bytes(8, "big")


@pytest.mark.parametrize(
    "header",
    [
        "ElementDataFile = voxels.raw\n",
        "ElementDataFile=voxels.raw",
        "ElementDataFile = LIST\nvoxels.raw\n",
        "NRRD0004\ndata file: voxels.raw\r\n",
    ],
)
def test_what_a_header_names_is_a_part_of_it(tmp_path, header):
    name = "a.nhdr" if header.startswith("NRRD") else "a.mhd"
    for other in ("voxels.raw", "other.raw"):
        (tmp_path / other).touch()
    (tmp_path / name).write_text(header)
    assert parts_of_file(tmp_path / name) == [tmp_path / name, tmp_path / "voxels.raw"]


def test_names_with_spaces_and_in_folders_are_found(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in ("raw/a.raw", "my voxels.raw"):
        (tmp_path / name).touch()
    (tmp_path / "a.mhd").write_text("ElementDataFile = LIST\nraw/a.raw\nmy voxels.raw\n")
    assert parts_of_file(tmp_path / "a.mhd")[1:] == [tmp_path / "my voxels.raw", tmp_path / "raw/a.raw"]
    assert parts_of_file(tmp_path / "none.mhd") == [tmp_path / "none.mhd"]
