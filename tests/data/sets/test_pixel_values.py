"""Sets whose images are of one type, but not of one kind of values, are not taken without a word."""

import numpy as np
import pytest

from maskzoo.data import DataSpec, inspect_data, load_data
from maskzoo.errors import ImageError


@pytest.fixture
def save_arrays(tmp_path):
    """Function that writes arrays as images, all with the same mask, and returns their folder."""

    def saved(images):
        mask = np.zeros((20, 30), np.uint8)
        mask[4:9, 6:16] = 1
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            np.save(tmp_path / "images" / f"{number}.npy", image)
            np.save(tmp_path / "masks" / f"{number}.npy", mask)
        return str(tmp_path)

    return saved


def pictures(number, high=250):
    return [np.random.default_rng(n).random((20, 30)) * high for n in range(number)]


@pytest.mark.parametrize(
    ("dtype", "change", "words"),
    [
        (np.float32, lambda image: image / 255, "values of another scale"),
        (np.uint16, lambda image: image * 257, "values of another scale"),
        (np.int16, lambda image: image + 1024, "values that may be shifted"),
        (np.float32, lambda image: np.where(image < 30, -9999, image), "-9999, which marks missing pixels"),
    ],
)
def test_the_image_that_differs_is_named(save_arrays, caplog, dtype, change, words):
    images = [image - 200 if dtype == np.int16 else image for image in pictures(7)]
    path = save_arrays([image.astype(dtype) for image in [*images[:6], change(images[6])]])
    load_data(DataSpec(path=path), spatial_dims=2)
    said = [line for line in caplog.messages if words in line]
    assert len(said) == 1
    assert "6.npy: " in said[0]
    suspicious = inspect_data(DataSpec(path=path)).report["suspicious"]
    assert any(words in line and "6.npy" in line for lines in suspicious.values() for line in lines)


def test_images_that_are_normalised_one_by_one_may_have_any_scale(save_arrays, caplog):
    images = pictures(7)
    path = save_arrays([image.astype(np.uint16) for image in [*images[:6], images[6] * 257]])
    load_data(DataSpec(path=path, normalization="image"), spatial_dims=2)
    assert "another scale" not in caplog.text


def test_the_last_number_before_infinity_is_refused(save_arrays):
    least = np.finfo(np.float32).min
    path = save_arrays([np.where(image < 30, least, image).astype(np.float32) for image in pictures(3)])
    with pytest.raises(ImageError, match=r"such as -3.40282e\+38, which the file does not declare as nodata"):
        load_data(DataSpec(path=path), spatial_dims=2)


def test_what_holds_for_many_images_is_said_once(save_arrays, caplog):
    path = save_arrays([np.where(image < 30, -9999, image).astype(np.float32) for image in pictures(5)])
    load_data(DataSpec(path=path), spatial_dims=2)
    (line,) = caplog.messages
    assert "0.npy and 4 more: -9999, which marks missing pixels" in line
