"""Published weights by name, from every kind of file, and carried to other channels."""

import hashlib
import json
import re

import keras
import numpy as np
import pytest
from small_models import OURS, arrays, build_encoder, shared_encoder

from maskzoo import models
from maskzoo.errors import WeightsError
from maskzoo.models.encoders import addresses
from maskzoo.models.encoders.swin import WindowAttention
from maskzoo.models.encoders.weights import published_range

our_family = pytest.mark.parametrize("family", OURS)


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _assert_close(ones, others, atol=1e-5):
    for one, other in zip(arrays(ones), arrays(others), strict=True):
        np.testing.assert_allclose(one, other, atol=atol * max(1, np.abs(other).max()))


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


def _timm_vit(width, depth, positions):
    shapes = _conv("patch_embed.proj", width, 3, 16) | _norm("norm", width) | _linear("head", 1000, width)
    shapes |= {"cls_token": (1, 1, width), "pos_embed": (1, 1 + positions, width)}
    for index in range(depth):
        block = f"blocks.{index}"
        shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.attn.qkv", 3 * width, width) | _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * width, width) | _linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes


CHECKPOINTS = {
    "mit": _hugging_face_mit((4, 8, 10, 16), (1, 2, 1, 1)),
    "swin": _timm_swin(6, (2, 2, 1, 2), 3),
    "coat": _published_coat((8, 16, 16, 16), (1, 1, 2, 1), (2, 2, 2, 2), 2),
    "coat_lite": _published_coat((8, 16, 24, 16), (1, 2, 1, 1), (2, 2, 2, 2)),
    "vit": _timm_vit(12, 4, 16),
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
    encoder = build_encoder(family, (None, None, 3), encoder_weights=path)
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
        encoder = build_encoder("mit", (None, None, 3), encoder_weights=path)
        expected = tensors["segformer.encoder.block.0.0.mlp.dense1.weight"].T
        np.testing.assert_allclose(_kernel(encoder, "block-0-0-mlp-dense1"), expected, rtol=precision)


@our_family
def test_a_missing_renamed_superfluous_or_misshapen_tensor_is_named(family, tmp_path):
    name = {
        "mit": "segformer.encoder.block.0.0.attention.self.query.weight",
        "swin": "layers.0.blocks.0.attn.qkv.weight",
        "coat": "parallel_blocks.0.factoratt_crpe3.qkv.weight",
        "coat_lite": "serial_blocks1.0.factoratt_crpe.qkv.weight",
        "vit": "blocks.0.attn.qkv.weight",
    }[family]
    short = name.removeprefix("segformer.encoder.")

    def refusal(tensors):
        path = _write_safetensors(tmp_path / "wrong.safetensors", tensors)
        with pytest.raises(ValueError, match=r"wrong\.safetensors: expected") as caught:
            build_encoder(family, (None, None, 3), encoder_weights=path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    right = _tensors(family)
    without = {key: value for key, value in right.items() if key != name}
    assert f"expected tensor {short}; received none" in refusal(without)
    renamed = refusal(without | {f"{name}s": right[name]})
    assert f"expected tensor {short}; received none (nearest: {short}s)" in renamed
    extra = refusal(right | {f"{name}.more": right[name]})
    assert f"received {name}.more" in extra
    misshapen = refusal(right | {name: right[name][1:]})
    rows, columns = right[name].shape
    assert f"tensor {name} to have shape ({rows}, {columns}); received shape ({rows - 1}, {columns})" in misshapen


def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path):
    cut = _write_safetensors(tmp_path / "cut.safetensors", _tensors("mit"))
    cut.write_bytes(cut.read_bytes()[:-100])
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"\xff" * 40)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    for path in (cut, noise, empty):
        with pytest.raises(ValueError, match=f"{path.name}: expected a safetensors file") as refusal:
            build_encoder("mit", (None, None, 3), encoder_weights=path)
        assert "\n" not in str(refusal.value)
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors: expected"):
        build_encoder("mit", (None, None, 3), encoder_weights="absent.safetensors")
    with pytest.raises(FileNotFoundError, match=r"absent\.weights\.h5: expected"):
        build_encoder("resnet18", (None, None, 3), encoder_weights="absent.weights.h5")
    with pytest.raises(
        ValueError, match=r"encoder_weights of mit: expected a file, since no address .*; received imag"
    ):
        build_encoder("mit", (None, None, 3), encoder_weights="imagenet")
    with pytest.raises(ValueError, match=r'of resnet18: expected None, "imagenet", or a \.h5 or \.weights\.h5'):
        build_encoder("resnet18", (None, None, 3), encoder_weights="imagenot")


def test_keras_weight_files_are_loaded_and_others_refused(tmp_path):
    path = tmp_path / "own.weights.h5"
    shared_encoder("mit").save_weights(path)
    loaded = OURS["mit"]((None, None, 2), encoder_weights=path)
    for one, other in zip(loaded.get_weights(), shared_encoder("mit").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"own\.weights\.h5: expected the weights of swin") as refusal:
        OURS["swin"]((None, None, 2), encoder_weights=path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("channels", [pytest.param(channels, marks=pytest.mark.slow) for channels in (1, 2, 13)] + [4])
@our_family
def test_a_grey_image_gives_the_same_features_over_any_number_of_channels(family, channels, tmp_path):
    path = _write_safetensors(tmp_path / "published.safetensors", _tensors(family))
    grey = _images(1, 32, 32, 1)
    colour = build_encoder(family, (None, None, 3), encoder_weights=path)
    carried = build_encoder(family, (None, None, channels), encoder_weights=path)
    _assert_close(carried(np.repeat(grey, channels, -1)), colour(np.repeat(grey, 3, -1)), atol=1e-4)


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


@pytest.mark.parametrize("family", ["swin", "coat"])
def test_imagenet_weights_come_from_their_address_and_are_compared_with_the_first_download(
    family, file_server, monkeypatch
):
    folder, url = file_server
    tensors = _tensors(family)
    path = folder / "timm" / "some" / "resolve" / "main" / "model.safetensors"
    path.parent.mkdir(parents=True)
    _write_safetensors(path, tensors)
    monkeypatch.setenv("HF_ENDPOINT", f"{url}/")
    monkeypatch.setitem(addresses.ADDRESSES, family, "{hub}/timm/some/resolve/main/model.safetensors")
    encoder = build_encoder(family, (None, None, 3), encoder_weights="imagenet")
    own = build_encoder(family, (None, None, 3), encoder_weights=path)
    for one, other in zip(encoder.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    cached = addresses.download(family)
    assert cached.read_bytes() == path.read_bytes()
    cached.write_bytes(cached.read_bytes() + b" ")
    with pytest.raises(ValueError, match="expected the checksum of its first download"):
        build_encoder(family, (None, None, 3), encoder_weights="imagenet")
    monkeypatch.setitem(addresses.ADDRESSES, family, "{hub}/nowhere.pth")
    with pytest.raises(OSError, match=f"encoder_weights of {family}: expected ImageNet weights to download"):
        build_encoder(family, (None, None, 3), encoder_weights="imagenet")


def test_the_addresses_are_those_that_the_packages_name():
    assert addresses.address_of("mit_b2").endswith("segmentation_models.pytorch/releases/download/v0.0.2/mit_b2.pth")
    swin = "https://huggingface.co/timm/swin_tiny_patch4_window7_224.ms_in1k/resolve/main/model.safetensors"
    assert addresses.address_of("swin_tiny") == swin
    assert addresses.address_of("resnet50_torch") == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert set(addresses.ADDRESSES) == {
        name
        for name in models.list_encoders()
        if name.startswith(("mit_", "swin_", "coat_")) or name.endswith("_torch")
    }


def test_a_file_has_the_checksum_that_its_published_name_states(file_server, monkeypatch):
    folder, url = file_server
    stated = hashlib.sha256(b"weights").hexdigest()[:8]
    for name, number in (("right", stated), ("wrong", "0123abcd")):
        (folder / f"{name}-{number}.pth").write_bytes(b"weights")
        monkeypatch.setitem(addresses.ADDRESSES, f"{name}_torch", f"{url}/{name}-{number}.pth")
    assert addresses.download("right_torch").read_bytes() == b"weights"
    with pytest.raises(
        WeightsError, match=r"wrong_torch_imagenet\.pth: expected a file whose SHA-256 .* with 0123abcd"
    ):
        addresses.download("wrong_torch")


def test_the_names_of_the_authors_of_segformer_are_understood(tmp_path):
    right = {n.removeprefix("segformer.encoder."): t for n, t in _tensors("mit").items() if n.startswith("segformer")}
    theirs = {}
    for name, tensor in right.items():
        for pattern, other in (
            (r"patch_embeddings\.(\d)\.proj", "patch_embed{}.proj"),
            (r"patch_embeddings\.(\d)\.layer_norm", "patch_embed{}.norm"),
            (r"^layer_norm\.(\d)", "norm{}"),
            (r"^block\.(\d)", "block{}"),
        ):
            name = re.sub(pattern, lambda found, other=other: other.format(int(found[1]) + 1), name)
        for ours, other in (
            ("attention.self.query", "attn.q"),
            ("attention.self.key", "attn.kv"),
            ("attention.self.sr", "attn.sr"),
            ("attention.self.layer_norm", "attn.norm"),
            ("attention.output.dense", "attn.proj"),
            ("layer_norm_", "norm"),
            ("mlp.dense", "mlp.fc"),
        ):
            name = name.replace(ours, other)
        if "attention.self.value" not in name:
            value = right.get(next((n for n in right if right[n] is tensor), "").replace("self.key", "self.value"))
            theirs[name] = np.concatenate([tensor, value]) if ".attn.kv." in name else tensor
    theirs["head.weight"] = np.zeros((1000, 16), "float32")
    ours = build_encoder("mit", (None, None, 3), encoder_weights=_write_safetensors(tmp_path / "a.safetensors", right))
    path = _write_safetensors(tmp_path / "b.safetensors", theirs)
    for one, other in zip(
        build_encoder("mit", (None, None, 3), encoder_weights=path).get_weights(), ours.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("source", ["torchvision", "authors"])
def test_swin_transformers_of_other_code_bases_are_understood(source, tmp_path):
    right = _tensors("swin")
    theirs = {}
    for name, tensor in right.items():
        if source == "authors":
            name = re.sub(r"layers\.(\d)\.downsample", lambda n: f"layers.{int(n[1]) - 1}.downsample", name)
        else:
            name = name.replace("patch_embed.proj", "features.0.0").replace("patch_embed.norm", "features.0.2")
            name = re.sub(r"layers\.(\d)\.blocks", lambda n: f"features.{2 * int(n[1]) + 1}", name)
            name = re.sub(r"layers\.(\d)\.downsample", lambda n: f"features.{2 * int(n[1])}", name)
            name = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3").replace("head.fc", "head")
        theirs[name] = tensor
    ours = build_encoder("swin", (None, None, 3), encoder_weights=_write_safetensors(tmp_path / "a.safetensors", right))
    path = _write_safetensors(tmp_path / "b.safetensors", theirs)
    for one, other in zip(
        build_encoder("swin", (None, None, 3), encoder_weights=path).get_weights(), ours.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_names_of_transformers_modules_since_version_5_are_understood(tmp_path):
    right = {n: t for n, t in _tensors("mit").items() if n.startswith("segformer")}
    theirs = {}
    for name, tensor in right.items():
        new = name.replace("segformer.encoder.", "")
        new = re.sub(r"^(patch_embeddings|layer_norm)\.(\d)", r"stages.\2.\1", new)
        new = re.sub(r"^block\.(\d)\.(\d+)", r"stages.\1.blocks.\2", new)
        for old, other in (
            ("layer_norm_1", "layernorm_before"),
            ("layer_norm_2", "layernorm_after"),
            ("attention.self.query", "attention.q_proj"),
            ("attention.self.key", "attention.k_proj"),
            ("attention.self.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
            ("attention.self.sr", "attention.sequence_reduction.sequence_reduction"),
            ("attention.self.layer_norm", "attention.sequence_reduction.layer_norm"),
            ("mlp.dense", "mlp.fc"),
        ):
            new = new.replace(old, other)
        theirs[f"segformer.{new}"] = tensor
    ours = build_encoder("mit", (None, None, 3), encoder_weights=_write_safetensors(tmp_path / "a.safetensors", right))
    path = _write_safetensors(tmp_path / "b.safetensors", theirs)
    for one, other in zip(
        build_encoder("mit", (None, None, 3), encoder_weights=path).get_weights(), ours.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("wrapper", ["module.", "backbone.", "encoder.model.", "_orig_mod.net."])
@our_family
def test_encoders_inside_of_other_models_are_found_by_what_follows_their_prefix(family, wrapper, tmp_path):
    tensors = _tensors(family)
    alone = build_encoder(
        family, (None, None, 3), encoder_weights=_write_safetensors(tmp_path / "a.safetensors", tensors)
    )
    beside = {"decode_head.0.weight": np.ones((3, 3), np.float32), "queue": np.zeros(4, np.float32)}
    path = _write_safetensors(
        tmp_path / "whole.safetensors", {f"{wrapper}{name}": tensor for name, tensor in tensors.items()} | beside
    )
    inside = build_encoder(family, (None, None, 3), encoder_weights=path)
    for one, other in zip(inside.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_of_several_encoders_is_refused(tmp_path):
    tensors = _tensors("swin")
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in tensors.items()}
    path = _write_safetensors(tmp_path / "both.safetensors", both)
    with pytest.raises(WeightsError, match=r"expected the tensors of one encoder; .* student\., teacher\."):
        build_encoder("swin", (None, None, 3), encoder_weights=path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    tensors = _tensors("mit")
    name = "segformer.encoder.block.0.0.mlp.dense1.bias"
    tensors[name][0] = value
    path = _write_safetensors(tmp_path / "broken.safetensors", tensors)
    with pytest.raises(WeightsError, match=rf"broken\.safetensors: expected finite weights; .* {name}"):
        build_encoder("mit", (None, None, 3), encoder_weights=path)
    encoder = OURS["mit"]((None, None, 2))
    encoder.weights[0].assign(np.full(encoder.weights[0].shape, value))
    encoder.save_weights(tmp_path / "broken.weights.h5")
    with pytest.raises(WeightsError, match=r"broken\.weights\.h5: expected finite weights; received (NaN|infinity)"):
        OURS["mit"]((None, None, 2), encoder_weights=tmp_path / "broken.weights.h5")
