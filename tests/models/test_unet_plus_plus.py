"""U-Net++: its heads, and pruning."""

import numpy as np
import pytest
from small_models import images_for, small_model

from maskzoo import models


def test_deep_supervision_outputs_have_the_size_of_the_image():
    images = images_for("unet_plus_plus", (16, 24))
    for name, outputs in [("unet_plus_plus", {"aux1", "mask"}), ("unet_3plus", {"aux1", "aux2", "mask"})]:
        result = small_model(name)(images)
        assert set(result) == outputs
        assert {output.shape for output in result.values()} == {(2, 16, 24, 2)}


def test_a_pruned_unet_plus_plus_equals_its_own_intermediate_head():
    model = models.build_model("unet_plus_plus", (None, None, 1), filters=(2, 3, 4, 5), deep_supervision=True)
    images = images_for("unet_plus_plus", (16, 24))
    outputs = model(images)
    for depth in (1, 2):
        pruned = models.prune(model, depth)
        np.testing.assert_array_equal(pruned(images), outputs[f"aux{depth}"])
        assert not any(layer.name.startswith(f"node{depth + 1}") for layer in pruned.layers)
        shallow = models.build_model("unet_plus_plus", (None, None, 1), filters=(2, 3, 4, 5)[: depth + 1])
        assert pruned.count_params() == shallow.count_params()
    with pytest.raises(ValueError, match="depth to prune unet_plus_plus to: expected one of 1, 2; received 3"):
        models.prune(model, 3)
    with pytest.raises(ValueError, match="expected a model with deep supervision; received 1"):
        models.prune(shallow, 1)
