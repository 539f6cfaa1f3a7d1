"""What an unfinished prediction is known by: every file of its image."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from maskzoo.data import open_source
from maskzoo.data.images.channel_source import ChannelSource
from maskzoo.inference.identity import image_states


def replaced(path):
    """Writes a file again, with the same size but later."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))


def channels(folder):
    for name in ("red", "nir"):
        np.save(folder / f"{name}.npy", np.zeros((4, 5), np.uint8))
    sources = [open_source(folder / f"{name}.npy") for name in ("red", "nir")]
    return ChannelSource(sources, "case"), [folder / "red.npy", folder / "nir.npy"]


def header_and_voxels(folder):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(folder / "a.mhd"))
    return open_source(folder / "a.mhd"), [folder / "a.mhd", folder / "a.raw"]


def slices(folder):
    (folder / "series").mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        plane = sitk.GetImageFromArray(np.zeros((1, 4, 5), np.int16))
        for tag, value in {
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3",
            "0020|0032": f"0\\0\\{number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / "series" / f"{number}.dcm"))
        writer.Execute(plane)
    return open_source(folder / "series"), [folder / "series" / "1.dcm"]


@pytest.mark.parametrize("make", [channels, header_and_voxels, slices])
def test_any_replaced_file_makes_another_image(tmp_path, make):
    source, files = make(tmp_path)
    before = image_states(source)
    assert before == image_states(source)
    for file in files:
        replaced(file)
        assert image_states(source) != before
        before = image_states(source)


def test_an_image_in_memory_is_known_by_no_file():
    assert image_states(open_source(np.zeros((4, 4), np.uint8))) == []
