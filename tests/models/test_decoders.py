"""Decoders over encoders: the references' counts and outputs, any encoder, and what each decoder adds of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.branch2_unet import LinearInterpolation, PlaceChannels
from maskzoo.models.daformer import LearnedMix
from maskzoo.models.encoders.mit import mix_transformer
from maskzoo.models.fine_grained_unet import locate_and_refine
from maskzoo.models.pspnet import AverageBins, ResizeLike
from maskzoo.models.unet_aspp_fpn import AlikeInFours, PixelShuffle

# Keras 3.15 hands its own variables to numpy.array without the copy keyword when it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

# All and trainable parameters for one class, three channels unless said: segmentation-models 1.0.1, transformers 5.23,
# and the public HuBMAP solutions with timm's encoders.
REFERENCES = [
    ("backbone_unet", {"encoder": "resnet18"}, 14340570, 14330644),
    ("backbone_unet", {"encoder": "vgg16"}, 23752273, 23748241),
    ("backbone_unet", {"encoder": "resnet34", "up": "transpose"}, 25678298, 25660948),
    ("fpn", {"encoder": "resnet18"}, 13815370, 13805124),
    ("linknet", {"encoder": "resnet18"}, 11521690, 11511668),
    ("linknet", {"encoder": "vgg16"}, 20325137, 20318321),
    ("pspnet", {"encoder": "resnet18"}, 2079946, 2073028),
    ("segformer", {"encoder": "mit_b1"}, 13677505 + 2 * 256, 13677505),
    ("daformer", {"encoder": "coat_lite_mini"}, 14518340, 14515140),
    ("daformer", {"encoder": "coat_small", "fuse_kernel_size": 1}, 22143148, 22139948),
    ("unet_aspp_fpn", {"encoder": "efficientnet_b0"}, 8215549, 8171357),
]
# Trainable parameters of decoder and head, segmentation_models_pytorch 0.6.0.
DEEPLAB = {"resnet18": 1152785, "mit_b0": 816657, "efficientnet_b0": 899921}

SMALL = {
    "backbone_unet": {"decoder_filters": [8, 8, 8, 8, 8]},
    "daformer": {"decoder_filters": 8},
    "deeplabv3plus": {"decoder_filters": 8},
    "fpn": {"pyramid_filters": 8},
    "linknet": {"final_filters": 4},
    "pspnet": {"pyramid_filters": 8},
    "segformer": {"decoder_filters": 8},
    "unet_aspp_fpn": {"aspp_filters": 16, "decoder_filters": [8, 8, 8, 8], "pyramid_filters": 4},
    "upernet": {"decoder_filters": 8},
}
every_decoder = pytest.mark.parametrize("name", SMALL)


def _encoder(input_shape=(None, None, 3)):
    return mix_transformer(input_shape, (4, 8, 10, 16), (1, 1, 1, 1))


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(("name", "options", "total", "trainable"), REFERENCES)
def test_parameter_counts_are_those_of_the_reference(name, options, total, trainable):
    assert analysis.parameters(models.build_model(name, (None, None, 3), 1, **options)) == (total, trainable)


def test_parameter_counts_follow_the_number_of_channels():
    # segmentation-models: 7x7 kernels of 64 filters, and the image's own normalisation, for two channels less.
    model = models.build_model("backbone_unet", (None, None, 1), 1, encoder="resnet34")
    assert analysis.parameters(model) == (24449876, 24432530)


@pytest.mark.parametrize("encoder", DEEPLAB)
def test_deeplab_counts_are_those_of_the_reference(encoder):
    _, trainable = analysis.parameters(models.build_model("deeplabv3plus", (None, None, 3), 1, encoder=encoder))
    _, of_encoder = analysis.parameters(models.build_encoder(encoder, (None, None, 3)))
    assert trainable - of_encoder == DEEPLAB[encoder]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "reference", "options", "reference_options"),
    [
        ("backbone_unet", "Unet", {}, {}),
        ("backbone_unet", "Unet", {"up": "transpose"}, {"decoder_block_type": "transpose"}),
        ("fpn", "FPN", {"aggregation": "sum"}, {"pyramid_aggregation": "sum"}),
        ("fpn", "FPN", {}, {}),
        ("linknet", "Linknet", {}, {}),
        ("linknet", "Linknet", {"up": "transpose"}, {"decoder_block_type": "transpose"}),
        ("pspnet", "PSPNet", {}, {}),
    ],
)
def test_outputs_are_those_of_segmentation_models_with_the_same_weights(
    name, reference, options, reference_options, monkeypatch
):
    monkeypatch.setenv("SM_FRAMEWORK", "tf.keras")
    import segmentation_models

    shape = (96, 96, 3)
    ours = models.build_model(name, shape, 2, encoder="resnet18", **options)
    theirs = getattr(segmentation_models, reference)(
        "resnet18", input_shape=shape, classes=2, activation="linear", encoder_weights=None, **reference_options
    )
    rng = np.random.default_rng(2)
    weights = [rng.uniform(0.5, 1.5, x.shape) if x.ndim == 1 else x for x in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    images = _images(1, *shape)
    expected = _numpy(theirs(images))
    np.testing.assert_allclose(_numpy(ours(images)), expected, atol=1e-5 * np.abs(expected).max())


@every_decoder
def test_a_model_that_starts_at_stride_4_serves_as_encoder(name):
    model = models.build_model(name, (None, None, 3), 2, encoder=_encoder(), **SMALL[name])
    for size in ((64, 96), (32, 32)):
        logits = _numpy(model(_images(1, *size, 3)))
        assert logits.shape == (1, *size, 2)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()


@every_decoder
def test_an_activation_gives_probabilities(name):
    logits = models.build_model(name, (32, 64, 3), 2, encoder=_encoder((32, 64, 3)), **SMALL[name])
    shares = models.build_model(
        name, (32, 64, 3), 2, encoder=_encoder((32, 64, 3)), activation="softmax", **SMALL[name]
    )
    shares.set_weights(logits.get_weights())
    images = _images(1, 32, 64, 3)
    expected = keras.ops.softmax(logits(images))
    np.testing.assert_allclose(_numpy(shares(images)), _numpy(expected), atol=1e-5)


@every_decoder
def test_a_frozen_encoder_leaves_the_decoder_to_train(name):
    model = models.build_model(name, (None, None, 3), encoder=_encoder(), freeze_encoder=True, **SMALL[name])
    names = {layer.name for layer in _encoder().layers}
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trained
    assert not trained & names


@every_decoder
def test_encoders_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected axis 0 to be a multiple of 32.*received 48"):
        models.build_model(name, (48, 64, 3), **SMALL[name])
    with pytest.raises(ValueError, match=f"encoder of {name}: expected a model for images .*1.*received"):
        models.build_model(name, (None, None, 1), encoder=_encoder(), **SMALL[name])
    with pytest.raises(ValueError, match="encoder_weights: expected None beside a model"):
        models.build_model(name, (None, None, 3), encoder=_encoder(), encoder_weights="imagenet", **SMALL[name])
    with pytest.raises(ValueError, match="encoder: expected one of"):
        models.build_model(name, (None, None, 3), encoder="resnet35", **SMALL[name])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("backbone_unet", {"up": "linear"}, "up: expected one of nearest, transpose; received linear"),
        ("backbone_unet", {"decoder_filters": [8, 8]}, "decoder_filters: expected 5 numbers; received 2"),
        ("linknet", {"up": "linear"}, "up: expected one of"),
        ("fpn", {"aggregation": "max"}, "aggregation: expected one of concat, sum; received max"),
        ("pspnet", {"downsample_factor": 3}, "downsample_factor: expected one of 4, 8, 16, 32; received 3"),
        ("deeplabv3plus", {"output_stride": 8}, "output_stride: expected one of 16, 32; received 8"),
        ("unet_aspp_fpn", {"decoder_filters": [8]}, "decoder_filters: expected 4 numbers; received 1"),
        ("unet_aspp_fpn", {"groups": 3}, "groups: expected a divisor of the 16 deepest channels"),
    ],
)
def test_options_are_refused_with_what_was_expected(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, (None, None, 3), encoder=_encoder(), **{**SMALL[name], **options})


def test_deeplab_dilates_the_last_stage_of_a_resnet():
    for stride in (16, 32):
        model = models.build_model("deeplabv3plus", (64, 64, 3), encoder="resnet18", output_stride=stride)
        assert model.get_layer("relu1").output.shape[1:3] == (64 // stride, 64 // stride)
        assert model.output_shape == (None, 64, 64, 1)


def test_weights_reach_the_encoder_inside_a_model(tmp_path):
    encoder = models.build_encoder("mit_b0", (None, None, 3))
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    model = models.build_model("segformer", (None, None, 3), encoder_weights=tmp_path / "encoder.weights.h5")
    for layer in encoder.layers:
        for one, other in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("size", "bins"), [((12, 6), 6), ((7, 5), 3), ((2, 4), 6), ((9, 9), 1)])
def test_bins_average_over_their_share_of_the_image(size, bins):
    image = _images(2, *size, 3)
    found = _numpy(AverageBins(bins)(image))
    for row, column in np.ndindex(bins, bins):
        # The rule of PyTorch's adaptive pooling: from the floor of the share's start to the ceiling of its end.
        rows, columns = (
            slice(index * length // bins, -(-(index + 1) * length // bins))
            for index, length in zip((row, column), size, strict=True)
        )
        np.testing.assert_allclose(found[:, row, column], image[:, rows, columns].mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("size", [(6, 6), (7, 20), (3, 1)])
def test_small_maps_are_resized_linearly(size):
    small = _images(2, 3, 6, 2)
    found = ResizeLike()([small, np.zeros((2, *size, 5), "float32")])
    np.testing.assert_allclose(_numpy(found), tf.image.resize(small, size).numpy(), atol=1e-5)


def test_pooled_pyramids_export_with_free_sizes_that_do_not_divide(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, ResizeLike()([AverageBins(6)(image), image]))
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in ((16, 20), (7, 5)):
        images = _images(1, *size, 3)
        np.testing.assert_allclose(_numpy(exported.serve(images)), _numpy(model(images)), atol=1e-5)


def test_the_learned_mix_goes_from_the_second_tensor_to_the_first():
    first, second = _images(1, 2, 2, 1), _images(1, 2, 2, 1) + 1
    mix = LearnedMix()
    np.testing.assert_allclose(_numpy(mix([first, second])), (first + second) / 2, rtol=1e-6)
    mix.mix.assign(0.25)
    np.testing.assert_allclose(_numpy(mix([first, second])), first / 4 + second * 3 / 4, rtol=1e-6)


def test_pixel_shuffle_spreads_groups_of_channels_over_2x2_pixels():
    x = np.arange(8, dtype="float32").reshape(1, 1, 1, 8)
    found = _numpy(PixelShuffle()(x))
    np.testing.assert_array_equal(found[0], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    start = keras.layers.Conv2D(8, 1, kernel_initializer=AlikeInFours())
    grown = _numpy(PixelShuffle()(start(_images(1, 3, 3, 4))))
    np.testing.assert_array_equal(grown, np.repeat(np.repeat(grown[:, ::2, ::2], 2, 1), 2, 2))


def test_a_branch_of_one_channel_over_64_channels_at_stride_4_has_130_parameters():
    options = {"encoder": "resnet18"}
    trunk = models.build_model("backbone_unet", (None, None, 2), 4, **options)
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk_options=options, channels=[1])
    assert model.count_params() - trunk.count_params() == 130


@pytest.mark.parametrize("channels", [[1], [0, 3]])
def test_a_new_branch_leaves_the_trunk_as_it_is_and_a_trained_one_changes_its_channels_alone(channels):
    trunk = models.build_model("unet_padded", (None, None, 2), 4, filters=(4, 6, 8))
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk=trunk, level=2, channels=channels)
    images = _images(1, 16, 24, 2)
    before = _numpy(trunk(images))
    np.testing.assert_array_equal(_numpy(model(images)), before)
    model.get_layer("branch_conv").bias.assign([1.0] * len(channels))
    change = _numpy(model(images)) - before
    assert set(np.flatnonzero(np.abs(change).max((0, 1, 2)) > 0.1)) == set(channels)


def test_a_branch_interpolates_linearly_at_first():
    for size in ((5, 7), (3, 4, 5)):
        kind = {2: keras.layers.Conv2DTranspose, 3: keras.layers.Conv3DTranspose}[len(size)]
        layer = kind(2, 8, strides=4, padding="same", kernel_initializer=LinearInterpolation())
        x = _images(1, *size, 2)
        inner = (slice(None), *[slice(4, -4)] * len(size))
        np.testing.assert_allclose(_numpy(layer(x))[inner], _enlarged(x)[inner], atol=1e-5)


def _enlarged(x):
    for axis in range(1, x.ndim - 1):
        length = x.shape[axis]
        position = np.clip((np.arange(4 * length) + 0.5) / 4 - 0.5, 0, length - 1)
        below = np.minimum(position.astype(int), length - 2)
        share = (position - below).reshape([-1 if each == axis else 1 for each in range(x.ndim)])
        x = np.take(x, below, axis) * (1 - share) + np.take(x, below + 1, axis) * share
    return x


def test_channels_are_placed_among_zeros():
    found = PlaceChannels((2, 0), 4)(np.array([[5.0, 7.0]], "float32"))
    np.testing.assert_array_equal(_numpy(found), [[7, 0, 5, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [4]}, "channels: expected different ones from 0 to 3; received"),
        ({"channels": [1, 1]}, "channels: expected different ones"),
        ({"level": 3}, "level: expected one of the strides 1, 2, 4 of unet_padded; received 3"),
        ({"level": "nowhere"}, "level: expected a stride, or the name of a layer of unet_padded; received nowhere"),
    ],
)
def test_branches_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(
            "branch2_unet", (None, None, 2), 4, trunk="unet_padded", trunk_options={"filters": (4, 6, 8)}, **options
        )


def test_both_images_of_a_fine_grained_unet_share_one_trunk():
    options = {"trunk": "backbone_unet", "trunk_options": {"encoder": "resnet18"}}
    model = models.build_model("fine_grained_unet", (None, None, 3), **options)
    trunk = models.build_model("backbone_unet", (None, None, 3), 1, encoder="resnet18")
    # By default heads of 2 and 1 classes, 3x3 kernels on 16 channels, instead of the trunk's own head of one class.
    assert model.count_params() - trunk.count_params() == 2 * (9 * 16 + 1)
    image, region = _images(1, 32, 64, 3), _images(1, 32, 64, 3) + 1
    outputs = model([image, region])
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "mask": (1, 32, 64, 2),
        "fine": (1, 32, 64, 1),
    }
    other = model([image, image])
    np.testing.assert_array_equal(_numpy(outputs["mask"]), _numpy(other["mask"]))
    assert np.abs(_numpy(outputs["fine"]) - _numpy(other["fine"])).max() > 1e-4


def _reader():
    """Returns a fine-grained model that reads its logits off the image: the mask off channel 0, the rest off 1."""
    image = keras.Input((None, None, 2))
    model = models.build_model(
        "fine_grained_unet", (None, None, 2), 1, trunk=keras.Model(image, keras.layers.Identity()(image))
    )
    for channel, name in enumerate(("mask", "fine")):
        kernel = np.zeros((3, 3, 2, 1))
        kernel[1, 1, channel] = 1
        model.get_layer(name).set_weights([kernel, np.zeros(1)])
    return model


def test_the_tiny_structure_is_sought_around_the_large_one_and_put_back_in_its_place():
    image = -np.ones((32, 40, 2), "float32")
    image[8:16, 20:30, 0] = 1
    image[..., 1] = np.linspace(-1, 1, 32)[:, None] + np.linspace(0, 1, 40)
    mask, fine, box = locate_and_refine(_reader(), image, margin=2)
    np.testing.assert_array_equal(mask[..., 0], image[..., 0])
    assert box == (6, 18, 18, 32)
    # Resized to the full size and back, a plane stays what it was but for the clamped border.
    np.testing.assert_allclose(fine[8:16, 20:30, 0], image[8:16, 20:30, 1], atol=1e-2)
    outside = np.ones((32, 40), bool)
    outside[6:18, 18:32] = False
    assert np.isneginf(fine[outside]).all()
    assert np.isfinite(fine[~outside]).all()


def test_the_region_ends_at_the_image_and_is_absent_without_a_large_structure():
    image = -np.ones((16, 16, 2), "float32")
    _, fine, box = locate_and_refine(_reader(), image)
    assert box is None
    assert np.isneginf(fine).all()
    image[0, 15] = 1
    assert locate_and_refine(_reader(), image, margin=3)[2] == (0, 4, 12, 16)


def test_a_trunk_of_several_outputs_is_refused():
    image = keras.Input((None, None, 1))
    with pytest.raises(ValueError, match="trunk of fine_grained_unet: expected one output; received 2"):
        models.build_model("fine_grained_unet", (None, None, 1), trunk=keras.Model(image, [image, image]))
