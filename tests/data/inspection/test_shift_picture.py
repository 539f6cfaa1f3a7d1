"""A picture of two sets of images, also of few windows that are all alike."""

import cv2
import numpy as np
import pytest

from maskzoo.data import compare_images, open_source, save_shift


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The interval of these small sets settles with fewer resamples than it takes by default."""
    monkeypatch.setattr("maskzoo.data.inspection.shift.RESAMPLES", 100)


def sources(number, dtype=np.uint8):
    rng = np.random.default_rng(number)
    return [open_source(rng.integers(0, 256, (40, 50, 3), np.uint8).astype(dtype)) for _ in range(number)]


def test_a_picture_of_few_windows(tmp_path):
    shift = compare_images(sources(2), sources(3))
    save_shift(tmp_path / "shift.png", shift, ["one", "other"])
    assert [path.name for path in tmp_path.iterdir()] == ["shift.png"]
    assert cv2.imread(str(tmp_path / "shift.png")).shape[0] > 400


def test_a_picture_of_images_that_are_all_alike(tmp_path):
    same = [open_source(np.full((40, 50, 3), 7, np.uint8)) for _ in range(2)]
    save_shift(tmp_path / "shift.png", compare_images(same, same), ["one", "other"])
    assert (tmp_path / "shift.png").exists()
