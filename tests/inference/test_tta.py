"""Every view of test-time augmentation is turned back exactly; scales resize as a linear interpolation should."""

import numpy as np
import pytest

from maskzoo.inference import tta


def identity(images):
    return images


def same_size(size):
    return size


@pytest.mark.parametrize("shape", [(5, 8), (7, 7), (1, 6), (4, 5, 6), (3, 1, 2)])
@pytest.mark.parametrize("text", ["none", "flips", "rotations", "symmetries"])
def test_every_view_of_an_identity_model_is_turned_back_exactly(text, shape):
    images = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    for view in tta.parse_tta(text, len(shape)):
        np.testing.assert_array_equal(view.predict(identity, images, same_size), images)


def test_the_views_are_the_eight_symmetries_of_a_square():
    square = np.arange(9).reshape(1, 3, 3, 1)
    seen = {view.apply(square).tobytes() for view in tta.parse_tta("symmetries", 2)}
    turned = (np.rot90(side, turns) for side in (square[0, ..., 0], square[0, ::-1, :, 0]) for turns in range(4))
    assert seen == {np.ascontiguousarray(view).tobytes() for view in turned}


@pytest.mark.parametrize(("spatial_dims", "count"), [(2, 4), (3, 4)])
def test_rotations_are_those_of_numpy(spatial_dims, count):
    image = np.arange(2 * 3 * 3**spatial_dims).reshape(2, *(3,) * spatial_dims, 3)
    seen = {view.apply(image).tobytes() for view in tta.parse_tta("rotations", spatial_dims)}
    assert seen == {np.ascontiguousarray(np.rot90(image, turns, (1, 2))).tobytes() for turns in range(count)}


@pytest.mark.parametrize(("text", "spatial_dims", "count"), [("flips", 2, 4), ("flips", 3, 8), ("symmetries", 3, 16)])
def test_views_are_all_different(text, spatial_dims, count):
    volume = np.arange(3**spatial_dims).reshape(1, *(3,) * spatial_dims, 1)
    assert len({view.apply(volume).tobytes() for view in tta.parse_tta(text, spatial_dims)}) == count


def test_scales_are_seen_beside_the_image_in_every_orientation():
    views = tta.parse_tta("flips, scales:0.75,1.25", 2)
    assert [view.scale for view in views] == [1.0] * 4 + [0.75] * 4 + [1.25] * 4
    assert views[:4] == tta.parse_tta("flips", 2)
    assert tta.parse_tta("scales:2,flips", 2)[:4] == views[:4]


@pytest.mark.parametrize("text", ["", "flip", "flips,flips", "scales:", "scales:0.1", "scales:nan", "0.75", "scales:a"])
def test_a_wrong_description_is_one_line(text):
    with pytest.raises(ValueError, match=r"^tta: expected .*; received"):
        tta.parse_tta(text, 2)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 2])
def test_a_scale_keeps_the_image_in_its_place(scale):
    """A plane comes back as it was: any shift or stretch would show on its slope."""
    slope = np.add.outer(np.arange(40.0), 2 * np.arange(48.0)).astype(np.float32)[None, ..., None]
    view = tta.parse_tta(f"scales:{scale}", 2)[1]
    seen = []

    def allowed(size):
        return tuple(-(-n // 8) * 8 for n in size)

    def predict(images):
        seen.append(images.shape[1:-1])
        return images

    answer = view.predict(predict, slope, allowed)
    assert seen == [allowed((round(40 * scale), round(48 * scale)))]
    inside = (slice(None), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(answer[inside], slope[inside], atol=1e-4)
