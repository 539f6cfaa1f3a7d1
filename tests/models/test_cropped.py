"""A part of a mask is the same where it alone is computed, whatever the architecture, and costs less."""

import gc
import weakref

import keras
import numpy as np
import pytest
from random_weights import randomised
from small_models import build_encoder, small

from maskzoo import models
from maskzoo.errors import OptionError
from maskzoo.models import analysis

# In the middle, and at both ends of the image, where padding counts.
PARTS = ((0.35, 0.6), (0.0, 0.25), (0.7, 1.0))
SIDE = {2: 96, 3: 24}


def masks(model, images):
    answer = model.predict_on_batch(images)
    return answer["mask"] if isinstance(answer, dict) else answer[0] if isinstance(answer, list) else answer


def check_parts(model, least_saving):
    """Compares parts of the mask with the whole of it; the one in the middle costs less by the given share."""
    geometry, rng = analysis.geometry(model), np.random.default_rng(3)
    side = SIDE[len(geometry.stride)]
    size = [rule.at_least(side + lost) for rule, lost in zip(geometry.rules, geometry.crop, strict=True)]
    images = [rng.normal(size=(2, *size, x.shape[-1])).astype("float32") for x in model.inputs]
    images = images if len(images) > 1 else images[0]
    whole = masks(model, images)
    for ends in PARTS:
        part = [tuple(int(share * n) for share in ends) for n in whole.shape[1:-1]]
        copy = models.cropped(model, size, part)
        wanted = whole[(slice(None), *(slice(*span) for span in part))]
        np.testing.assert_allclose(masks(copy, images), wanted, rtol=0, atol=2e-6 * np.abs(whole).max())
        if ends == PARTS[0]:
            assert analysis.needed(model, size, part).work <= 1 - least_saving


# The share of its products that each model is spared at least; those whose encoder sees the whole image are spared the
# decoder's.
SAVINGS = {
    "deeplabv3": 0.0,
    "deeplabv3plus": 0.1,
    "lraspp": 0.0,
    "nnunet": 0.0,
    "pspnet": 0.01,
    "resunet_a": 0.1,
    "segformer": 0.1,
    "segresnet": 0.0,
    "u2net": 0.1,
    "unetr": 0.0,
    "vnet3d": 0.1,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models())
def test_a_part_is_computed_as_in_the_whole(name):
    free = (None,) * len(small(name).sizes[0])
    keras.utils.set_random_seed(0)
    model = randomised(models.build_model(name, (*free, small(name).channels), 2, **small(name).options))
    check_parts(model, SAVINGS.get(name, 0.2))


def test_slices_that_lie_in_the_batch_are_computed_as_in_the_whole():
    network = models.build_model("unet_padded", (None, None, 1), 2, filters=[4, 8])
    model = randomised(models.inflate_25d(network, 3))
    images = np.random.default_rng(3).normal(size=(2, 48, 48, 5, 1)).astype("float32")
    whole = masks(model, images)
    for part in [((8, 24), (16, 24), (1, 4)), ((0, 8), (40, 48), (0, 1)), ((0, 48), (0, 48), (4, 5))]:
        copy = models.cropped(model, (48, 48, 5), part)
        wanted = whole[(slice(None), *(slice(*span) for span in part))]
        np.testing.assert_allclose(masks(copy, images), wanted, rtol=0, atol=2e-6 * np.abs(whole).max())
    one, five = (analysis.needed(model, (48, 48, n), ((8, 24), (16, 24), (0, 1))) for n in (1, 5))
    # As much of the whole, which is five times as much.
    assert one.work < 0.5
    assert five.work == pytest.approx(one.work)
    assert five.peak_bytes > 4 * one.peak_bytes


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mit", "swin", "coat", "resnet18", "densenet121", "mobilenetv2", "inceptionv3"])
def test_a_part_of_a_pyramid_is_computed_as_in_the_whole(family):
    encoder = build_encoder(family, (None, None, 3))
    model = models.build_model("fpn", (None, None, 3), 2, encoder=encoder, pyramid_filters=8)
    check_parts(randomised(model), 0.0)


@pytest.mark.parametrize("operation", ["crop", "zeros", "even", "dilated", "transposed", "average"])
def test_layers_that_move_their_elements(operation):
    layers = keras.layers
    x = image = keras.Input((None, None, 2))
    x = layers.Conv2D(3, 3, padding="same")(x)
    x = {
        "crop": layers.Cropping2D(((3, 5), (0, 7))),
        "zeros": layers.ZeroPadding2D(((3, 0), (1, 6))),
        "even": layers.Conv2D(4, (4, 2), strides=(3, 2), padding="same"),
        "dilated": layers.Conv2D(4, 3, dilation_rate=3, padding="valid"),
        "transposed": layers.Conv2DTranspose(4, (5, 2), strides=(2, 3), padding="valid"),
        "average": layers.AveragePooling2D(3, strides=2, padding="same"),
    }[operation](x)
    model = randomised(keras.Model(image, layers.Conv2D(2, 3, padding="same")(x)))
    images = np.random.default_rng(0).normal(size=(1, 61, 47, 2)).astype("float32")
    whole = model.predict_on_batch(images)
    rows, columns = whole.shape[1:3]
    for part in (((5, 9), (7, 8)), ((0, 3), (columns - 2, columns)), ((rows - 4, rows), (0, columns))):
        found = models.cropped(model, (61, 47), part).predict_on_batch(images)
        wanted = whole[:, slice(*part[0]), slice(*part[1])]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(whole).max())


def test_the_work_is_that_of_the_copy():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8, 16))
    part = ((40, 88), (40, 88))
    copy = models.cropped(model, (128, 128), part)
    products = [analysis.multiply_adds(each, (128, 128, 3)) for each in (copy, model)]
    assert analysis.needed(model, (128, 128), part).work == pytest.approx(products[0] / products[1], rel=1e-6)


def test_a_model_is_as_before_beside_its_copies(tmp_path):
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8))
    models.cropped(model, (32, 32), ((8, 16), (8, 16)))
    assert all(analysis.is_called_once(layer) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    images = np.ones((1, 32, 32, 3), "float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))


def test_a_copy_has_the_weights_that_its_model_has_later():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8))
    copy = models.cropped(model, (32, 32), ((8, 16), (8, 16)))
    randomised(model)
    images = np.ones((1, 32, 32, 3), "float32")
    np.testing.assert_allclose(
        copy.predict_on_batch(images), model.predict_on_batch(images)[:, 8:16, 8:16], rtol=1e-5, atol=1e-5
    )
    assert models.cropped(model, (32, 32), ((8, 16), (8, 16))) is copy


def test_a_part_outside_the_mask_is_refused():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8))
    with pytest.raises(OptionError, match="part: expected a part of a mask of"):
        models.cropped(model, (32, 32), ((8, 40), (0, 8)))


SIZE, PART = (40, 36), ((10, 20), (5, 9))


def check_graph(inputs, outputs, images=None):
    """Compares a part of the first output of a graph with the whole of it."""
    model = randomised(keras.Model(inputs, outputs))
    if images is None:
        images = np.random.default_rng(0).normal(size=(2, *SIZE, model.inputs[0].shape[-1])).astype("float32")
    wanted = masks(model, images)[:, slice(*PART[0]), slice(*PART[1])]
    found = models.cropped(model, SIZE, PART).predict_on_batch(images)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def same_conv(name=None, filters=2):
    return keras.layers.Conv2D(filters, 3, padding="same", name=name)


def test_names_that_keras_has_given_before():
    image = keras.Input((None, None, 2), name="image")
    x = same_conv("image_cropped", 4)(image)
    x = keras.layers.Subtract(name="cut_0")([x[..., :2], x[..., 2:]])
    outputs = same_conv("out")(x)
    keras.backend.clear_session()  # as in a new process: Keras counts names from 0 again
    check_graph(image, outputs)


def test_models_inside_whose_layers_have_equal_names():
    def inner(name):
        x = keras.Input((None, None, 2), name="features")
        return keras.Model(x, same_conv("conv")(x), name=name)

    image = keras.Input((None, None, 2))
    first, second = inner("first"), inner("second")
    check_graph(image, same_conv("conv")(second(first(image))))
    assert first.layers[1].name == second.layers[1].name == "conv"


def test_a_model_inside_of_which_one_call_is_not_needed():
    x = keras.Input((None, None, 2))
    shared = keras.Model(x, same_conv()(same_conv()(x)))
    image = keras.Input((None, None, 4))
    label = keras.layers.GlobalAveragePooling2D()(shared(image[..., :2]))
    check_graph(image, {"mask": shared(image[..., 2:]), "label": label})


@pytest.mark.parametrize("position", ["constant", "rescaling", "batch_normalization"])
def test_numbers_for_every_position(position):
    image = keras.Input((*SIZE, 2))
    x = same_conv()(image)
    field = np.random.default_rng(1).normal(size=(*SIZE, 2)).astype("float32")
    x = {
        "constant": lambda: x * field[..., :1],
        "rescaling": lambda: keras.layers.Rescaling(field)(x),
        "batch_normalization": lambda: keras.layers.BatchNormalization(axis=1)(x),
    }[position]()
    check_graph(image, same_conv()(x))


@pytest.mark.parametrize("shape", ["folded", "scalar", "unknown"])
def test_tensors_that_are_no_images(shape):
    image = keras.Input((*SIZE, 2))
    x = same_conv()(image)
    ops = keras.ops
    x = {
        "folded": lambda: ops.reshape(same_conv()(ops.reshape(x, (-1, SIZE[0] // 2, SIZE[1], 2))), (-1, *SIZE, 2)),
        "scalar": lambda: x * ops.reshape(ops.mean(x, axis=(1, 2, 3)), (-1, 1, 1, 1)),
        "unknown": lambda: keras.layers.EinsumDense("bhwc,cd->bhwd", output_shape=(None, None, 2))(x),
    }[shape]()
    check_graph(image, same_conv()(x))


def test_several_inputs_in_a_dict():
    inputs = {"b": keras.Input((None, None, 2), name="b"), "a": keras.Input((3,), name="a")}
    x = keras.layers.Add()([same_conv(filters=3)(inputs["b"]), keras.layers.Reshape((1, 1, 3))(inputs["a"])])
    rng = np.random.default_rng(0)
    images = {"b": rng.normal(size=(2, *SIZE, 2)).astype("float32"), "a": rng.normal(size=(2, 3)).astype("float32")}
    model = randomised(keras.Model(inputs, same_conv()(x)))
    wanted = model.predict_on_batch(images)[:, slice(*PART[0]), slice(*PART[1])]
    found = models.cropped(model, SIZE, PART).predict_on_batch([images["a"], images["b"]])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((None, None, 2)), same_conv(), same_conv()])
    randomised(model)
    images = np.random.default_rng(0).normal(size=(1, *SIZE, 2)).astype("float32")
    wanted = model.predict_on_batch(images)[:, slice(*PART[0]), slice(*PART[1])]
    found = models.cropped(model, SIZE, PART).predict_on_batch(images)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_copies_end_with_their_model():
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8))
    copy = models.cropped(model, (32, 32), ((8, 16), (8, 16)))
    copy.predict_on_batch(np.ones((1, 32, 32, 3), "float32"))
    alive = weakref.ref(model), weakref.ref(copy)
    del model, copy
    for _ in range(2):  # the second time for what the end of the model set free
        gc.collect()
    assert [each() for each in alive] == [None, None]


def test_tensorflow_does_not_complain_of_many_copies(caplog):
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1)])
    images = np.ones((1, 8, 8, 1), "float32")
    for first in range(7):
        models.cropped(model, (8, 8), ((first, first + 1), (0, 8))).predict_on_batch(images)
    assert "retracing" not in caplog.text
