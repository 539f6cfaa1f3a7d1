"""Files of one object each are numbered, and make up one mask."""

import cv2
import numpy as np
import pytest

from maskzoo.data import DataSpec, Window, load_data
from maskzoo.data.labels.object_files import ObjectFilesSource
from maskzoo.data.sets.spec_file import files_of
from maskzoo.errors import LabelError, MissingFile

WHOLE = Window((0, 0), (20, 30))


def block(top, left):
    mask = np.zeros((20, 30), np.uint8)
    mask[top : top + 4, left : left + 5] = 255
    return mask


@pytest.fixture
def folder(tmp_path):
    """Three images: with two objects that overlap, with one, with none."""
    (tmp_path / "images").mkdir()
    objects = {"a": [block(2, 3), block(4, 6)], "b": [np.dstack([block(9, 9)] * 3)], "c": []}
    for name, masks in objects.items():
        image = np.random.default_rng(ord(name)).integers(0, 255, (20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
        (tmp_path / "masks" / name).mkdir(parents=True)
        for number, mask in enumerate(masks):
            cv2.imwrite(str(tmp_path / "masks" / name / f"{number}.png"), mask)
    return tmp_path


def test_objects_are_numbered_in_the_order_of_their_files(folder):
    files = sorted((folder / "masks" / "a").iterdir())
    numbers = ObjectFilesSource(folder / "masks" / "a", files, (20, 30)).read(WHOLE)[..., 0]
    assert numbers.dtype == np.uint16
    np.testing.assert_array_equal(numbers, np.where(block(4, 6) > 0, 2, block(2, 3) > 0))
    assert not ObjectFilesSource(folder / "masks" / "c", [], (20, 30)).read(WHOLE).any()


def test_a_folder_per_image_is_a_label_that_tells_objects_apart(folder, caplog):
    data = load_data(DataSpec(path=str(folder)), spatial_dims=2)
    assert (data.task, data.spec.instances) == ("binary", True)
    cases = {case.name: case for case in data.train + data.validation}
    assert [int(cases[name].read_label(WHOLE).sum()) for name in "abc"] == [36, 20, 0]
    assert cases["a"].read_instances(WHOLE).max() == 2
    assert "hold a file for each object" in caplog.text
    assert "left out" not in caplog.text
    assert folder / "masks" / "a" / "1.png" in files_of(folder)  # which nothing may be written over


def test_masks_of_another_size_and_images_without_a_folder_are_refused(folder):
    cv2.imwrite(str(folder / "masks" / "b" / "9.png"), np.zeros((20, 31), np.uint8))
    with pytest.raises(
        LabelError, match=r"b/9.png: expected a mask of the size of its image, 20 x 30; received 20 x 31"
    ):
        load_data(DataSpec(path=str(folder)), spatial_dims=2)
    (folder / "masks" / "c").rmdir()
    with pytest.raises(MissingFile, match=r"c.png: expected a counterpart of the same name"):
        load_data(DataSpec(path=str(folder)), spatial_dims=2)
