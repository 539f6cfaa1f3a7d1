"""Training needs labels that show every class."""

import cv2
import numpy as np
import pytest

from maskzoo.data import load_data, read_spec, require_every_class
from maskzoo.data.sets.occurrence import shown_classes
from maskzoo.errors import DataError


def checked(folder, **changes):
    data = load_data(read_spec(folder, changes), spatial_dims=2)
    require_every_class(data)
    return data


def test_a_class_that_never_occurs_is_refused_by_name(tmp_path, save_blocks):
    save_blocks(tmp_path, 4)
    checked(tmp_path)
    with pytest.raises(DataError, match=r"expected labels that show every class; received none with tumour$"):
        checked(tmp_path, classes=["background", "kidney", "tumour"])
    checked(tmp_path, classes={"kidney": 1})
    # A background that no pixel shows is no class that is missing.
    for number in range(4):
        cv2.imwrite(str(tmp_path / "masks" / f"im{number}.png"), np.repeat([[1], [2]], 20, axis=0) * np.ones((1, 30)))
    checked(tmp_path, classes=["background", "kidney", "tumour"])


def test_labels_that_show_nothing_are_refused(tmp_path, save_blocks):
    save_blocks(tmp_path, 4)
    rows = "".join(f"im{number},\n" for number in range(4))
    (tmp_path / "train.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    with pytest.raises(DataError, match="expected labels that show something in their images; received none that do"):
        checked(tmp_path, labels="train.csv")


def test_what_only_held_out_images_show_is_said(tmp_path, save_blocks, caplog):
    save_blocks(tmp_path, 4)
    held_out = load_data(str(tmp_path), spatial_dims=2).validation[0].name
    for number in range(4):
        value = 2 if f"im{number}" == held_out else 1
        cv2.imwrite(str(tmp_path / "masks" / f"im{number}.png"), np.full((40, 30), value, np.uint8))
    data = checked(tmp_path, classes=["background", "kidney", "tumour"])
    assert "no image to train on shows tumour" in caplog.text
    assert shown_classes(data.train, {1, 2}) == {1}


def test_masks_without_any_background_are_said(tmp_path, save_blocks, caplog):
    save_blocks(tmp_path, 4)
    checked(tmp_path)
    assert not caplog.text
    for number in range(4):
        cv2.imwrite(str(tmp_path / "masks" / f"im{number}.png"), np.full((40, 30), 255, np.uint8))
    checked(tmp_path)
    assert "no image to train on shows anything but foreground" in caplog.text


@pytest.mark.parametrize("held_out", [True, False])
def test_images_none_of_whose_pixels_count_are_refused(tmp_path, save_blocks, held_out):
    """A validation on ignored pixels alone has a Dice of 1, whatever is predicted."""
    save_blocks(tmp_path, 4)
    names = {case.name for case in load_data(str(tmp_path), spatial_dims=2).validation}
    for number in range(4):
        path = tmp_path / "masks" / f"im{number}.png"
        if (f"im{number}" in names) == held_out:
            cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), 0), 255))
    side = "hold out" if held_out else "train on"
    with pytest.raises(DataError, match=f"labels that say something of an image to {side}; received ignored pixels"):
        checked(tmp_path, ignore=[255])


def test_a_class_that_no_held_out_image_shows_is_said(tmp_path, save_blocks, caplog):
    save_blocks(tmp_path, 4)
    (held_out,) = [case.name for case in load_data(str(tmp_path), spatial_dims=2).validation]
    path = tmp_path / "masks" / f"{held_out}.png"
    shape = cv2.imread(str(path), 0).shape
    for number in range(4):
        values = np.zeros(shape, np.uint8)
        values[:2] = 0 if f"im{number}" == held_out else 1
        cv2.imwrite(str(tmp_path / "masks" / f"im{number}.png"), values)
    checked(tmp_path, classes={"kidney": 1})
    assert "no held-out image shows kidney: nothing is measured, and the last epoch is kept" in caplog.text


def test_the_best_epoch_is_chosen_without_a_class_that_no_held_out_image_shows(tmp_path, save_blocks, caplog):
    save_blocks(tmp_path, 4)
    (held_out,) = [case.name for case in load_data(str(tmp_path), spatial_dims=2).validation]
    for path in (tmp_path / "masks").iterdir():
        values = np.zeros(cv2.imread(str(path), 0).shape, np.uint8)
        values[:2], values[2:4] = 1, 0 if path.stem == held_out else 2
        cv2.imwrite(str(path), values)
    checked(tmp_path, classes={"kidney": 1, "tumour": 2})
    assert "no held-out image shows tumour: the best epoch is chosen without" in caplog.text
