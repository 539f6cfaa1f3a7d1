"""What the first bytes of raster files say."""

import numpy as np
import pytest
from concurrency import whole
from PIL import Image

from maskzoo.data import open_source
from maskzoo.errors import ImageError, UnreadableFile

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["bmp", "webp", "jp2"])
def test_formats_of_colours(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"webp": {"lossless": True}, "jp2": {"irreversible": False}}.get(suffix, {})
    Image.fromarray(PICTURE).save(path, **options)
    np.testing.assert_array_equal(whole(open_source(path)), PICTURE)
    assert open_source(path, palette="index").notes == ()
    content = path.read_bytes()
    for keep in (len(content) - 1, len(content) // 2, 30):
        path.write_bytes(content[:keep])
        with pytest.raises(UnreadableFile, match=rf"a.{suffix}: expected"):
            whole(open_source(path))


@pytest.mark.parametrize("suffix", ["gif", "bmp", "png", "tif"])
@pytest.mark.parametrize("number", [2, 7, 200])
def test_palettes_are_colours_of_images_and_indices_of_labels(tmp_path, suffix, number):
    colors = np.random.default_rng(1).permutation(256 * 3).reshape(256, 3)[:number].astype(np.uint8)
    indices = np.random.default_rng(2).integers(0, number, (20, 30)).astype(np.uint8)
    indices[0, 0] = number - 1
    image = Image.fromarray(indices, mode="P")
    image.putpalette(colors.tobytes())
    image.save(tmp_path / f"a.{suffix}", **({"optimize": False} if suffix == "gif" else {}))
    image = open_source(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(whole(image), colors[indices])
    assert image.bits is None  # those of the indices say nothing of the colours
    label = open_source(tmp_path / f"a.{suffix}", palette="index")
    np.testing.assert_array_equal(label.palette_colors[whole(label)[..., 0]], colors[indices])


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {}), ("a.webp", {"quality": 50})])
def test_losses_are_said_of_labels(tmp_path, name, options):
    Image.fromarray(PICTURE).save(tmp_path / name, **options)
    assert open_source(tmp_path / name, palette="index").notes == ("compressed with losses, which change label values",)
    assert open_source(tmp_path / name).notes == ()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_an_animation_is_refused_and_one_picture_is_not(tmp_path, suffix):
    pictures = [Image.fromarray(np.full((8, 9), value, np.uint8)) for value in (10, 20, 30)]
    path = tmp_path / f"a.{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    with pytest.raises(ImageError, match=rf"a.{suffix}: expected one picture; received an animation of 3"):
        open_source(path)
    pictures[0].save(path)
    assert open_source(path).shape == (8, 9)
