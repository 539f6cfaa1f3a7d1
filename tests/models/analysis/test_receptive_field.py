"""What a model sees, against what a perturbed input changes."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.blocks import LinearUpsampling


@pytest.fixture
def float64():
    """Double precision, in which sums over another neighbourhood of zeros do not differ by rounding."""
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def functional(build, spatial_dims=1, name="net"):
    inputs = keras.Input((*[None] * spatial_dims, 1), name="image")
    return keras.Model(inputs, build(inputs), name=name)


def conv(x, kernel=3, strides=1, dilation=1, padding="valid", filters=1):
    kind = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[x.ndim - 2]
    return kind(filters, kernel, strides=strides, dilation_rate=dilation, padding=padding, activation="relu")(x)


def up_conv(kernel, stride, padding, **options):
    return layers.Conv1DTranspose(1, kernel, strides=stride, padding=padding, **options)


def small_unet(x):
    skip = conv(x, padding="same")
    x = conv(layers.MaxPooling1D(2)(skip), padding="same")
    x = up_conv(3, 2, "same")(x)
    return conv(layers.Concatenate()([skip, x]), 2, padding="same")


def small_valid_unet(x):
    skip = conv(x)
    x = conv(layers.MaxPooling1D(2)(skip))
    x = layers.UpSampling1D(2)(x)
    return conv(layers.Concatenate()([layers.Cropping1D(2)(skip), x]))


def resnet_stem(x):
    """Padded by hand, as the residual networks of other frameworks are: floors that do not divide."""
    x = skip = conv(layers.ZeroPadding1D(3)(x), 7, 2)
    x = layers.MaxPooling1D(3, 2)(layers.ZeroPadding1D(1)(x))
    x = layers.Concatenate()([skip, layers.UpSampling1D(2)(conv(x, padding="same"))])
    return layers.UpSampling1D(2)(x)


def crop_then_pad(x):
    return layers.Add()([conv(layers.Cropping1D(3)(x), 5, padding="same"), layers.Cropping1D((1, 5))(x)])


GRAPHS = {
    "identity": lambda x: conv(x, 1),
    "conv 3": conv,
    "conv 2 same": lambda x: conv(x, 2, padding="same"),
    "conv 4 valid": lambda x: conv(x, 4),
    "dilation": lambda x: conv(conv(x, 3, dilation=3, padding="same"), 2, dilation=2),
    "causal": lambda x: layers.Conv1D(1, 3, padding="causal", dilation_rate=2)(x),
    "separable": lambda x: layers.SeparableConv1D(2, 5, padding="same")(layers.DepthwiseConv1D(2)(x)),
    "pool 2": lambda x: layers.UpSampling1D(2)(layers.MaxPooling1D(2)(x)),
    "pool 3 stride 2 same": lambda x: layers.UpSampling1D(2)(layers.MaxPooling1D(3, 2, padding="same")(x)),
    "average 3 stride 1": lambda x: layers.AveragePooling1D(3, 1, padding="same")(x),
    "conv stride 3": lambda x: layers.UpSampling1D(3)(conv(x, 5, 3, padding="same")),
    "stride above kernel": lambda x: layers.UpSampling1D(4)(conv(x, 1, 4, padding="same")),
    "two strides": lambda x: layers.UpSampling1D(6)(conv(conv(x, 3, 2, padding="same"), 4, 3, padding="same")),
    "up then down": lambda x: conv(layers.UpSampling1D(2)(x), 3, 2, padding="same"),
    "up 3 then down 2": lambda x: layers.UpSampling1D(2)(conv(layers.UpSampling1D(3)(x), 3, 6, padding="same")),
    "transposed 2": lambda x: up_conv(2, 2, "same")(conv(x, 3, 2, padding="same")),
    "transposed 3": lambda x: up_conv(3, 2, "same")(conv(x, 2, 2)),
    "transposed 4": lambda x: up_conv(4, 2, "same")(layers.MaxPooling1D(2)(x)),
    "transposed 5 stride 3": lambda x: up_conv(5, 3, "same")(layers.MaxPooling1D(3)(x)),
    "transposed 3 valid": lambda x: layers.Cropping1D((0, 1))(up_conv(3, 2, "valid")(layers.MaxPooling1D(2)(x))),
    "transposed 4 cropped": lambda x: layers.Cropping1D(1)(up_conv(4, 2, "valid")(layers.MaxPooling1D(2)(x))),
    "transposed, output padding": lambda x: up_conv(3, 2, "same", output_padding=1)(layers.MaxPooling1D(2)(x)),
    "linear up 2": lambda x: LinearUpsampling(2)(conv(x, 3, 2, padding="same")),
    "linear up 3": lambda x: LinearUpsampling(3)(conv(x, 3, 3)),
    "linear up 4": lambda x: LinearUpsampling(4)(layers.MaxPooling1D(4)(x)),
    "padded by hand": lambda x: conv(layers.ZeroPadding1D((2, 0))(x), 3),
    "cropped": lambda x: layers.Cropping1D((0, 3))(x),
    "cropped at the start": lambda x: conv(layers.Cropping1D((4, 1))(x), padding="same"),
    "crop then pad": crop_then_pad,
    "valid then padded": lambda x: layers.ZeroPadding1D((0, 4))(conv(x, 5)),
    "operations": lambda x: ops.relu(2 * x + conv(x, padding="same")),
    "small unet": small_unet,
    "small valid unet": small_valid_unet,
    "resnet stem": resnet_stem,
    "nested": lambda x: functional(small_unet, name="b")(functional(small_unet, name="a")(x)),
    "sequential": lambda x: keras.Sequential([layers.Conv1D(1, 3, padding="same"), layers.ReLU()])(x),
}


GRAPHS_OF_MANY_AXES = {
    "anisotropic": (2, lambda x: layers.UpSampling2D((1, 2))(conv(x, (3, 5), (1, 2), padding="same"))),
    "bilinear": (2, lambda x: layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D(2)(x))),
    "bicubic": (2, lambda x: layers.UpSampling2D((4, 2), interpolation="bicubic")(layers.MaxPooling2D((4, 2))(x))),
    "transposed": (2, lambda x: layers.Conv2DTranspose(1, (4, 3), (2, 3), padding="same")(conv(x, (2, 3), (2, 3)))),
    "volume": (3, lambda x: LinearUpsampling((2, 2, 1))(conv(x, (3, 2, 3), (2, 2, 1), padding="same"))),
}


def positive(model, seed=0):
    """Gives a model positive weights, so that no ReLU is dead and a brighter pixel changes all that depends on it."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            positive(layer, seed + 1)
        elif getattr(layer, "activation", None) is keras.activations.sigmoid:
            layer.activation = keras.activations.softplus  # a sigmoid saturates and hides all but the nearest pixels
        elif not isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) / np.prod(w.shape[:-1]) for w in layer.get_weights()])
    return model


def run(model, images):
    return ops.convert_to_numpy(model(images, training=False))


def dependence(model, shape, axis=0, batch=32):
    """Returns a boolean matrix (output size, input size) along one axis: which input plane changes which output."""
    image = np.ones((*shape, 1))
    plain = run(model, image[None])[0]
    others = tuple(other + 1 for other in range(len(shape) + 1) if other != axis)
    changed = []
    for start in range(0, shape[axis], batch):
        planes = range(start, min(start + batch, shape[axis]))
        stack = np.stack([image] * len(planes))
        for one, plane in zip(stack, planes, strict=True):
            # Far more than the faintest path weakens it, and small enough for single precision.
            np.moveaxis(one, axis, 0)[plane] = 1e28
        changed.append((np.abs(run(model, stack) - plain) > 1e-6 * np.abs(plain)).any(axis=others))
    return np.concatenate(changed).T


def assert_geometry(model, shape, axis=0):
    """Compares every number of the geometry with the dependence found by perturbation."""
    geometry = analysis.geometry(model)
    assert not geometry.is_global
    matrix = dependence(positive(model), shape, axis)
    stride, offset, halo = geometry.stride[axis], geometry.offset[axis], geometry.halo[axis]
    assert geometry.crop[axis] == shape[axis] - len(matrix)
    # Away from the border, where padding hides what an element would see.
    border = max(*halo, *geometry.tile_halo[axis]) + stride
    rows = [row for row in range(len(matrix)) if border <= row + offset < shape[axis] - border]
    assert len(rows) >= 1.5 * stride
    low = {row: np.flatnonzero(matrix[row])[0] for row in rows}
    high = {row: np.flatnonzero(matrix[row])[-1] for row in rows}
    assert geometry.receptive_field[axis] == max(high[row] - low[row] + 1 for row in rows)
    seen = max(row + offset - low[row] for row in rows), max(high[row] - row - offset for row in rows)
    assert halo == tuple(max(side, 0) for side in seen)
    assert all(low[row] + stride == low[row + stride] for row in rows if row + stride in low)


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
def test_sees_what_a_perturbed_element_changes(float64, build):
    model = functional(build)
    assert_geometry(model, (analysis.nearest_size(model, [70])[0],))


@pytest.mark.parametrize(("spatial_dims", "build"), GRAPHS_OF_MANY_AXES.values(), ids=GRAPHS_OF_MANY_AXES)
def test_sees_what_a_perturbed_plane_changes_along_every_axis(float64, spatial_dims, build):
    model = functional(build, spatial_dims)
    for axis in range(spatial_dims):
        assert_geometry(model, tuple(48 if other == axis else 12 for other in range(spatial_dims)), axis)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("unet", {"filters": [1] * 5, "dropout": 0}, (460, 188)),
        ("unet", {"filters": [1] * 3, "up": "upsample"}, (140, 44)),
        ("unet_padded", {"filters": [1] * 5}, (304, 16)),
        ("unet_padded", {"filters": [1] * 3, "up": "transpose", "residual": True}, (96, 8)),
        ("unet_plus_plus", {"filters": [1] * 3}, (96, 8)),
        ("unet_3plus", {"filters": [1] * 3, "branch_filters": 1}, (120, 8)),
        ("attention_unet", {"filters": [2] * 3}, (96, 8)),
        ("r2_unet", {"filters": [1] * 2, "recurrences": 1}, (96, 8)),
        ("resunet", {"filters": [1] * 3}, (96, 8)),
        ("unet25d", {"filters": [2] * 3}, (160, 8, 5)),
        ("unet3d", {"filters": [1] * 3}, (112, 44, 44)),
        ("unet3d_padded", {"filters": [1] * 3}, (96, 4, 4)),
        ("vnet", {"depth": 3, "start_filters": 2}, (240, 4)),
        ("vnet3d", {"start_filters": 4}, (216, 8, 8)),
        ("vnet3d_depthwise", {"depth": 3, "start_filters": 2}, (160, 4, 4)),
        ("vnet3d_plain", {"depth": 3, "start_filters": 2}, (240, 4, 4)),
    ],
)
def test_sees_what_a_perturbed_plane_changes_in_an_architecture(name, options, shape):
    assert_geometry(models.build_model(name, (*[None] * len(shape), 1), **options), shape)


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize(("start", "stop"), [(48, 96), (61, 74)])
def test_a_piece_of_the_input_gives_the_outputs_of_the_whole(float64, build, start, stop):
    model = positive(functional(build))
    geometry = analysis.geometry(model)
    stride, offset, rule = geometry.stride[0], geometry.offset[0], geometry.allowed(0)
    line = np.random.default_rng(1).random((1, rule.at_least(140), 1))
    first, last, skip = geometry.input_span(0, start, stop)
    assert first % stride == 0
    assert rule.allows(last - first)
    assert 0 <= first <= last <= line.shape[1], "the test needs a longer line"
    found = run(model, line[:, first:last])[:, skip : skip + stop - start]
    np.testing.assert_allclose(found, run(model, line)[:, start - offset : stop - offset], rtol=0, atol=1e-12)


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
def test_tile_halo_is_not_larger_than_needed(float64, build):
    """Cut by a step on either side, a piece lacks a place for an output of the block or gives it another value."""
    model = positive(functional(build))
    geometry = analysis.geometry(model)
    stride, offset, rule = geometry.stride[0], geometry.offset[0], geometry.allowed(0)
    start, stop = 48 * stride + offset, 64 * stride + offset
    before, after = geometry.tile_halo[0]
    # Rising towards the side that is cut, so that the largest of a pooling window lies there.
    line = 1.0 + np.arange(rule.at_least(128 * stride))[None, :, None]

    def block(line, first, last):
        outputs = run(model, line[:, first:last])[0]
        return outputs[start - offset - first :][: stop - start] if start - offset >= first else outputs[:0]

    if before:
        first = -(-(start - before + 1) // stride) * stride
        last = first + rule.at_least(stop + after - first)
        falling = line[:, ::-1]
        found, expected = block(falling, first, last), block(falling, 0, line.shape[1])
        assert len(found) < len(expected) or np.abs(found / expected - 1).max() > 1e-9
    if after:
        first, *_ = geometry.input_span(0, start, stop)
        last = max(size for size in range(first, stop + after) if rule.allows(size - first))
        found, expected = block(line, first, last), block(line, 0, line.shape[1])
        assert len(found) < len(expected) or np.abs(found / expected - 1).max() > 1e-9


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
def test_allowed_sizes_are_those_that_really_run(build):
    model = functional(build)
    geometry = analysis.geometry(model)
    rule, crop = geometry.allowed(0), geometry.crop[0]
    for size in range(1, 40):
        try:
            output_size = run(model, np.ones((1, size, 1), "float32")).shape[1]
        except Exception:
            output_size = 0
        if rule.allows(size):
            assert size - output_size == crop
        else:
            # Refused: it does not run, or gives an output that lies otherwise on the input.
            assert output_size < 1 or size - output_size != crop


def test_allowed_sizes_of_unet_are_those_of_the_paper():
    model = models.build_model("unet", (None, None, 1), filters=(1,) * 5)
    geometry = analysis.geometry(model)
    assert (geometry.offset, geometry.crop, geometry.stride) == ((92, 92), (184, 184), (16, 16))
    rule = geometry.allowed(0)
    assert (rule.multiple, rule.remainder, rule.minimum) == (16, 12, 188)
    assert analysis.nearest_size(model, (572, 573)) == (572, 588)
    analysis.check_size(model, (572, 188))
    # The paper's figure 2: a piece of 572 pixels gives the 388 that follow the first 92; these are whole blocks of 16.
    assert geometry.input_span(0, 92, 92 + 384) == (0, 572, 0)


def test_geometry_by_hand():
    geometry = analysis.geometry(functional(lambda x: conv(x, 3, padding="same"), 2))
    assert geometry.receptive_field == (3, 3)
    assert geometry.halo == geometry.tile_halo == ((1, 1), (1, 1))
    # A 2x2 convolution with same padding pads at the end, so that it looks one pixel ahead.
    geometry = analysis.geometry(functional(lambda x: conv(x, 2, padding="same")))
    assert geometry.halo == ((0, 1),)
    # Pooled pairs: the second pixel of a pair sees one pixel back, the first one ahead; a block of pairs sees itself.
    geometry = analysis.geometry(functional(lambda x: layers.UpSampling1D(2)(layers.MaxPooling1D(2)(x))))
    assert (geometry.halo, geometry.tile_halo, geometry.receptive_field) == (((1, 1),), ((0, 0),), (2,))


def test_an_axis_of_any_size_is_measured_for_all_its_paddings():
    """Same padding of a strided pooling depends on the parity of the size: (0, 1) or (1, 1) for a window of 3."""

    class CutLike(layers.Layer):
        def call(self, inputs):
            return inputs[0][:, : ops.shape(inputs[1])[1]]

    @analysis.register(CutLike)
    def _(layer, axis, x, like):
        return x.pad(0, like.size - x.size)

    def build(x):
        pooled = layers.MaxPooling1D(3, 2, padding="same")(x)
        return CutLike()([layers.UpSampling1D(2)(pooled), x])

    model = functional(build)
    geometry = analysis.geometry(model)
    assert [geometry.allowed(0).allows(size) for size in range(1, 9)] == [True] * 8
    # Output 2k sees 2k..2k+2 in an even line and 2k-1..2k+1 in an odd one; output 2k+1 sees the same.
    assert geometry.halo == ((2, 2),)
    assert geometry.receptive_field == (3,)
    line = np.random.default_rng(0).random((1, 40, 1), "float32")
    for start in (10, 11):
        first, last, skip = geometry.input_span(0, start, start + 5)
        found = run(model, line[:, first:last])[:, skip : skip + 5]
        np.testing.assert_array_equal(found, run(model, line)[:, start : start + 5])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((200, 188), "unet: expected axis 0 to be 16*k + 12, at least 188; received 200 (nearest: 188, 204)"),
        ((188, 12), "unet: expected axis 1 to be 16*k + 12, at least 188; received 12 (nearest: 188)"),
        ((188,), "unet: expected 2 spatial sizes; received (188,)"),
    ],
)
def test_a_wrong_size_is_refused(shape, message):
    model = models.build_model("unet", (None, None, 1), filters=(1,) * 5)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        analysis.check_size(model, shape)


def test_a_model_built_for_a_fixed_size_takes_no_other():
    inputs = keras.Input((8, None, 1))
    model = keras.Model(inputs, layers.UpSampling2D()(conv(inputs, 2, 2)), name="fixed")
    assert analysis.nearest_size(model, (5, 5)) == (8, 6)
    for refused, sizes in ((analysis.nearest_size, (9, 4)), (analysis.check_size, (6, 4))):
        with pytest.raises(ValueError, match=r"fixed: expected axis 0 to be 8; received \d \(nearest: 8\)"):
            refused(model, sizes)


def test_each_output_has_its_own_geometry():
    inputs = keras.Input((None, None, 1))
    deep = conv(inputs, 5, 2, padding="same")
    label = layers.Dense(1, name="label")(layers.GlobalMaxPooling2D(name="pool")(deep))
    mask = layers.UpSampling2D(name="up")(conv(deep, 1))
    model = keras.Model(inputs, {"label": label, "aux": deep, "mask": mask}, name="heads")
    geometry = analysis.geometry(model)
    assert not geometry.is_global
    assert geometry.crop == (0, 0)
    assert analysis.geometry(model, "label").global_layers == ("pool: GlobalMaxPooling2D pools the whole image",)
    assert analysis.geometry(model, "aux").receptive_field == (5, 5)
    with pytest.raises(ValueError, match="output: expected an output of heads: aux, label, mask; received edges"):
        analysis.geometry(model, "edges")


def test_several_inputs_are_taken():
    image, other, scale = keras.Input((None, None, 1)), keras.Input((None, None, 3)), keras.Input((1,))
    x = layers.Add()([conv(image, padding="same"), conv(other, 5, padding="same")])
    x = layers.Multiply()([x, layers.Reshape((1, 1, 1))(layers.Dense(1)(scale))])
    model = keras.Model([image, other, scale], x)
    geometry = analysis.geometry(model)
    assert not geometry.is_global
    assert geometry.receptive_field == (5, 5)
    assert analysis.multiply_adds(model, (8, 8, 1)) == 64 * (9 + 25 * 3) + 1


def test_tensors_that_never_agree_in_size_are_refused():
    model = functional(lambda x: layers.Add()([conv(x, 3), conv(x, 2)]))
    with pytest.raises(ValueError, match=r"net: expected tensors that agree in size .* received none"):
        analysis.geometry(model)


def test_vnet_sees_what_its_paper_says():
    """Milletari et al., "V-Net", 2016, table 1: theoretical receptive fields of the left stages."""
    model = models.build_model("vnet3d_paper", (None, None, None, 1), start_filters=2)
    for stage, seen in enumerate((5, 22, 72, 172, 372)):
        # The elementwise sum that ends a stage.
        part = keras.Model(model.input, model.get_layer(f"encoder{stage}_add").output)
        assert analysis.geometry(part).receptive_field == (seen,) * 3
