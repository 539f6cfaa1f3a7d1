"""Frames of one DICOM file are put in order by their places, rescaled one by one, or refused as slices would be."""

import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import Window, open_source
from maskzoo.data.images.dicom_frames import read_frames
from maskzoo.errors import ImageError, UnreadableFile

CORONAL = (1, 0, 0, 0, 0, -1)


def frames_at(heights):
    """Frames of 8 x 9 pixels, each filled with its height and 10."""
    return np.stack([np.full((8, 9), height + 10, np.uint16) for height in heights])


def places(heights):
    return [(1, 2, height) for height in heights]


def test_frames_come_in_the_order_of_their_places(tmp_path, write_frames):
    heights = (0, 4, 8, 2, 6)
    source = open_source(write_frames(tmp_path / "scan.dcm", frames_at(heights), places(heights)))
    assert source.shape == (9, 8, 5)
    assert whole(source)[3, 3, :, 0].tolist() == [10, 12, 14, 16, 18]
    assert source.read(Window((1, 1, 1), (2, 2, 2)))[0, 0, :, 0].tolist() == [12, 14]
    # To the right and the front, as NIfTI counts: both rows and columns run the other way.
    np.testing.assert_allclose(
        source.frame.affine, [[-0.5, 0, 0, -1], [0, -0.7, 0, -2], [0, 0, 2, 0], [0, 0, 0, 1]], atol=1e-9
    )
    np.testing.assert_allclose(source.frame.spacing, (0.5, 0.7, 2))


def test_frames_in_reverse_order_lie_where_they_say(tmp_path, write_frames):
    heights = (6, 4, 2, 0)
    source = open_source(write_frames(tmp_path / "scan.dcm", frames_at(heights), places(heights)))
    assert whole(source)[0, 0, :, 0].tolist() == [10, 12, 14, 16]
    assert source.frame.affine[2, 3] == 0


def test_every_frame_is_rescaled_by_its_own_slope(tmp_path, write_frames):
    stored = np.stack([np.full((8, 9), value, np.uint16) for value in (100, 35, 45)])
    scan = write_frames(tmp_path / "scan.dcm", stored, places((2, 0, 4)), rescales=[(2, -5), (0.5, 0), (1, -1024)])
    source = open_source(scan)
    assert source.dtype == np.float32
    assert whole(source)[0, 0, :, 0].tolist() == [17.5, 195, -979]
    assert source.read(Window((0, 0, 1), (1, 1, 1))).item() == 195


def test_one_slope_for_all_frames_is_applied_once(tmp_path, write_frames):
    heights = (2, 0)
    source = open_source(
        write_frames(tmp_path / "scan.dcm", frames_at(heights), places(heights), rescales=[(1, -1024)] * 2)
    )
    assert whole(source)[0, 0, :, 0].tolist() == [-1014, -1012]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"positions": places((0, 2, 4, 10, 12))}, "expected frames at even distances; received 2 to 6 mm"),
        ({"positions": places((0, 2, 4, 2, 0))}, "expected one frame at each place; received 5 frames at 3 places"),
        (
            {"positions": places((0, 2, 4, 6, 8)), "turns": [(1, 0, 0, 0, 1, 0)] * 4 + [CORONAL]},
            "expected frames of one direction; received 2 directions",
        ),
        (
            {"positions": places((0, 2, 4, 6, 8)), "spacings": [(0.7, 0.5)] * 4 + [(0.7, 0.6)]},
            "expected frames of one pixel size; received 2 sizes",
        ),
    ],
)
def test_frames_that_are_no_volume_are_refused(tmp_path, write_frames, facts, message):
    scan = write_frames(tmp_path / "scan.dcm", frames_at((0,) * 5), **facts)
    with pytest.raises(ImageError, match=message):
        open_source(scan)


def test_a_frame_without_a_place_among_others_is_refused(tmp_path, write_frames):
    import pydicom

    scan = write_frames(tmp_path / "scan.dcm", frames_at((0, 2, 4)), places((0, 2, 4)))
    content = pydicom.dcmread(scan)
    del content.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    content.save_as(scan)
    with pytest.raises(ImageError, match="expected a place of every frame; received 1 of 3 without"):
        open_source(scan)


def test_frames_whose_facts_are_damaged_are_one_line(tmp_path, write_frames):
    import pydicom

    scan = write_frames(tmp_path / "scan.dcm", frames_at((0, 2)), places((0, 2)))
    content = pydicom.dcmread(scan)
    content.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [1, 2]
    content.save_as(scan)
    with pytest.raises(UnreadableFile, match="expected frames whose places can be read"):
        open_source(scan)


def test_doses_lie_at_the_offsets_of_their_grid(tmp_path, write_frames):
    import pydicom

    scan = write_frames(tmp_path / "dose.dcm", frames_at((0, 3, 6)), None)
    content = pydicom.dcmread(scan)
    del content.PerFrameFunctionalGroupsSequence
    content.ImagePositionPatient, content.ImageOrientationPatient = [1, 2, 20], [1, 0, 0, 0, 1, 0]
    content.PixelSpacing, content.GridFrameOffsetVector = [2, 2], [0, 3, 6]
    content.save_as(scan)
    frames = read_frames(scan)
    np.testing.assert_allclose(frames.affine, [[2, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 20], [0, 0, 0, 1]])


def test_slides_in_tiles_are_no_volume(tmp_path, write_frames):
    import pydicom

    scan = write_frames(tmp_path / "slide.dcm", frames_at((0, 2)), places((0, 2)))
    content = pydicom.dcmread(scan)
    content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    content.save_as(scan)
    with pytest.raises(ImageError, match="a slide in tiles"):
        open_source(scan)
