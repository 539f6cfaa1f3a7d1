"""Pictures show labels in the colours of the palette, over the slice with the most of them."""

import cv2
import numpy as np

from maskzoo.data import save_overlays
from maskzoo.data.inspection.pictures import MAX_SIDE, flat_view, tinted
from maskzoo.data.palette import class_color


def test_later_classes_lie_on_top():
    labels = np.zeros((4, 4, 2), np.uint8)
    labels[:2, :, 0] = 1
    labels[1:3, :, 1] = 1
    picture = tinted(labels)
    for row, color in ((0, class_color(0)), (1, class_color(1)), (2, class_color(1))):
        np.testing.assert_allclose(picture[row, 0], [*(value / 255 for value in color), 0.5], atol=1e-6)
    assert (picture[3] == 0).all()


def test_a_volume_is_shown_where_it_has_the_most_labels():
    image = np.broadcast_to(np.arange(5.0), (8, 9, 5))[..., None] + np.zeros((8, 9, 5, 1))
    label = np.zeros((8, 9, 5, 1), np.uint8)
    label[:3, :, 1] = 1
    label[:, :, 3] = 1
    _, maps = flat_view(image, {"label": label})
    assert maps["label"].sum() == 72
    _, maps = flat_view(image, {"label": np.zeros_like(label)})
    assert maps["label"].shape == (8, 9, 1)


def test_large_images_are_thinned_and_stretched():
    image = np.random.default_rng(0).normal(1000, 5, (2 * MAX_SIDE, 10, 1))
    view, _ = flat_view(image, {})
    assert view.shape == (MAX_SIDE, 5, 3)
    assert (view.min(), view.max()) == (0, 1)


def test_a_picture_of_many_samples(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(f"sample {n}", rng.random((20, 30, 3)), {"label": rng.integers(0, 2, (20, 30, 2))}) for n in range(3)]
    save_overlays(tmp_path / "overlays.png", rows, ["a", "b"], title="three samples")
    assert [path.name for path in tmp_path.iterdir()] == ["overlays.png"]
    picture = cv2.imread(str(tmp_path / "overlays.png"))
    # Two samples side by side in two lines.
    assert picture.shape[1] > picture.shape[0] > 200
