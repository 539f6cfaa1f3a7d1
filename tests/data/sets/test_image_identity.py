"""An image is known by its pixels and its place, whatever it is called and however it is stored."""

import json

import cv2
import nibabel
import numpy as np
import pytest
import tifffile

from maskzoo.data import DataSpec, ImageIdentity, KnownImages, identities_of, open_source
from maskzoo.data.sets import image_identity
from maskzoo.data.sets.image_opening import open_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)
COLOUR = RNG.integers(0, 256, (30, 40, 3), np.uint8)


def save(path, pixels):
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])
    return path


def identity(path, **options):
    return identities_of([open_source(path, spatial_dims=2, **options)])[0]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_copy_in_another_format_is_the_same_image(tmp_path, suffix, pixels):
    first = identity(save(tmp_path / "a.png", pixels))
    copy = identity(save(tmp_path / f"b{suffix}", pixels))
    assert copy.content == first.content
    assert copy.path != first.path
    assert copy in KnownImages([first])
    changed = pixels.copy()
    changed.flat[-1] ^= 1
    assert identity(save(tmp_path / f"c{suffix}", changed)) not in KnownImages([first])


def test_types_and_equal_bands_make_no_difference(tmp_path):
    first = identity(save(tmp_path / "a.png", GREY)).content
    for name, pixels in [
        ("wide.tif", GREY.astype(np.uint16)),
        ("rgb.png", np.repeat(GREY[..., None], 3, axis=-1)),
        ("float.npy", GREY.astype(np.float32)),
        ("signed.npy", GREY.astype(np.int64)),
    ]:
        assert identity(save(tmp_path / name, pixels)).content == first
    assert identity(save(tmp_path / "other.npy", GREY.reshape(40, 30))).content != first
    assert identity(save(tmp_path / "half.npy", GREY + 0.5)).content != first


def test_a_stretched_or_shifted_copy_is_the_same_image(tmp_path):
    first = identity(save(tmp_path / "a.png", GREY)).content
    for name, pixels in [
        ("stretched.tif", GREY.astype(np.uint16) * 257),
        ("shifted.npy", GREY.astype(np.int16) - 1024),
        ("float.npy", GREY.astype(np.float32) / 255),
        ("wide-float.npy", (GREY.astype(np.uint16) * 257).astype(np.float32) / 65535),
    ]:
        assert identity(save(tmp_path / name, pixels)).content == first, name
    for name, pixels in [
        ("changed.npy", np.where(np.arange(40) == 7, GREY.astype(np.uint16) * 257 + 1, GREY.astype(np.uint16) * 257)),
        ("squared.npy", GREY.astype(np.int32) ** 2),
        ("inverted.png", 255 - GREY),
    ]:
        assert identity(save(tmp_path / name, pixels)).content != first, name


def test_a_link_is_its_file_and_a_coarser_scale_is_its_image(tmp_path):
    path = save(tmp_path / "a.png", GREY)
    (tmp_path / "sub").mkdir()
    link = tmp_path / "sub" / "b.png"
    link.symlink_to("../a.png")
    assert identity(link) == identity(path) == ImageIdentity(str(path), identity(path).content)
    small = image_identity.at_full_resolution(open_source(path, spatial_dims=2))
    assert small.shape == GREY.shape


def test_what_lies_in_memory_has_no_path():
    (first,) = identities_of([open_source(GREY, spatial_dims=2)])
    assert first.path is None
    assert len(first.content) == 32


def test_blank_images_are_known_by_their_place_alone(tmp_path):
    one, other = (identity(save(tmp_path / f"{name}.png", np.zeros_like(GREY))) for name in "ab")
    assert one.content is None
    assert one in KnownImages([one])
    assert other not in KnownImages([one])


def test_pixels_decide_where_they_are_known():
    known = KnownImages([ImageIdentity("/a", "1"), ImageIdentity("/b")])
    assert ImageIdentity("/c", "1") in known
    assert ImageIdentity("/a", "2") not in known  # another image lies there now
    assert ImageIdentity("/a") in known
    assert ImageIdentity("/b", "3") in known
    assert ImageIdentity(None, None) not in known
    assert known.any_of([ImageIdentity("/x", "9"), ImageIdentity(None, "1")])
    assert not known.any_of([])


def test_large_images_are_known_by_windows_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(image_identity, "HASHED_PIXELS", 1 << 16)
    pixels = np.random.default_rng(1).integers(0, 256, (1500, 1500), np.uint8)
    first = identity(save(tmp_path / "a.npy", pixels))
    assert identity(save(tmp_path / "b.tif", pixels)).content == first.content
    assert identity(save(tmp_path / "c.npy", pixels[::-1])).content != first.content


VOXELS = np.random.default_rng(2).integers(0, 999, (6, 5, 4)).astype(np.int16)


def volume(path, voxels, *spacing):
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return identities_of([open_source(path)])[0]


def test_voxels_of_another_size_are_another_volume(tmp_path):
    fine, coarse = (volume(tmp_path / f"{z}.nii.gz", VOXELS, 0.5, 0.5, z) for z in (3, 5))
    assert fine.content == coarse.content
    assert fine.spacing == (0.5, 0.5, 3)
    assert coarse not in KnownImages([fine])
    assert fine in KnownImages([coarse, fine])
    assert volume(tmp_path / "rounded.nii", VOXELS, 0.5001, 0.5, 3) in KnownImages([fine])


def test_a_copy_that_lost_the_size_of_its_voxels_is_the_same_volume(tmp_path):
    fine = volume(tmp_path / "a.nii.gz", VOXELS, 0.5, 0.5, 3)
    lost = volume(tmp_path / "b.nii.gz", VOXELS, 1, 1, 1)
    np.save(tmp_path / "c.npy", VOXELS)
    (array,) = identities_of([open_source(tmp_path / "c.npy", spatial_dims=3)])
    for copy in (lost, array):
        assert copy.spacing is None
        assert copy in KnownImages([fine])
        assert fine in KnownImages([copy])


def test_what_a_printer_is_told_says_nothing_of_an_image(tmp_path):
    for name, dots in (("a", 72), ("b", 300)):
        tifffile.imwrite(tmp_path / f"{name}.tif", GREY, resolution=(dots, dots), resolutionunit=2)
    assert open_source(tmp_path / "a.tif").frame.spacing is not None
    assert identity(tmp_path / "a.tif") in KnownImages([identity(tmp_path / "b.tif")])


def test_an_image_is_known_by_all_of_its_channels(tmp_path):
    channels = {"first": "_0000", "second": "_0001"}
    spec = DataSpec(channels=channels, spacing=2, orientation="LPS")
    for case, change in (("a", 0), ("b", 1), ("c", 0)):
        volume(tmp_path / f"{case}_0000.nii.gz", VOXELS, 1, 1, 3)
        volume(tmp_path / f"{case}_0001.nii.gz", VOXELS[::-1] + change, 1, 1, 3)
    a, b, c = identities_of([open_image(tmp_path / f"{case}_0000.nii.gz", spec, 3) for case in "abc"])
    assert b not in KnownImages([a])
    assert c in KnownImages([a])
    assert a.path == str(tmp_path / "a_0000.nii.gz")
    np.save(tmp_path / "together.npy", np.stack([VOXELS, VOXELS[::-1]], axis=-1))
    assert identities_of([open_source(tmp_path / "together.npy", spatial_dims=3)])[0] in KnownImages([a])


def test_identities_are_stored_as_json():
    for image in (ImageIdentity("/a", "12"), ImageIdentity("/a", "12", (0.5, 0.5, 3.0))):
        assert ImageIdentity.from_mapping(json.loads(json.dumps(image.as_mapping()))) == image
    assert ImageIdentity.from_mapping({"path": "/a", "content": "12"}) == ImageIdentity("/a", "12")
