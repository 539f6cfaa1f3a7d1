"""Encoders: published sizes, any image size, published weights by name, other channels, blocks of one's own."""

import functools
import hashlib
import http.server
import json
import math
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.encoders import feature_strides, insert_blocks
from maskzoo.models.encoders import keras_applications as applications
from maskzoo.models.encoders.attention import GlobalAttention, gelu
from maskzoo.models.encoders.coat import FactorizedAttention, coat
from maskzoo.models.encoders.mit import mix_transformer
from maskzoo.models.encoders.resnet import resnet
from maskzoo.models.encoders.swin import WindowAttention, swin_transformer
from maskzoo.models.encoders.weights import published_range

# Keras 3.15 hands its own variables to numpy.array without the copy keyword when it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

# Trainable and all parameters without classifier. MiT and Swin: transformers 5.23 (SegformerModel, SwinBackbone);
# CoaT: timm 1.0.31 without the norms of its classifier; EfficientNet: timm's features; others: keras.applications.
PUBLISHED = {
    "mit_b1": (13151424, 13151424),
    "swin_small": (48840138, 48840138),
    "coat_mini": (10118704, 10118704),
    "coat_lite_mini": (10497536, 10497536),
    "coat_lite_medium": (44057024, 44057024),
    "efficientnet_b0": (3595388, 3634844),
    "efficientnet_b2": (7202562, 7267314),
    "resnet50": (23534592, 23587712),
    "resnet50v2": (23519360, 23564800),
    "vgg16": (14714688, 14714688),
    "densenet121": (6953856, 7037504),
    "mobilenetv2": (2223872, 2257984),
    "convnext_tiny": (27820128, 27820128),
}
# Multiplications and additions at 224 x 224 in thousands of millions: Swin, CoaT and ConvNeXt papers, tables 1 to 3.
COSTS = {"swin_tiny": 4.5, "coat_tiny": 4.4, "coat_lite_small": 4.0, "coat_lite_tiny": 1.6, "convnext_tiny": 4.5}

OURS = {
    "mit": lambda shape, **options: mix_transformer(shape, (4, 8, 10, 16), (1, 2, 1, 1), **options),
    "swin": lambda shape, **options: swin_transformer(shape, 6, (2, 2, 1, 2), 3, **options),
    "coat": lambda shape, **options: coat(shape, (8, 16, 16, 16), (1, 1, 2, 1), (2, 2, 2, 2), 2, **options),
    "coat_lite": lambda shape, **options: coat(shape, (8, 16, 24, 16), (1, 2, 1, 1), (2, 2, 2, 2), **options),
}
LIBRARIES = (
    "resnet18",
    "resnet50",
    "resnet50v2",
    "vgg16",
    "densenet121",
    "mobilenet",
    "mobilenetv2",
    "efficientnet_b0",
    "efficientnetv2_b0",
    "convnext_tiny",
)
TRAINED = ("resnet18", "vgg16", "mobilenet", "efficientnet_b0", "convnext_tiny")
every_family = pytest.mark.parametrize("family", [*OURS, *LIBRARIES])
families_in_training = pytest.mark.parametrize("family", [*OURS, *TRAINED])
our_family = pytest.mark.parametrize("family", OURS)


def _build(family, shape, **options):
    keras.utils.set_random_seed(0)
    return OURS[family](shape, **options) if family in OURS else models.build_encoder(family, shape, **options)


@functools.cache
def _encoder(family):
    return _build(family, (None, None, 2))


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _outputs(features):
    return [keras.ops.convert_to_numpy(feature) for feature in features]


def _assert_close(ones, others, atol=1e-5):
    for one, other in zip(_outputs(ones), _outputs(others), strict=True):
        np.testing.assert_allclose(one, other, atol=atol * max(1, np.abs(other).max()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    total, trainable = analysis.parameters(models.build_encoder(name, (None, None, 3)))
    assert (trainable, total) == PUBLISHED[name]


@pytest.mark.parametrize("name", COSTS)
def test_multiply_adds_are_the_published_ones(name):
    encoder = models.build_encoder(name, (None, None, 3))
    assert analysis.multiply_adds(encoder, (224, 224, 3)) / 1e9 == pytest.approx(COSTS[name], abs=0.1)


@every_family
def test_features_lie_at_the_strides_for_free_and_fixed_sizes(family):
    free = _encoder(family)
    fixed = _build(family, (64, 96, 2))
    strides = [2, 4, 8, 16, 32][-len(fixed.outputs) :]
    assert len(strides) == (4 if family in OURS or family.startswith("convnext") else 5)
    assert [feature.shape[1:3] for feature in fixed.outputs] == [(64 // stride, 96 // stride) for stride in strides]
    assert feature_strides(free) == feature_strides(fixed) == strides
    assert [layer.name for layer in fixed.layers] == [layer.name for layer in free.layers]
    fixed.set_weights(free.get_weights())
    images = _images(2, 64, 96, 2)
    features = free(images)
    assert all(np.isfinite(feature).all() for feature in _outputs(features))
    _assert_close(features, fixed(images))


@families_in_training
def test_one_gradient_step_lowers_the_loss_and_reaches_every_weight(family):
    encoder = _encoder(family)
    start = encoder.get_weights()
    images = _images(1, 64, 64, 2)

    def loss():
        return sum(tf.reduce_mean((feature - 1.0) ** 2) for feature in encoder(images))

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, [variable.value for variable in encoder.trainable_variables])
    assert not [w.path for w, g in zip(encoder.trainable_variables, gradients, strict=True) if g is None]
    # A step that lowers the loss by 1 % to first order.
    rate = 0.01 * before / sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    after = loss()
    encoder.set_weights(start)
    assert after < before


@families_in_training
def test_saves_and_loads_to_equal_features(family, tmp_path):
    encoder = _encoder(family)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    images = _images(1, 32, 64, 2)
    _assert_close(encoder(images), loaded(images), atol=1e-6)


@pytest.mark.parametrize("family", [*OURS, "efficientnet_b0", "convnext_tiny"])
def test_exports_to_a_saved_model_with_free_sizes(family, tmp_path):
    encoder = _encoder(family)
    encoder.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in ((64, 96), (32, 64)):
        images = _images(2, *size, 2)
        _assert_close(encoder(images), exported.serve(images))


@our_family
def test_one_transformer_takes_images_of_any_size(family):
    encoder = _encoder(family)
    for height, width in ((192, 160), (512, 512), (32, 32)):
        features = encoder(_images(1, height, width, 2))
        sizes = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
        assert [feature.shape[1:3] for feature in features] == sizes
        assert all(np.isfinite(feature).all() for feature in _outputs(features))


@every_family
def test_a_wrong_size_is_refused_with_the_nearest_right_ones(family):
    with pytest.raises(ValueError, match=r"expected axis 1 to be a multiple of 32.*received 70 \(nearest: 64, 96\)"):
        _build(family, (64, 70, 3))


@our_family
def test_stochastic_depth_acts_in_training_only(family):
    encoder = _build(family, (32, 32, 2), drop_path=0.9)
    images = _images(1, 32, 32, 2)
    _assert_close(encoder(images), encoder(images))
    *_, one = _outputs(encoder(images, training=True))
    *_, other = _outputs(encoder(images, training=True))
    assert np.abs(one - other).max() > 1e-3


def test_gelu_is_the_exact_one():
    values = np.linspace(-6, 6, 101, dtype="float32")
    expected = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values.astype(float)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gelu(values)), expected, atol=1e-6)


def _attend(query, keys, values, bias=0.0):
    scores = keys @ query / math.sqrt(len(query)) + bias
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


def test_global_attention_is_a_softmax_over_all_keys_in_each_head():
    query, key, value = _images(1, 2, 3, 6), _images(1, 2, 2, 6) + 1, _images(1, 2, 2, 6) - 1
    found = keras.ops.convert_to_numpy(GlobalAttention(2)([query, key, value]))
    for head in (slice(0, 3), slice(3, 6)):
        keys, values = key[0, ..., head].reshape(-1, 3), value[0, ..., head].reshape(-1, 3)
        for position in np.ndindex(2, 3):
            expected = _attend(query[(0, *position, head)], keys, values)
            np.testing.assert_allclose(found[(0, *position, head)], expected, atol=1e-5)


@pytest.mark.parametrize(("shift", "size"), [(0, (6, 9)), (1, (6, 9)), (1, (3, 6)), (2, (9, 5))])
def test_window_attention_is_attention_among_the_pixels_of_a_window(shift, size):
    window, heads, width = 3, 2, 4
    padded = [-(-length // window) * window for length in size]
    projections = _images(1, *padded, 3 * width)
    layer = WindowAttention(heads, window, shift)
    found = keras.ops.convert_to_numpy(layer([projections, np.zeros((1, *size, width), "float32")]))
    assert found.shape == (1, *size, width)
    table = keras.ops.convert_to_numpy(layer.table)

    def window_of(position):
        # The shift moves the windows' borders; the strip before the first border is a window of its own. An axis of a
        # single window stays whole.
        return tuple(
            (index + window - (shift if length > window else 0)) // window
            for index, length in zip(position, padded, strict=True)
        )

    query, key, value = np.split(projections[0], 3, axis=-1)
    for position in np.ndindex(*size):
        mates = [other for other in np.ndindex(*padded) if window_of(other) == window_of(position)]
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            bias = np.array(
                [
                    table[(position[0] - row + window - 1) * (2 * window - 1) + position[1] - column + window - 1, head]
                    for row, column in mates
                ]
            )
            keys, values = (np.array([x[mate][part] for mate in mates]) for x in (key, value))
            expected = _attend(query[position][part], keys, values, bias)
            np.testing.assert_allclose(found[0][position][part], expected, atol=1e-5)


def test_factorized_attention_weighs_a_summary_of_all_tokens():
    image, token = _images(1, 2, 3, 12), _images(1, 1, 1, 12)
    found = [x.reshape(-1, 4) for x in _outputs(FactorizedAttention(2)([image, token]))]
    tokens = np.concatenate([token.reshape(-1, 12), image.reshape(-1, 12)])
    query, key, value = np.split(tokens, 3, axis=1)
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(key[:, head])
        summary = (weights / weights.sum(axis=0)).T @ value[:, head]
        expected = query[:, head] @ summary / math.sqrt(2)
        np.testing.assert_allclose(np.concatenate(found[::-1])[:, head], expected, atol=1e-5)


def _linear(name, out, into, bias=True):
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _conv(name, out, into, kernel):
    return {f"{name}.weight": (out, into, kernel, kernel), f"{name}.bias": (out,)}


def _hugging_face_mit(widths, depths):
    shapes, into = {"classifier.weight": (1000, widths[-1]), "classifier.bias": (1000,)}, 3
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        patch = f"segformer.encoder.patch_embeddings.{stage}"
        shapes |= _conv(f"{patch}.proj", width, into, 3 if stage else 7) | _norm(f"{patch}.layer_norm", width)
        for index in range(depth):
            block = f"segformer.encoder.block.{stage}.{index}"
            attention = f"{block}.attention.self"
            for part in ("query", "key", "value"):
                shapes |= _linear(f"{attention}.{part}", width, width)
            if stage < 3:
                shapes |= _conv(f"{attention}.sr", width, width, 8 >> stage) | _norm(f"{attention}.layer_norm", width)
            shapes |= _linear(f"{block}.attention.output.dense", width, width)
            shapes |= _norm(f"{block}.layer_norm_1", width) | _norm(f"{block}.layer_norm_2", width)
            shapes |= _linear(f"{block}.mlp.dense1", 4 * width, width) | _linear(
                f"{block}.mlp.dense2", width, 4 * width
            )
            shapes |= _conv(f"{block}.mlp.dwconv.dwconv", 4 * width, 1, 3)
        shapes |= _norm(f"segformer.encoder.layer_norm.{stage}", width)
        into = width
    return shapes


def _timm_swin(width, depths, heads):
    shapes = _conv("patch_embed.proj", width, 3, 4) | _norm("patch_embed.norm", width)
    for stage, depth in enumerate(depths):
        if stage:
            shapes |= _norm(f"layers.{stage}.downsample.norm", 2 * width)
            shapes |= _linear(f"layers.{stage}.downsample.reduction", width, 2 * width, bias=False)
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
            shapes |= _linear(f"{block}.attn.qkv", 3 * width, width) | _linear(f"{block}.attn.proj", width, width)
            shapes[f"{block}.attn.relative_position_bias_table"] = (169, heads * 2**stage)
            shapes |= _linear(f"{block}.mlp.fc1", 4 * width, width) | _linear(f"{block}.mlp.fc2", width, 4 * width)
        width *= 2
    return shapes | _norm("norm", width // 2) | _linear("head.fc", 1000, width // 2)


def _published_coat(widths, depths, expansions, parallel_depth=0):
    shapes, into = {}, 3

    def attention(name, width):
        return _linear(f"{name}.qkv", 3 * width, width) | _linear(f"{name}.proj", width, width)

    def mlp(name, width, expansion):
        return _linear(f"{name}.fc1", expansion * width, width) | _linear(f"{name}.fc2", width, expansion * width)

    for stage, (width, depth, expansion) in enumerate(zip(widths, depths, expansions, strict=True), start=1):
        shapes |= _conv(f"patch_embed{stage}.proj", width, into, 2 if stage > 1 else 4)
        shapes |= _norm(f"patch_embed{stage}.norm", width)
        shapes[f"cls_token{stage}"] = (1, 1, width)
        encodings = _conv(f"cpe{stage}.proj", width, 1, 3)
        for index, (kernel, heads) in enumerate({3: 2, 5: 3, 7: 3}.items()):
            encodings |= _conv(f"crpe{stage}.conv_list.{index}", width // 8 * heads, 1, kernel)
        shapes |= encodings | _norm(f"norm{stage}", width)
        for index in range(depth):
            block = f"serial_blocks{stage}.{index}"
            shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
            shapes |= attention(f"{block}.factoratt_crpe", width) | mlp(f"{block}.mlp", width, expansion)
            # State dicts list shared modules under every block that holds them.
            shapes |= _conv(f"{block}.cpe.proj", width, 1, 3)
            shapes |= _conv(f"{block}.factoratt_crpe.crpe.conv_list.0", width // 4, 1, 3)
        into = width
    for index in range(parallel_depth):
        block = f"parallel_blocks.{index}"
        for scale in (2, 3, 4):
            shapes |= _norm(f"{block}.norm1{scale}", width) | _norm(f"{block}.norm2{scale}", width)
            shapes |= attention(f"{block}.factoratt_crpe{scale}", width)
            shapes |= mlp(f"{block}.mlp{scale}", width, expansion)
    return shapes | _linear("head", 1000, width)


CHECKPOINTS = {
    "mit": _hugging_face_mit((4, 8, 10, 16), (1, 2, 1, 1)),
    "swin": _timm_swin(6, (2, 2, 1, 2), 3),
    "coat": _published_coat((8, 16, 16, 16), (1, 1, 2, 1), (2, 2, 2, 2), 2),
    "coat_lite": _published_coat((8, 16, 24, 16), (1, 2, 1, 1), (2, 2, 2, 2)),
}


def _tensors(family):
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in CHECKPOINTS[family].items()}


def _write_safetensors(path, tensors, dtype="F32"):
    header, values, position = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in tensors.items():
        if dtype == "BF16":
            raw = (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [position, position + len(raw)]}
        values.append(raw)
        position += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(values))
    return path


def _kernel(encoder, name):
    return keras.ops.convert_to_numpy(encoder.get_layer(name).weights[0])


@our_family
def test_published_tensors_are_loaded_by_name(family, tmp_path):
    tensors = _tensors(family)
    path = _write_safetensors(tmp_path / "published.safetensors", tensors)
    encoder = _build(family, (None, None, 3), encoder_weights=path)
    prefix = "segformer.encoder." if family == "mit" else ""
    for layer in encoder.layers:
        if not layer.weights or (family == "swin" and layer.name in ("norm0", "norm1", "norm2", "norm3")):
            continue
        name = prefix + layer.name.replace("-", ".")
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            expected = tensors[f"{name}.weight"].transpose(2, 3, 0, 1)
        elif isinstance(layer, keras.layers.Conv2D):
            expected = tensors[f"{name}.weight"].transpose(2, 3, 1, 0)
        elif isinstance(layer, keras.layers.Dense):
            expected = tensors[f"{name}.weight"].T
        elif isinstance(layer, WindowAttention):
            expected = tensors[f"{name}.relative_position_bias_table"]
        else:
            expected = tensors.get(f"{name}.weight", tensors.get(name))
        np.testing.assert_array_equal(weights[0], expected)
        if len(weights) > 1:
            np.testing.assert_array_equal(weights[1], tensors[f"{name}.bias"])


def test_half_precision_tensors_are_read(tmp_path):
    tensors = _tensors("mit")
    for dtype, precision in (("F16", 1e-3), ("BF16", 1e-2)):
        path = _write_safetensors(tmp_path / f"{dtype}.safetensors", tensors, dtype)
        encoder = _build("mit", (None, None, 3), encoder_weights=path)
        expected = tensors["segformer.encoder.block.0.0.mlp.dense1.weight"].T
        np.testing.assert_allclose(_kernel(encoder, "block-0-0-mlp-dense1"), expected, rtol=precision)


@our_family
def test_a_missing_renamed_superfluous_or_misshapen_tensor_is_named(family, tmp_path):
    name = {
        "mit": "segformer.encoder.block.0.0.attention.self.query.weight",
        "swin": "layers.0.blocks.0.attn.qkv.weight",
        "coat": "parallel_blocks.0.factoratt_crpe3.qkv.weight",
        "coat_lite": "serial_blocks1.0.factoratt_crpe.qkv.weight",
    }[family]
    short = name.removeprefix("segformer.encoder.")

    def refusal(tensors):
        path = _write_safetensors(tmp_path / "wrong.safetensors", tensors)
        with pytest.raises(ValueError, match=r"wrong\.safetensors: expected") as caught:
            _build(family, (None, None, 3), encoder_weights=path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    right = _tensors(family)
    without = {key: value for key, value in right.items() if key != name}
    assert f"expected tensor {short}; received none" in refusal(without)
    renamed = refusal(without | {f"{name}s": right[name]})
    assert f"expected tensor {short}; received none (nearest: {short}s)" in renamed
    extra = refusal(right | {f"{name}.more": right[name]})
    assert f"received {short}.more" in extra
    misshapen = refusal(right | {name: right[name][1:]})
    rows, columns = right[name].shape
    assert f"tensor {short} to have shape ({rows}, {columns}); received shape ({rows - 1}, {columns})" in misshapen


def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path):
    cut = _write_safetensors(tmp_path / "cut.safetensors", _tensors("mit"))
    cut.write_bytes(cut.read_bytes()[:-100])
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"\xff" * 40)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    for path in (cut, noise, empty):
        with pytest.raises(ValueError, match=f"{path.name}: expected a safetensors file") as refusal:
            _build("mit", (None, None, 3), encoder_weights=path)
        assert "\n" not in str(refusal.value)
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors: expected"):
        _build("mit", (None, None, 3), encoder_weights="absent.safetensors")
    with pytest.raises(FileNotFoundError, match=r"absent\.weights\.h5: expected"):
        _build("resnet18", (None, None, 3), encoder_weights="absent.weights.h5")
    with pytest.raises(ValueError, match=r"encoder_weights of mit: expected None, or a \.safetensors or"):
        _build("mit", (None, None, 3), encoder_weights="imagenet")
    with pytest.raises(ValueError, match=r'of resnet18: expected None, "imagenet" or a \.weights\.h5'):
        _build("resnet18", (None, None, 3), encoder_weights="imagenot")


def test_keras_weight_files_are_loaded_and_others_refused(tmp_path):
    path = tmp_path / "own.weights.h5"
    _encoder("mit").save_weights(path)
    loaded = OURS["mit"]((None, None, 2), encoder_weights=path)
    for one, other in zip(loaded.get_weights(), _encoder("mit").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"own\.weights\.h5: expected the weights of swin") as refusal:
        OURS["swin"]((None, None, 2), encoder_weights=path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@our_family
def test_a_grey_image_gives_the_same_features_over_any_number_of_channels(family, channels, tmp_path):
    path = _write_safetensors(tmp_path / "published.safetensors", _tensors(family))
    grey = _images(1, 32, 32, 1)
    colour = _build(family, (None, None, 3), encoder_weights=path)
    carried = _build(family, (None, None, channels), encoder_weights=path)
    _assert_close(carried(np.repeat(grey, channels, -1)), colour(np.repeat(grey, 3, -1)), atol=1e-4)


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def file_server(tmp_path, monkeypatch):
    """Serves a folder on loopback, and keeps downloads out of the user's cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Files, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "cache"))
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _write_published_h5(path, encoder):
    """Writes weights as Keras 2 did: a group per layer, with the names of its weights."""
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        weighted = [layer for layer in encoder.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in weighted]
        for layer in weighted:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = rng.uniform(0.5, 1.5, weight.shape).astype("float32") / math.prod(weight.shape[:-1])
    return path


def test_imagenet_weights_of_resnet_are_downloaded_checked_and_carried(file_server, monkeypatch):
    folder, url = file_server
    monkeypatch.setattr("maskzoo.models.encoders.resnet.RELEASE", url)
    plain = resnet((None, None, 3), (1, 1, 1, 1), "", name="small")
    path = _write_published_h5(folder / "small_imagenet_1000_no_top.h5", plain)
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    build = functools.partial(resnet, depths=(1, 1, 1, 1), checksum=checksum, encoder_weights="imagenet", name="small")
    colour = build((None, None, 3))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(_kernel(colour, "conv0"), file["conv0/conv0/kernel:0"])
        np.testing.assert_array_equal(
            _kernel(colour, "stage4_unit1_conv2"), file["stage4_unit1_conv2"]["stage4_unit1_conv2/kernel:0"]
        )
    grey = _images(1, 32, 32, 1)
    for channels in (1, 2, 4, 13):
        carried = build((None, None, channels))
        kernel = _kernel(carried, "conv0")
        assert kernel.shape == (7, 7, channels, 64)
        # Sums of random weights may cancel to nearly nothing.
        np.testing.assert_allclose(kernel.sum(axis=2), _kernel(colour, "conv0").sum(axis=2), rtol=1e-5, atol=1e-6)
        assert all(np.isfinite(feature).all() for feature in _outputs(carried(np.repeat(grey, channels, -1))))
    path.unlink()
    with pytest.raises(OSError, match="encoder_weights of other: expected ImageNet weights to download") as refusal:
        build((None, None, 3), name="other")
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__.__context__.closed  # the server's answer: its socket does not stay open


def test_imagenet_weights_of_keras_applications_are_downloaded_and_carried(file_server, monkeypatch):
    folder, url = file_server
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", f"{url}/")
    plain = _build("mobilenet", (None, None, 3))
    path = _write_published_h5(folder / "mobilenet_1_0_224_tf_no_top.h5", plain)
    encoder = _build("mobilenet", (None, None, 1), encoder_weights="imagenet", freeze_encoder=True)
    assert not encoder.trainable_weights
    with h5py.File(path) as file:
        expected = file["conv1/conv1/kernel:0"][:].sum(axis=2, keepdims=True)
        np.testing.assert_allclose(_kernel(encoder, "conv1"), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(_kernel(encoder, "conv_pw_13"), file["conv_pw_13/conv_pw_13/kernel:0"])


def test_standardised_images_are_taken_to_the_range_of_the_published_weights():
    colours = np.array([[[[1.0, 0.5, 0.0], [0.2, 0.9, 0.4]]]])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = keras.Input((None, None, 3))
    expected = {
        "torch": (colours - mean) / deviation,
        "tf": 2 * colours - 1,
        "raw": 255 * colours,
        "caffe": 255 * (colours - mean),
    }
    for image_range, values in expected.items():
        model = keras.Model(image, published_range(image, image_range))
        found = keras.ops.convert_to_numpy(model(((colours - mean) / deviation).astype("float32")))
        np.testing.assert_allclose(found, values, atol=1e-4)


def test_caffe_weights_read_red_green_blue(file_server, monkeypatch):
    folder, url = file_server
    whole = keras.applications.VGG16(include_top=False, weights=None)
    path = _write_published_h5(folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", whole)
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr("keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP", f"{url}/{path.name}")
    get_file = keras.utils.get_file
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file",
        lambda *arguments, **options: get_file(*arguments, **{**options, "file_hash": checksum}),
    )
    encoder = _build("vgg16", (None, None, 3), encoder_weights="imagenet")
    with h5py.File(path) as file:
        blue_green_red = file["block1_conv1/block1_conv1/kernel:0"][:]
    np.testing.assert_array_equal(_kernel(encoder, "block1_conv1"), blue_green_red[:, :, ::-1])


@pytest.mark.parametrize("family", ["mit", "resnet18"])
def test_a_frozen_encoder_has_nothing_to_train(family):
    assert not _build(family, (None, None, 3), freeze_encoder=True).trainable_weights
    assert _build(family, (None, None, 3)).trainable_weights


@pytest.mark.parametrize("family", ["coat_lite", "mobilenet", "resnet18"])
def test_a_block_of_ones_own_changes_what_follows_it_and_nothing_before(family):
    encoder = _encoder(family)
    images = _images(1, 64, 64, 2)
    before = _outputs(encoder(images))
    kept = insert_blocks(encoder, {16: keras.layers.Identity(name="own")})
    _assert_close(kept(images), before, atol=1e-6)
    changed = _outputs(insert_blocks(encoder, {16: keras.layers.Rescaling(2.0, 0.5, name="own")})(images))
    deep = len(before) - 2
    for index in range(deep):
        np.testing.assert_array_equal(changed[index], before[index])
    np.testing.assert_allclose(changed[deep], 2 * before[deep] + 0.5, rtol=1e-5)
    assert np.abs(changed[-1] - before[-1]).max() > 1e-3 * np.abs(before[-1]).max()
    _assert_close(encoder(images), before)
    with pytest.raises(ValueError, match=r"expected the name of a layer or one of the strides .*received 64"):
        insert_blocks(encoder, {64: keras.layers.Identity()})


def test_the_last_stage_of_a_resnet_can_be_dilated():
    encoder = models.build_encoder("resnet18", (64, 64, 3), output_stride=16)
    assert feature_strides(encoder) == [2, 4, 8, 16, 16]
    assert encoder.count_params() == models.build_encoder("resnet18", (64, 64, 3)).count_params()
    with pytest.raises(ValueError, match="output_stride of resnet18: expected one of 16, 32; received 8"):
        models.build_encoder("resnet18", (64, 64, 3), output_stride=8)


def test_every_variant_of_keras_applications_is_known_to_it():
    assert all(hasattr(keras.applications, builder) for builder, *_ in applications.APPLICATIONS.values())
