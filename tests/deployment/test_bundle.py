"""A bundle answers as `predict` does, from raw pixels, in a process that knows nothing of this project."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_weights import randomised

from maskzoo import cli, data, deployment, inference, models
from maskzoo.deployment import bundle, graph
from maskzoo.inference.ensemble import Ensemble
from maskzoo.inference.run import Run
from maskzoo.inference.run_files import Decision, RunData

SIZES = ((5, 3), (40, 57), (64, 64))


def lively(name, input_shape, classes=1, **options):
    """A model with weights large enough that far pixels matter, and half of the pixels decided either way."""
    keras.utils.set_random_seed(1)
    model = randomised(models.build_model(name, input_shape, classes, **options))
    *axes, channels = input_shape
    size = (64 if len(axes) == 2 else 16,) * len(axes)
    images = np.random.default_rng(0).normal(size=(1, *size, channels))
    logits = keras.tree.flatten(model.predict_on_batch(images.astype(np.float32)))[0]
    bias = model.weights[-1]
    assert bias.shape == (classes,)
    bias.assign_sub(np.median(logits.reshape(-1, classes), axis=0))
    return model


def as_run(model, task="binary", normalization=None, thresholds=None, path="run"):
    classes, channels = model.outputs[0].shape[-1], model.inputs[0].shape[-1]
    normalization = normalization or data.Normalizer("dataset", channels, (127.5,) * channels, (74.0,) * channels)
    description = {
        "task": task,
        "class_names": [f"class{number}" for number in range(classes)],
        "channels": channels,
        "rank": len(model.inputs[0].shape) - 2,
        "patch": [16] * (len(model.inputs[0].shape) - 2),
        "normalization": normalization.as_dict(),
    }
    thresholds = tuple(thresholds or [0.5] * classes)
    return Run(Path(path), model, RunData.from_mapping(description), thresholds, Decision(thresholds))


@pytest.fixture(scope="module")
def unet():
    return lively("unet_padded", (None, None, 3), filters=(4, 8))


@pytest.fixture(scope="module")
def folder(unet, tmp_path_factory):
    """The folder of a run that was decided on a threshold of 0.4."""
    path = tmp_path_factory.mktemp("runs") / "run"
    path.mkdir()
    unet.save(path / "best.keras")
    normalization = data.Normalizer("dataset", 3, (120.0, 130.0, 126.0), (70.0, 75.0, 74.0))
    description = as_run(unet, normalization=normalization).data
    (path / "data.json").write_text(json.dumps(description))
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.4]}))
    return path


def noise(size, channels=3, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels)).astype(dtype)


def both(run, image):
    answer = bundle.Bundle(run, image.dtype.name).both(tf.constant(image[None]))
    return answer["mask"].numpy()[0], answer["probabilities"].numpy()[0]


def assert_as_predict(run, image, tolerance=1e-5):
    """Compares with what `predict` writes."""
    source = data.open_source(image, spatial_dims=image.ndim - 1)
    expected_mask, expected = bundle.predicted_whole(run, source)
    mask, received = both(run, image)
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance)
    assert mask.dtype == np.uint8
    assert np.mean(mask != expected_mask) < 1e-3
    if mask.size > 100:
        assert len(np.unique(mask)) > 1, "a mask of one value shows nothing"


def test_the_final_mask_in_a_process_without_this_project(folder, tmp_path):
    images = {f"image{index}": noise(size) for index, size in enumerate(SIZES)}
    expected = {}
    for name, image in images.items():
        source, output = data.open_source(image, spatial_dims=2), tmp_path / f"{name}.npy"
        inference.predict_image(inference.load_run(folder), source, output)
        expected[name] = np.load(output)
    assert len(np.unique(expected["image2"])) == 2
    for kind in ("saved_model", "onnx"):
        assert export(folder, tmp_path / kind, "--format", kind, "--dtype", "uint8") == 0
    np.savez(tmp_path / "images.npz", **images)
    script = f"""
import sys
import numpy as np, onnxruntime as ort, tensorflow as tf
images = np.load({str(tmp_path / "images.npz")!r})
model = tf.saved_model.load({str(tmp_path / "saved_model")!r})
session = ort.InferenceSession({str(tmp_path / "onnx" / "model.onnx")!r})
for name, image in images.items():
    mask = model.signatures["serving_default"](images=tf.constant(image[None]))["mask"].numpy()
    np.save(f"{tmp_path}/saved_model-{{name}}.npy", mask[0])
    np.save(f"{tmp_path}/onnx-{{name}}.npy", session.run(["mask"], {{"images": image[None]}})[0][0])
assert not [name for name in sys.modules if name.startswith("maskzoo")]
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    for name in images:
        for kind in ("saved_model", "onnx"):
            np.testing.assert_array_equal(np.load(tmp_path / f"{kind}-{name}.npy"), np.squeeze(expected[name]))


def export(*arguments):
    try:
        cli.main("export", [str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def test_signatures_take_what_a_server_is_sent(folder, tmp_path):
    deployment.export_bundle(inference.load_run(folder), tmp_path / "saved", dtype="uint8")
    signatures = tf.saved_model.load(tmp_path / "saved").signatures
    image = noise((20, 31))
    # The body of POST /v1/models/NAME:predict; a server looks the signature up, and turns the list into its input.
    body = json.loads(json.dumps({"signature_name": "probabilities", "instances": [image.tolist()]}))
    _, arguments = signatures[body["signature_name"]].structured_input_signature
    (spec,) = arguments.values()
    assert spec.shape.as_list() == [None, None, None, 3]
    images = tf.constant(body["instances"], spec.dtype)
    received = signatures["probabilities"](images)["probabilities"][0, ..., 0].numpy()
    mask = signatures["serving_default"](images)["mask"][0].numpy()
    assert (mask.shape, mask.dtype) == ((20, 31), np.uint8)
    np.testing.assert_array_equal(mask, received >= 0.4)
    report = json.loads((tmp_path / "saved" / "parity.json").read_text())
    assert [row["different_pixels"] for row in report["sizes"]] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["openvino", "litert"])
def test_other_formats_answer_alike(folder, tmp_path, kind):
    size = [24, 40] if kind == "litert" else None
    report = deployment.export_bundle(
        inference.load_run(folder), tmp_path / "out", format=kind, dtype="uint8", size=size
    )
    assert all(row["largest_difference"] < 1e-5 for row in report["sizes"])
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {bundle.MODEL_FILE[kind], "parity.json"}


@pytest.mark.parametrize("kind", ["none", "dataset", "image", "percentile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_normalisation_is_that_of_prediction(kind, dtype):
    image = noise((33, 20), 2, dtype)
    image[..., 1] = 7  # a channel without contrast
    measured = data.open_source(noise((9, 9), 2, dtype, seed=1), spatial_dims=2)
    normalizer = data.Normalizer.measured(kind, [measured])
    expected = normalizer(data.open_source(image, spatial_dims=2))(data.Window((0, 0), (33, 20)))
    received = graph.normalized(tf.constant(image[None]), normalizer.as_dict())[0].numpy()
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (9, 5)])
def test_borders_are_mirrored_as_often_as_it_takes(size):
    image = noise(size)
    pairs = ((13, 8), (3, 17))
    before, whole = [b for b, _ in pairs], [b + n + a for (b, a), n in zip(pairs, size, strict=True)]
    expected = np.pad(image, (*pairs, (0, 0)), mode="reflect")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def free(images):
        return graph.mirrored(images, before, whole)

    np.testing.assert_array_equal(free(image[None])[0], expected)
    np.testing.assert_array_equal(graph.mirrored(tf.constant(image[None]), before, whole)[0], expected)


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("unet_padded", {"filters": (4, 8)}, SIZES),
        ("unet", {"filters": (4, 8)}, SIZES),
        ("pspnet", {"encoder": "resnet18", "pyramid_filters": 4}, ((5, 3), (64, 61))),
        ("vnet3d", {"depth": 2, "start_filters": 4}, ((3, 9, 6), (16, 20, 17))),
    ],
)
def test_every_kind_of_plan(name, options, sizes):
    spatial_dims = len(sizes[0])
    run = as_run(lively(name, (*(None,) * spatial_dims, 3), **options))
    for size in sizes:
        assert_as_predict(run, noise(size))


@pytest.mark.parametrize(("task", "classes"), [("multilabel", 2), ("multiclass", 3)])
def test_tasks_and_thresholds(task, classes):
    run = as_run(
        lively("unet_padded", (None, None, 3), classes, filters=(4, 8)), task, thresholds=[0.3, 0.6, 0.5][:classes]
    )
    assert_as_predict(run, noise((40, 57)))


@pytest.mark.parametrize(
    "options",
    [
        {"tta": "symmetries", "how": "votes"},
        {"tta": "rotations", "how": "logits", "temperature": 0.5},
        {"tta": "scales:0.75", "weights": [3, 1]},
    ],
)
def test_ensembles_and_views(unet, options):
    other = lively("unet_padded", (None, None, 3), filters=(3, 5, 6))
    runs = [as_run(unet, thresholds=[0.4]), as_run(other, normalization=data.Normalizer("percentile", 3))]
    assert_as_predict(Ensemble(runs, **options), noise((36, 50)), tolerance=1e-4)


def test_an_answer_that_differs_is_not_written(folder, tmp_path, monkeypatch):
    def off(folder):
        call = bundle.call_saved_model(folder)
        return lambda images: (call(images)[0], call(images)[1] + 1e-3)

    monkeypatch.setitem(bundle.CALLERS, "saved_model", off)
    with pytest.raises(ValueError, match=r"expected probabilities within 1e-04 .* received a difference of 1.0e-03"):
        deployment.export_bundle(inference.load_run(folder), tmp_path / "out")
    monkeypatch.setitem(
        bundle.CALLERS, "saved_model", lambda folder: lambda images: (np.zeros_like(images[..., 0]), expected(images))
    )

    def expected(images):
        return bundle.predicted_whole(inference.load_run(folder), data.open_source(images[0], spatial_dims=2))[1][None]

    with pytest.raises(ValueError, match="received one that differs in"):
        deployment.export_bundle(inference.load_run(folder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_no_graph_can_hold_is_refused(unet, tmp_path, capsys, folder):
    run = as_run(unet)
    run.data.normalization["stain"] = {"method": "macenko"}
    with pytest.raises(ValueError, match="expected one without stain normalisation"):
        bundle.Bundle(run, "uint8")
    assert export(folder, tmp_path) == 2
    assert "expected a folder that does not exist yet" in capsys.readouterr().err
    assert export(folder, tmp_path / "out", "--size", "[32,32]") == 2
    assert "--size: expected none for saved_model" in capsys.readouterr().err
    assert export(folder, tmp_path / "out", "--format", "onnx", "--bare") == 2
    assert "--bare: expected one run and saved_model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
