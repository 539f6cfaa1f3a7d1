"""The depthwise convolution of the V-Nets for volumes."""

import numpy as np
import pytest
from scipy import ndimage

from maskzoo.models.vnet3d_depthwise import DepthwiseConv3D


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("kernel_size", [3, (1, 3, 5)])
def test_depthwise_convolution_equals_a_correlation_of_each_channel(kernel_size):
    layer = DepthwiseConv3D(kernel_size)
    volumes = _random(2, 5, 4, 6, 3)
    layer.build(volumes.shape)
    layer.bias.assign([1.0, 2.0, 3.0])
    kernel = np.asarray(layer.kernel.value)
    expected = np.stack(
        [ndimage.correlate(volumes[..., c], kernel[None, ..., c, 0], mode="constant") + c + 1 for c in range(3)], -1
    )
    np.testing.assert_allclose(layer(volumes), expected, atol=1e-5)


def test_depthwise_convolution_refuses_even_kernels():
    with pytest.raises(ValueError, match="expected odd kernel sizes; received 2"):
        DepthwiseConv3D(2)
