"""Whole models of segmentation_models, saved in every format, give our models their outputs."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.errors import MissingFile, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore")

SHAPE = (96, 96, 3)
BUILDERS = {"backbone_unet": "Unet", "fpn": "FPN", "linknet": "Linknet", "pspnet": "PSPNet"}
# Theirs -> ours.
ENCODERS = {
    "resnet18": "resnet18",
    "vgg16": "vgg16",
    "mobilenet": "mobilenet",
    "mobilenetv2": "mobilenetv2_expanded",
    "efficientnetb0": "efficientnet_b0_expanded",
    "inceptionv3": "inceptionv3",
    "inceptionresnetv2": "inceptionresnetv2",
}


@pytest.fixture(scope="module")
def library():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SM_FRAMEWORK", "tf.keras")
        import segmentation_models
    return segmentation_models


def saved(model: keras.Model, path: Path) -> Path:
    """Gives a model weights that would show if two were exchanged, and saves it."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, x.shape) if x.ndim == 1 else x for x in model.get_weights()])
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def assert_alike(ours: keras.Model, theirs: keras.Model) -> None:
    image = np.random.default_rng(1).normal(size=(1, *SHAPE)).astype("float32")
    expected = keras.ops.convert_to_numpy(theirs(image))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours(image)), expected, atol=2e-5 * np.abs(expected).max())


def check(library, tmp_path, name, encoder, suffix=".h5", options=None, their_options=None):
    theirs = getattr(library, BUILDERS[name])(
        encoder,
        input_shape=SHAPE,
        classes=2,
        activation="linear",
        encoder_weights=None,
        **(their_options or {}),
    )
    path = saved(theirs, tmp_path / f"theirs{suffix}")
    ours = models.build_model(name, SHAPE, 2, encoder=ENCODERS[encoder], **(options or {}))
    assert models.holds_segmentation_models(path)
    models.load_segmentation_models(ours, path)
    assert_alike(ours, theirs)


@pytest.mark.parametrize("name", BUILDERS)
def test_outputs_are_equal_for_every_architecture(name, library, tmp_path):
    check(library, tmp_path, name, "resnet18")


# Every encoder once, every decoder over another one.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        *(("backbone_unet", encoder) for encoder in ENCODERS if encoder != "resnet18"),
        ("fpn", "mobilenetv2"),
        ("linknet", "inceptionv3"),
        ("pspnet", "efficientnetb0"),
    ],
)
def test_outputs_are_equal_over_every_encoder(name, encoder, library, tmp_path):
    check(library, tmp_path, name, encoder)


@pytest.mark.parametrize("suffix", [".keras", pytest.param(".weights.h5", marks=pytest.mark.slow)])
def test_outputs_are_equal_from_files_of_keras_3(suffix, library, tmp_path):
    check(library, tmp_path, "backbone_unet", "resnet18", suffix)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "their_options"),
    [
        ("backbone_unet", {"up": "transpose"}, {"decoder_block_type": "transpose"}),
        ("backbone_unet", {"batch_norm": False}, {"decoder_use_batchnorm": False}),
        ("linknet", {"up": "transpose"}, {"decoder_block_type": "transpose"}),
        ("fpn", {"aggregation": "sum"}, {"pyramid_aggregation": "sum"}),
    ],
)
def test_outputs_are_equal_with_other_options(name, options, their_options, library, tmp_path):
    check(library, tmp_path, name, "resnet18", ".h5", options, their_options)


@pytest.mark.slow
def test_weights_alone_in_the_format_of_keras_2_are_read_by_name(library, tmp_path):
    theirs = library.Unet("resnet18", input_shape=SHAPE, classes=2, activation="linear", encoder_weights=None)
    with h5py.File(saved(theirs, tmp_path / "whole.h5")) as whole, h5py.File(tmp_path / "weights.h5", "w") as alone:
        for name, group in whole["model_weights"].items():
            whole.copy(group, alone, name)
        # Keras cuts long lists of names into parts.
        names = whole["model_weights"].attrs["layer_names"]
        alone.attrs["layer_names0"], alone.attrs["layer_names1"] = names[:50], names[50:]
    ours = models.build_model("backbone_unet", SHAPE, 2, encoder="resnet18")
    models.load_segmentation_models(ours, tmp_path / "weights.h5")
    assert_alike(ours, theirs)


def test_what_does_not_fit_is_refused_and_leaves_the_model_as_it_is(library, tmp_path):
    theirs = library.Unet("resnet18", input_shape=SHAPE, classes=2, activation="linear", encoder_weights=None)
    path = saved(theirs, tmp_path / "theirs.h5")
    for name, options, message in (
        ("backbone_unet", {"encoder": "resnet18", "up": "transpose"}, "weights for the layer decoder0_up of"),
        ("backbone_unet", {"encoder": "resnet18", "num_classes": 3}, "for the layer mask; received"),
    ):
        model = models.build_model(name, SHAPE, **{"num_classes": 2} | options)
        before = model.get_weights()
        with pytest.raises(WeightsError, match=rf"theirs\.h5: expected .*{message}"):
            models.load_segmentation_models(model, path)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_files_are_refused(tmp_path):
    model = models.build_model("unet_padded", (None, None, 1), filters=(4, 6))
    model.save(tmp_path / "ours.keras")
    assert not models.holds_segmentation_models(tmp_path / "ours.keras")
    (tmp_path / "noise.h5").write_bytes(b"noise")
    assert not models.holds_segmentation_models(tmp_path / "noise.h5")
    for name, message in (
        ("ours.keras", "expected a model of segmentation_models; received"),
        ("noise.h5", "expected weights of a Keras model"),
        ("ours.npz", "expected a file that ends in .h5 or .keras; received .npz"),
    ):
        with pytest.raises(WeightsError, match=message):
            models.read_segmentation_models(tmp_path / name)
    with pytest.raises(MissingFile):
        models.read_segmentation_models(tmp_path / "absent.h5")
