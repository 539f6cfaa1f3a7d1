import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis

THIN = {"filters": (2, 3, 4), "kernel_size": [(1, 3, 3), 3, 3], "strides": [1, (1, 2, 2), 2]}


def test_strides_of_a_plan_make_levels_and_allowed_sizes():
    model = models.build_model("nnunet", (None, None, None, 1), 2, **THIN)
    assert [rule.multiple for rule in analysis.geometry(model).rules] == [2, 4, 4]
    kernels = [model.get_layer(f"encoder{level}_0_conv").kernel_size for level in range(2)]
    assert kernels == [(1, 3, 3), (3, 3, 3)]
    image = keras.KerasTensor((1, 6, 8, 12, 1))
    sizes = [
        analysis.output_specs(model, [model.get_layer(f"encoder{level}_1_conv").output], [image])[0].shape[1:-1]
        for level in range(3)
    ]
    assert sizes == [(6, 8, 12), (6, 4, 6), (3, 2, 3)]


@pytest.mark.parametrize("name", ["nnunet", "resenc_unet"])
def test_coarser_levels_are_supervised_at_the_size_of_the_image(name):
    model = models.build_model(name, (4, 8, 8, 1), 2, deep_supervision=True, **THIN)
    assert list(model.output) == ["mask", "aux1"]
    assert {x.shape for x in model.output.values()} == {(None, 4, 8, 8, 2)}


@pytest.mark.parametrize("name", ["nnunet", "resenc_unet", "segresnet", "mednext"])
def test_only_norms_over_the_batch_keep_tiles_exact(name):
    small = {
        "segresnet": {"filters": 4, "encoder_blocks": (1, 1), "decoder_blocks": (1,)},
        "mednext": {"filters": 2, "blocks": (1, 1, 1), "expansions": (1, 1, 1)},
    }.get(name, {"filters": (2, 2)})
    for norm, exact in (("batch", True), ("instance", False)):
        model = models.build_model(name, (None, None, 1), 2, norm=norm, **small)
        assert analysis.geometry(model).is_global != exact


PRESETS = [("M", 3, 6, 320), ("XL", 3, 6, 320), ("L", 2, 8, 512), ("XL", 2, 9, 512)]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "axes", "levels", "widest"), PRESETS)
def test_presets_have_the_levels_that_nnunet_plans_for_their_patch(size, axes, levels, widest):
    model = models.build_model("resenc_unet", (*[None] * axes, 1), 1, size=size, blocks=1)
    deepest = model.get_layer(f"encoder{levels - 1}_0_add").output
    assert deepest.shape[-1] == widest
    assert analysis.geometry(model).rules[0].multiple == 2 ** (levels - 1)


def test_presets_have_more_blocks_further_down():
    model = models.build_model("resenc_unet", (None, None, 1), filters=(2,) * 7)
    blocks = [sum(layer.name.startswith(f"encoder{level}_") and layer.name.endswith("_add") for layer in model.layers)
              for level in range(7)]  # fmt: skip
    assert blocks == [1, 3, 4, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nnunet", {"strides": [2, 2]}, r"strides: expected 1 for the first level; received \[2, 2\]"),
        ("nnunet", {"strides": [1, 2, 2]}, "strides: expected a number, or a list of 2, one per level; received"),
        ("nnunet", {"strides": [1, (1, 2, 2)]}, "strides: expected a number, or 2, one per axis, for each level"),
        ("nnunet", {"strides": [1, 0]}, "strides: expected a whole number of at least 1; received 0"),
        ("nnunet", {"kernel_size": [3, 4]}, "kernel_size: expected odd kernel sizes; received"),
        ("nnunet", {"encoder_convs": [2]}, "encoder_convs: expected a number, or a list of 2, one per level"),
        ("nnunet", {"decoder_convs": [2, 2]}, "decoder_convs: expected a number, or a list of 1, one per level"),
        ("nnunet", {"norm": "group"}, "norm: expected one of instance, batch; received group"),
        ("resenc_unet", {"size": "S"}, "size: expected one of M, L, XL; received S"),
        ("resenc_unet", {"blocks": 0}, "blocks: expected a whole number of at least 1; received 0"),
    ],
)
def test_what_does_not_fit_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, (None, None, 1), 2, filters=(2, 2), **options)


def test_strides_look_at_both_sides_of_an_element():
    """An impulse at an even place is the middle of a kernel, as in PyTorch: Keras's own padding would shift it."""
    model = models.build_model("nnunet", (None, None, 1), filters=(1, 1), encoder_convs=1, norm="batch")
    down = keras.Model(model.input, model.get_layer("encoder1_0_conv").output)
    for layer in ("encoder0_0_conv", "encoder1_0_conv"):
        kernel = np.zeros((3, 3, 1, 1), "float32")
        kernel[1, 1] = 1
        model.get_layer(layer).kernel.assign(kernel)
    image = np.zeros((1, 8, 8, 1), "float32")
    image[0, 4, 2] = 1
    found = np.argwhere(np.asarray(down(image))[0, ..., 0] > 0.5)
    assert found.tolist() == [[2, 1]]
