"""U^2-Net: its heads and its sizes."""

import numpy as np
import pytest
from keras import ops
from small_models import images_for, small_model

from maskzoo import models


def test_the_mask_is_fused_from_the_heads_of_all_levels():
    model, images = small_model("u2net"), images_for("u2net", (16, 24))
    outputs = model(images)
    assert set(outputs) == {"mask", "aux1", "aux2", "aux3"}
    sides = ops.concatenate([outputs[f"aux{level}"] for level in (1, 2, 3)], -1)
    assert sides.shape == (2, 16, 24, 6)
    np.testing.assert_allclose(model.get_layer("mask")(sides), outputs["mask"], rtol=0, atol=1e-5)


def test_an_activation_is_applied_after_the_heads_are_fused():
    options = {"filters": (4, 6, 8), "inner_filters": (3, 4, 4), "deep_supervision": True}
    logits = models.build_model("u2net", (16, 24, 1), 2, **options)
    squashed = models.build_model("u2net", (16, 24, 1), 2, activation="sigmoid", **options)
    squashed.set_weights(logits.get_weights())
    images = images_for("u2net", (16, 24))
    expected, found = logits(images), squashed(images)
    for name, output in expected.items():
        np.testing.assert_allclose(found[name], ops.sigmoid(output), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "tiny"}, "size: expected one of full, small; received tiny"),
        ({"filters": (4, 6)}, r"filters: expected at least 3 levels; received \(4, 6\)"),
        ({"filters": (4, 6, 8)}, "inner_filters: expected 3 numbers, one per level"),
        ({"inner_filters": 8}, "inner_filters: expected a list of whole numbers, one per resolution level; received 8"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("u2net", (None, None, 3), **options)
