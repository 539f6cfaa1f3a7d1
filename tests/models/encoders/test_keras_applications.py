"""The encoders of keras.applications, and their weights."""

import hashlib

import h5py
import keras
import numpy as np
from small_models import build_encoder

from maskzoo.models.encoders import keras_applications as applications


def _kernel(encoder, name):
    return keras.ops.convert_to_numpy(encoder.get_layer(name).weights[0])


def test_imagenet_weights_are_downloaded_and_carried(file_server, write_published_h5, monkeypatch):
    folder, url = file_server
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", f"{url}/")
    plain = build_encoder("mobilenet", (None, None, 3))
    path = write_published_h5(folder / "mobilenet_1_0_224_tf_no_top.h5", plain)
    encoder = build_encoder("mobilenet", (None, None, 1), encoder_weights="imagenet", freeze_encoder=True)
    assert not encoder.trainable_weights
    with h5py.File(path) as file:
        expected = file["conv1/conv1/kernel:0"][:].sum(axis=2, keepdims=True)
        np.testing.assert_allclose(_kernel(encoder, "conv1"), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(_kernel(encoder, "conv_pw_13"), file["conv_pw_13/conv_pw_13/kernel:0"])


def test_caffe_weights_read_red_green_blue(file_server, write_published_h5, monkeypatch):
    folder, url = file_server
    whole = keras.applications.VGG16(include_top=False, weights=None)
    path = write_published_h5(folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", whole)
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr("keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP", f"{url}/{path.name}")
    get_file = keras.utils.get_file
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file",
        lambda *arguments, **options: get_file(*arguments, **{**options, "file_hash": checksum}),
    )
    encoder = build_encoder("vgg16", (None, None, 3), encoder_weights="imagenet")
    with h5py.File(path) as file:
        blue_green_red = file["block1_conv1/block1_conv1/kernel:0"][:]
    np.testing.assert_array_equal(_kernel(encoder, "block1_conv1"), blue_green_red[:, :, ::-1])


def test_every_variant_of_keras_applications_is_known_to_it():
    assert all(hasattr(keras.applications, builder) for builder, *_ in applications.APPLICATIONS.values())
