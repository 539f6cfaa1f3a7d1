"""Files of Keras: the `.h5` that keras.applications downloads, made by hand, and `.weights.h5` of other channels."""

import h5py
import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.errors import MissingFile, WeightsError
from maskzoo.models.encoders.weights import IMAGENET_MEAN, IMAGENET_STD


def publish(model, path, renamed=lambda name: name):
    """Writes weights in the format of keras.applications' files: groups by layer, in order, named in attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [renamed(layer.name).encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(renamed(layer.name))
            names = [f"{renamed(layer.name)}/{weight.name}:0".encode() for weight in layer.weights]
            group.attrs["weight_names"] = names
            for name, value in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name.decode(), data=value)
    return path


def application(function, **options):
    model = getattr(keras.applications, function)(weights=None, input_shape=(64, 64, 3), **options)
    rng = np.random.default_rng(0)
    model.set_weights([np.abs(w + rng.normal(0, 0.02, w.shape)) if w.ndim == 1 else w for w in model.get_weights()])
    return model


MEAN, DEVIATION = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
# The range of images that the published weights were trained on, from standardised images and their statistics.
RANGES = {
    "tf": lambda image, mean, deviation: 2 * (image * deviation + mean) - 1,
    "torch": lambda image, mean, deviation: image,
    # Blue, green, red from 0 to 255, less the mean.
    "caffe": lambda image, mean, deviation: (255 * image * deviation)[..., ::-1],
}


@pytest.mark.parametrize(
    ("name", "function", "first", "levels", "image_range", "options"),
    [
        ("mobilenet", "MobileNet", None, ("conv_pw_1_relu", "conv_pw_13_relu"), "tf", {"include_top": False}),
        (
            "mobilenet",
            "MobileNet",
            None,
            ("conv_pw_1_relu", "conv_pw_13_relu"),
            "tf",
            {"include_top": True, "classes": 7},
        ),
        pytest.param(
            *(
                "efficientnet_b0",
                "EfficientNetB0",
                "stem_conv_pad",
                ("block1a_project_bn", "block7a_project_bn"),
                "torch",
            ),
            {"include_top": False},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("vgg16", "VGG16", None, ("block2_conv2", "block5_pool"), "caffe", {"include_top": False}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_published_file_is_used_offline_with_any_number_of_channels(
    name, function, first, levels, image_range, options, tmp_path
):
    published = application(function, **options)
    path = publish(published, tmp_path / "published_tf_no_top.h5")
    image = np.random.default_rng(1).normal(size=(1, 64, 64, 1)).astype("float32")
    # Of networks that begin with preprocessing, what is behind it.
    start = published.input if first is None else published.get_layer(first).input
    # The finest level tells what a random network forgets on the way to the deepest.
    network = keras.Model(start, [published.get_layer(level).output for level in levels])
    coloured = np.concatenate([image, 2 * image, 0.5 - image], -1)
    grey = np.repeat(image, 3, -1)
    cases = {
        3: (coloured, RANGES[image_range](coloured, MEAN, DEVIATION)),
        # What is grey has the same value in every channel, by the mean of the statistics.
        1: (image, RANGES[image_range](grey, MEAN.mean(), DEVIATION.mean())),
        5: (np.repeat(image, 5, -1), RANGES[image_range](grey, MEAN.mean(), DEVIATION.mean())),
    }
    for channels, (seen, value) in cases.items():
        encoder = models.build_encoder(name, (64, 64, channels), encoder_weights=str(path))
        features = encoder(seen)
        for found, expected in zip((features[0], features[-1]), network(value), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_layers_that_were_counted_are_found_by_their_order(tmp_path):
    published = application("MobileNet", include_top=False)
    path = publish(published, tmp_path / "counted.h5", lambda name: f"{name}_1" if "conv" in name else name)
    by_order = models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=path)
    by_name = models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=publish(published, tmp_path / "named.h5"))
    for one, other in zip(by_order.get_weights(), by_name.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_a_weights_file_of_three_channels_is_carried_to_others(channels, tmp_path):
    colours = models.build_encoder("resnet18", (64, 64, 3))
    colours.save_weights(tmp_path / "own.weights.h5")
    encoder = models.build_encoder("resnet18", (64, 64, channels), encoder_weights=tmp_path / "own.weights.h5")
    kernel = colours.get_layer("conv0").get_weights()[0]
    carried = encoder.get_layer("conv0").get_weights()[0]
    np.testing.assert_allclose(carried.sum(2), kernel.sum(2), rtol=1e-4, atol=1e-6)
    for one, other in zip(encoder.get_layer("bn1").get_weights(), colours.get_layer("bn1").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(WeightsError, match=r"own\.weights\.h5: expected the weights of mobilenet"):
        models.build_encoder("mobilenet", (64, 64, channels), encoder_weights=tmp_path / "own.weights.h5")


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(MissingFile, match=r"nowhere\.h5"):
        models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=tmp_path / "nowhere.h5")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.h5: expected weights as keras\.applications publishes them"):
        models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=tmp_path / "text.h5")
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="conv1")])
    with pytest.raises(WeightsError, match=r"few\.h5: expected the .* layers of mobilenet; received 1 layers"):
        models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=publish(small, tmp_path / "few.h5"))
    wrong = application("MobileNet", include_top=False, alpha=0.5)
    with pytest.raises(WeightsError, match=r"wrong\.h5: expected shapes .* for the layer conv1 of mobilenet"):
        models.build_encoder("mobilenet", (64, 64, 3), encoder_weights=publish(wrong, tmp_path / "wrong.h5"))
