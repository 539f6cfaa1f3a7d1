"""Starting from another model: layers of the same names and shapes, and what is said about the others."""

import logging

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.errors import MissingFile, OptionError, WeightsError
from maskzoo.training.initial_weights import take_weights


def build(**options):
    return models.build_model("dropout_net", (None, None, 3), **{"num_classes": 1, **options})


def test_layers_that_match_take_the_weights_and_the_others_are_named(dropout_net, tmp_path, caplog):
    caplog.set_level(logging.INFO, "maskzoo")
    other = build(num_classes=2)
    other.save(tmp_path / "best.keras")
    network = build()
    take_weights(network, tmp_path)
    np.testing.assert_array_equal(
        network.get_layer("encoder_conv").weights[0], other.get_layer("encoder_conv").weights[0]
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"init       3 of 4 layers with weights from {tmp_path / 'best.keras'}",
        "           not initialised: mask ((1, 1, 4, 2) in the file, (1, 1, 4, 1) here)",
    ]


def test_a_model_without_matching_layers_is_refused(dropout_net, tmp_path):
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(1, 1, name="output")(image)).save(tmp_path / "other.keras")
    build(width=3).save(tmp_path / "narrow.keras")
    for name in ("other", "narrow"):
        with pytest.raises(OptionError, match=rf"^init_from: expected .* same names and shapes; .*{name}\.keras"):
            take_weights(build(), tmp_path / f"{name}.keras")


def test_files_that_are_not_models_are_named(dropout_net, tmp_path):
    with pytest.raises(MissingFile, match=r"none\.keras: expected a run folder or a \.keras file"):
        take_weights(build(), tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(WeightsError, match=r"text\.keras: expected a Keras model"):
        take_weights(build(), tmp_path / "text.keras")


@pytest.mark.filterwarnings("ignore")
def test_a_model_file_of_segmentation_models_fills_the_same_architecture(tmp_path, monkeypatch):
    monkeypatch.setenv("SM_FRAMEWORK", "tf.keras")
    import segmentation_models

    options = {"encoder_weights": None, "input_shape": (32, 32, 3), "activation": "linear"}
    theirs = segmentation_models.Unet("resnet18", classes=2, **options)
    theirs.save(tmp_path / "theirs.h5")
    network = models.build_model("backbone_unet", (None, None, 3), 2, encoder="resnet18")
    take_weights(network, tmp_path / "theirs.h5")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(network(image), theirs(image), atol=1e-5)


def test_a_trunk_gives_its_head_to_a_model_with_a_side_branch_and_back(tmp_path):
    options = {"filters": (4, 6)}
    trunk = models.build_model("unet_padded", (None, None, 1), 1, **options)
    branched = models.build_model(
        "branch2_unet", (None, None, 1), 1, trunk="unet_padded", trunk_options=options, level=2
    )
    for source, network, names in (
        (trunk, branched, ("mask", "trunk_mask")),
        (branched, trunk, ("trunk_mask", "mask")),
    ):
        given = [np.random.default_rng(0).normal(size=w.shape) for w in source.get_layer(names[0]).get_weights()]
        source.get_layer(names[0]).set_weights(given)
        source.save(tmp_path / "source.keras")
        take_weights(network, tmp_path / "source.keras")
        for one, other in zip(network.get_layer(names[1]).get_weights(), given, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
