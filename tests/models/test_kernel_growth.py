import keras
import numpy as np
import pytest

from maskzoo import models


def mednext(kernel_size, axes=3, **options):
    keras.utils.set_random_seed(0)
    return models.build_model(
        "mednext", (*[None] * axes, 1), 2, kernel_size=kernel_size, filters=2, **{"blocks": (1, 1, 1), **options}
    )


SMALL = {"expansions": (2, 2, 2)}


@pytest.mark.parametrize("axes", [2, 3])
def test_kernels_are_enlarged_linearly_and_all_else_is_copied(axes):
    small, large = mednext(3, axes, **SMALL), mednext(5, axes, **SMALL)
    name = "encoder0_down_depthwise"
    kernel = np.zeros(small.get_layer(name).kernel.shape, "float32")
    # 0, 10, 20 along the last spatial axis, of whose elements five then lie at -0.2, 0.4, 1, 1.6 and 2.2 of the three.
    kernel[..., 1, :, :], kernel[..., 2, :, :] = 10, 20
    small.get_layer(name).kernel.assign(kernel)
    models.grow_kernels(small, large)
    found = np.asarray(large.get_layer(name).kernel)
    assert found.shape[:axes] == (5,) * axes
    expected = np.reshape([0, 4, 10, 16, 20], (5, 1, 1))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)
    for layer in ("stem", "decoder0_up_expand", "bottom_0_norm", "mask"):
        for one, other in zip(small.get_layer(layer).weights, large.get_layer(layer).weights, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("large", "message"),
    [
        (lambda: mednext(1, **SMALL), r"large: expected kernels of .*_depthwise that are as large or larger; received"),
        (lambda: mednext(5, expansions=(2, 3, 2)), "large: expected kernels of .*"),
        (
            lambda: mednext(5, blocks=(1, 2, 1), expansions=(2, 2, 2)),
            "large: expected the layers of mednext; received mednext, where bottom_1_compress differs",
        ),
    ],
)
def test_other_models_are_refused_and_left_as_they_are(large, message):
    large = large()
    before = large.get_weights()
    with pytest.raises(ValueError, match=message):
        models.grow_kernels(mednext(3, **SMALL), large)
    for one, other in zip(before, large.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
