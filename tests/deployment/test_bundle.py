"""Bundles take raw pixels in a process that knows nothing of this project; wrong ones are not written."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from run_verb import run

from maskzoo import data, deployment, inference
from maskzoo.deployment import formats
from maskzoo.errors import ExistingFile, OptionError, RunError


@pytest.mark.slow
def test_the_final_mask_in_a_process_without_this_project(run_folder, tmp_path, noise):
    images = {f"image{index}": noise(size) for index, size in enumerate([(5, 3), (40, 57), (64, 64)])}
    expected = {}
    for name, image in images.items():
        source, output = data.open_source(image, spatial_dims=2), tmp_path / f"{name}.npy"
        inference.predict_image(inference.load_run(run_folder), source, output)
        expected[name] = np.load(output)
    assert len(np.unique(expected["image2"])) == 2
    for kind in ("saved_model", "onnx"):
        assert run("export", run_folder, tmp_path / kind, "--format", kind, "--dtype", "uint8") == 0
    np.savez(tmp_path / "images.npz", **images)
    script = f"""
import sys
from dataclasses import replace
from types import SimpleNamespace
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


def test_signatures_take_what_a_server_is_sent(run_folder, tmp_path, noise):
    deployment.export_bundle(inference.load_run(run_folder), tmp_path / "saved", dtype="uint8")
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


@pytest.mark.parametrize("kind", [pytest.param("openvino", marks=pytest.mark.slow), "litert"])
def test_other_formats_answer_alike(run_folder, tmp_path, kind):
    size = [24, 40] if kind == "litert" else None
    report = deployment.export_bundle(
        inference.load_run(run_folder), tmp_path / "out", format=kind, dtype="uint8", size=size
    )
    assert all(row["largest_difference"] < 1e-5 for row in report["sizes"])
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {formats.FORMATS[kind].file, "parity.json"}


class WrongFormat:
    """A format whose models answer with probabilities of 2."""

    any_size = True

    def write(self, graph, folder):
        folder.mkdir()

    def open(self, folder):
        return lambda images: (np.zeros(images.shape[:-1], np.uint8), np.full((*images.shape[:-1], 1), 2.0))


def test_a_model_that_answers_otherwise_is_not_written(run_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(formats.FORMATS, "saved_model", WrongFormat())
    with pytest.raises(RunError, match=r"out: expected probabilities within 1e-04 of those of predict at 64 x 64"):
        deployment.export_bundle(inference.load_run(run_folder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_only_the_network(run_folder, tmp_path):
    trained = inference.load_run(run_folder)
    rows = deployment.export_saved_model(trained, tmp_path / "network")
    assert [size for size, _ in rows] == [(64, 72), (160, 168)]
    assert max(difference for _, difference in rows) < 1e-4
    assert (tmp_path / "network" / "saved_model.pb").is_file()


def test_wrong_options_are_refused(run_folder, tmp_path, capsys):
    trained = inference.load_run(run_folder)
    with pytest.raises(OptionError, match=r"format: expected one of saved_model, onnx, openvino, litert"):
        deployment.export_bundle(trained, tmp_path / "out", format="coreml")
    with pytest.raises(OptionError, match="dtype: expected one of uint8, uint16, int16, float32; received int64"):
        deployment.export_bundle(trained, tmp_path / "out", dtype="int64")
    for export in (deployment.export_bundle, deployment.export_saved_model):
        with pytest.raises(ExistingFile, match="expected a folder that does not exist yet"):
            export(trained, tmp_path)
    assert run("export", run_folder, tmp_path) == 2
    assert "expected a folder that does not exist yet" in capsys.readouterr().err
    assert run("export", run_folder, tmp_path / "out", "--size", "[32,32]") == 2
    assert "--size: expected none for saved_model" in capsys.readouterr().err
    assert run("export", run_folder, tmp_path / "out", "--format", "onnx", "--bare") == 2
    assert "--bare: expected one run and saved_model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_bundle_does_not_do_to_images_is_listed(run_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    described = json.loads((folder / "data.json").read_text())
    described["spec"] = {"level": 1, "bands": [3, 2, 1], "orientation": "RAS"}
    (folder / "data.json").write_text(json.dumps(described))
    assert run("export", folder, tmp_path / "bundle") == 0
    assert json.loads((tmp_path / "bundle/parity.json").read_text())["reading"] == {"level": 1, "bands": [3, 2, 1]}
    assert "not included: images must be read as the run reads them" in capsys.readouterr().err


def test_volumes_are_turned_and_resampled_before():
    described = inference.RunData("binary", ("a",), 1, 3, {"kind": "none", "channels": 1}, (16, 16, 16))
    for spec, expected in (
        ({}, {}),
        ({"orientation": "RAS", "spacing": [1, 1, 3]}, {"orientation": "RAS", "spacing": [1, 1, 3]}),
        ({"channels": {"a": "_0000"}, "alpha": "data"}, {"channels": {"a": "_0000"}, "alpha": "data"}),
    ):
        assert deployment.reading_before(SimpleNamespace(data=replace(described, spec=spec))) == expected
