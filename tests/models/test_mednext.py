import numpy as np
import pytest

from maskzoo import models
from maskzoo.models.mednext import ZerosBetween
from maskzoo.models.vnet3d_depthwise import DepthwiseConv3D


def test_zeros_lie_between_elements():
    x = np.arange(1, 5, dtype="float32").reshape(1, 2, 2, 1)
    found = np.asarray(ZerosBetween()(x))[0, ..., 0]
    np.testing.assert_array_equal(found, [[1, 0, 2], [0, 0, 0], [3, 0, 4]])


@pytest.mark.parametrize("kernel_size", [3, (1, 5, 3)])
def test_strided_depthwise_convolutions_are_every_second_element_of_others(kernel_size):
    volume = np.random.default_rng(0).normal(size=(2, 9, 8, 11, 3)).astype("float32")
    dense, strided = (DepthwiseConv3D(kernel_size, strides=strides, padding="valid") for strides in (1, 2))
    expected = np.asarray(dense(volume))[:, ::2, ::2, ::2]
    strided.build(volume.shape)
    strided.set_weights(dense.get_weights())
    np.testing.assert_allclose(np.asarray(strided(volume)), expected, atol=1e-5)
    assert strided.compute_output_shape(volume.shape) == expected.shape
    renewed = DepthwiseConv3D.from_config(strided.get_config())
    assert (renewed.strides, renewed.padding) == (2, "valid")


def test_dense_depthwise_convolutions_without_padding_are_the_middle_of_padded_ones():
    volume = np.random.default_rng(0).normal(size=(1, 7, 6, 5, 2)).astype("float32")
    same, valid = DepthwiseConv3D(3), DepthwiseConv3D(3, padding="valid")
    expected = np.asarray(same(volume))[:, 1:-1, 1:-1, 1:-1]
    valid.build(volume.shape)
    valid.set_weights(same.get_weights())
    np.testing.assert_allclose(np.asarray(valid(volume)), expected, atol=1e-5)


def test_the_bottom_is_supervised_too():
    model = models.build_model(
        "mednext", (16, 16, 1), 2, filters=2, blocks=(1,) * 5, expansions=(1,) * 5, deep_supervision=True
    )
    assert list(model.output) == ["mask", "aux1", "aux2"]
    assert {x.shape for x in model.output.values()} == {(None, 16, 16, 2)}
    assert model.get_layer("aux2_logits").input is model.get_layer("bottom_0_add").output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "XL"}, "size: expected one of S, B, M, L; received XL"),
        ({"kernel_size": 4}, "kernel_size: expected odd kernel sizes; received 4"),
        ({"blocks": (1, 1)}, r"blocks: expected an odd number of levels, the same in blocks \(2\); received 2"),
        (
            {"expansions": (2, 2, 2)},
            r"expansions: expected an odd number of levels, the same in blocks \(9\); received 3",
        ),
        ({"expansions": 2}, "expansions: expected a list of whole numbers, one per resolution level; received 2"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("mednext", (None, None, 1), 2, **options)


def test_strided_depthwise_convolutions_say_that_they_do_not_pad():
    with pytest.raises(ValueError, match="expected padding='valid' with strides; received same"):
        DepthwiseConv3D(3, strides=2)
