"""DeepLabv3+: its counts, and the dilation of its encoder."""

import pytest

from maskzoo import models
from maskzoo.models import analysis

# Trainable parameters of decoder and head, segmentation_models_pytorch 0.6.0.
DEEPLAB = {"resnet18": 1152785, "mit_b0": 816657, "efficientnet_b0": 899921}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", DEEPLAB)
def test_deeplab_counts_are_those_of_the_reference(encoder):
    _, trainable = analysis.parameters(models.build_model("deeplabv3plus", (None, None, 3), 1, encoder=encoder))
    _, of_encoder = analysis.parameters(models.build_encoder(encoder, (None, None, 3)))
    assert trainable - of_encoder == DEEPLAB[encoder]


def test_deeplab_dilates_the_last_stage_of_a_resnet():
    for stride in (16, 32):
        model = models.build_model("deeplabv3plus", (64, 64, 3), encoder="resnet18", output_stride=stride)
        assert model.get_layer("relu1").output.shape[1:3] == (64 // stride, 64 // stride)
        assert model.output_shape == (None, 64, 64, 1)
