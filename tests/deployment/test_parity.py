"""What passes as the same answer."""

from pathlib import Path

import numpy as np
import pytest

from maskzoo import data
from maskzoo.deployment import parity
from maskzoo.errors import RunError


@pytest.fixture(scope="module")
def compared(unet, make_run):
    """A run, an image, and what `predict` makes of it: mask and probabilities."""
    run = make_run(unet, thresholds=[0.4])
    image = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    return run, image, *parity.predict_whole(run, data.open_source(image, spatial_dims=2))


def compare(compared, change, tolerance=1e-4):
    run, image, mask, probabilities = compared
    answer = [part[None] for part in change(mask.copy(), probabilities.copy())]
    return parity.compare_bundle(run, lambda images: answer, [image], tolerance, Path("bundle"))


def test_the_same_answer_passes(compared):
    assert 0 < compared[2].mean() < 1
    (row,) = compare(compared, lambda mask, p: (mask, p + 2e-5))
    assert (row.size, row.pixels, row.different_pixels) == ((24, 20), 480, 0)
    assert row.largest_difference == pytest.approx(2e-5, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda mask, p: (mask, p + 1e-3),
            r"within 1e-04 of those of predict at 24 x 20; received a difference of 1.0e",
        ),
        (lambda mask, p: (mask, np.full_like(p, np.nan)), "received a difference of nan"),
        (lambda mask, p: (1 - mask, p), "the mask of predict at 24 x 20; received one that differs in 480 of 480"),
        (lambda mask, p: (mask[1:], p), r"a mask of \(24, 20\) uint8 at 24 x 20; received \(23, 20\) uint8"),
        (lambda mask, p: (mask.astype(int), p), "received .* int64"),
    ],
)
def test_another_answer_does_not(compared, change, message):
    with pytest.raises(RunError, match=f"bundle: expected .*{message}"):
        compare(compared, change)


def test_masks_may_differ_where_probabilities_are_at_the_threshold(compared):
    probabilities = compared[3]
    nearest = np.unravel_index(np.abs(probabilities[..., 0] - 0.4).argmin(), (24, 20))
    distance = abs(float(probabilities[nearest][0]) - 0.4)

    def flip(mask, p):
        mask[nearest] = 1 - mask[nearest]
        return mask, p

    (row,) = compare(compared, flip, tolerance=1.01 * distance)
    assert row.different_pixels == 1
    with pytest.raises(RunError, match="differs in 1 of 480 pixels"):
        compare(compared, flip, tolerance=0.9 * distance)


def test_two_likely_classes_are_near_in_a_multiclass_task(make_model, make_run):
    run = make_run(make_model("unet_padded", (None, None, 3), 3, filters=(4, 8)), "multiclass")
    near = parity.near_threshold(np.array([[0.4, 0.399, 0.201], [0.5, 0.3, 0.2]]), run, 1e-3)
    assert near.tolist() == [True, False]


def test_noise_stands_in_for_images_that_cannot_be_read(compared):
    origin, images = parity.parity_images(compared[0], "uint16", None)
    assert origin == "noise: the run's validation images cannot be read"
    assert [image.shape for image in images] == [(*size, 3) for size in parity.COMPARED_SIZES[2]]
    assert {image.dtype for image in images} == {np.dtype("uint16")}
    _, (image,) = parity.parity_images(compared[0], None, (8, 9))
    assert (image.shape, image.dtype) == ((8, 9, 3), np.uint8)


def test_a_network_is_compared_with_its_export(unet, tmp_path, monkeypatch):
    unet.export(tmp_path / "network", format="tf_saved_model", verbose=False)
    rows = list(parity.compare_network(unet, tmp_path / "network", Path("out")))
    assert [size for size, _ in rows] == [(64, 72), (160, 168)]
    monkeypatch.setattr(parity, "TOLERANCE", -1)
    with pytest.raises(RunError, match=r"out: expected logits within .* of those of the Keras model at 64 x 72"):
        list(parity.compare_network(unet, tmp_path / "network", Path("out")))
