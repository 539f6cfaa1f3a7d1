"""The ResNets of segmentation-models: their weights, and the dilated last stage."""

import functools
import hashlib

import h5py
import keras
import numpy as np
import pytest
from small_models import arrays

from maskzoo import models
from maskzoo.models.encoders import feature_strides
from maskzoo.models.encoders.resnet import resnet


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _kernel(encoder, name):
    return keras.ops.convert_to_numpy(encoder.get_layer(name).weights[0])


def test_imagenet_weights_of_resnet_are_downloaded_checked_and_carried(file_server, write_published_h5, monkeypatch):
    folder, url = file_server
    monkeypatch.setattr("maskzoo.models.encoders.resnet.RELEASE", url)
    plain = resnet((None, None, 3), (1, 1, 1, 1), "", name="small")
    path = write_published_h5(folder / "small_imagenet_1000_no_top.h5", plain)
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    build = functools.partial(resnet, depths=(1, 1, 1, 1), checksum=checksum, encoder_weights="imagenet", name="small")
    colour = build((None, None, 3))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(_kernel(colour, "conv0"), file["conv0/conv0/kernel:0"])
        np.testing.assert_array_equal(
            _kernel(colour, "stage4_unit1_conv2"), file["stage4_unit1_conv2"]["stage4_unit1_conv2/kernel:0"]
        )
    grey = _images(1, 32, 32, 1)
    for channels in (1, 2, 4, 13):
        carried = build((None, None, channels))
        kernel = _kernel(carried, "conv0")
        assert kernel.shape == (7, 7, channels, 64)
        # Sums of random weights may cancel to nearly nothing.
        np.testing.assert_allclose(kernel.sum(axis=2), _kernel(colour, "conv0").sum(axis=2), rtol=1e-5, atol=1e-6)
        assert all(np.isfinite(feature).all() for feature in arrays(carried(np.repeat(grey, channels, -1))))
    path.unlink()
    with pytest.raises(OSError, match="encoder_weights of other: expected ImageNet weights to download") as refusal:
        build((None, None, 3), name="other")
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__.__context__.closed  # the server's answer: its socket does not stay open


@pytest.mark.parametrize("name", ["resnet18", "resnet18_torch"])
def test_the_last_stages_of_a_resnet_can_be_dilated(name):
    strided = models.build_encoder(name, (64, 64, 3))
    for stride, strides in ((16, [2, 4, 8, 16, 16]), (8, [2, 4, 8, 8, 8])):
        encoder = models.build_encoder(name, (64, 64, 3), output_stride=stride)
        assert feature_strides(encoder) == strides
        assert encoder.count_params() == strided.count_params()
        last = [
            layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size[0] == 3
        ]
        assert last[-1].dilation_rate == (32 // stride, 32 // stride)
        assert last[-5].dilation_rate == (16 // stride, 16 // stride)
    with pytest.raises(ValueError, match=f"output_stride of {name}: expected one of 8, 16, 32; received 4"):
        models.build_encoder(name, (64, 64, 3), output_stride=4)
