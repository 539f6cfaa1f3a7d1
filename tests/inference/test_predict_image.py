"""Prediction from a run folder to a file: kinds of output, progress that survives, what stops it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import rasterio
from noise_runs import PIXELS, PROFILE, interrupt_after, read_image, visible, write_image
from run_verb import run
from scipy import ndimage

from maskzoo import data
from maskzoo.data.labels.polygons import PolygonSource
from maskzoo.data.labels.run_table import RunTable

ROOT = Path(__file__).resolve().parents[2]


def expected_logits(run_path):
    """The convolution in SciPy, over the mirrored image."""
    kernel, bias = (weight.numpy() for weight in keras.saving.load_model(run_path / "best.keras").weights)
    scaled = np.pad(PIXELS / 255, [(1, 1), (1, 1), (0, 0)], mode="reflect")
    sums = [
        sum(ndimage.correlate(scaled[..., c], kernel[:, :, c, k])[1:-1, 1:-1] for c in range(3))
        for k in range(kernel.shape[-1])
    ]
    return np.stack(sums, axis=-1) + bias


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_every_kind_of_output_says_the_same(runs, image, tmp_path, task):
    logits = expected_logits(runs[task])
    names = json.loads((runs[task] / "data.json").read_text())["class_names"]
    if task == "multiclass":
        ids = logits.argmax(axis=-1)
        masks = {name: ids == number for number, name in enumerate(names) if number}
        scores = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    else:
        masks = {name: logits[..., number] >= 0 for number, name in enumerate(names)}
        scores = 1 / (1 + np.exp(-logits))

    def predict(name, *options):
        assert run("predict", runs[task], image, tmp_path / name, "--tile", 64, *options) == 0
        return tmp_path / name

    written = read_image(predict("mask.tif"))
    if task == "multiclass":
        np.testing.assert_array_equal(written[..., 0], ids)
    else:
        np.testing.assert_array_equal(written, np.stack(list(masks.values()), axis=-1))
    np.testing.assert_allclose(read_image(predict("p.tif", "--probabilities", "float32")), scores, atol=1e-6)
    eighth = read_image(predict("q.tif", "--probabilities", "uint8")).astype(float)
    assert np.abs(eighth - 255 * scores).max() <= 0.5 + 1e-3
    cog = predict("cog.tif", "--cog")
    np.testing.assert_array_equal(read_image(cog), written)
    with rasterio.open(cog) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.crs, file.transform) == (PROFILE["crs"], PROFILE["transform"])

    table = RunTable(predict("runs.csv"))
    bands = table.open("image", PIXELS.shape[:2])
    whole = bands.read(data.Window((0, 0), PIXELS.shape[:2]))
    for number, name in enumerate(table.class_names or masks):
        np.testing.assert_array_equal(whole[..., number], masks[name])

    outlines = PolygonSource(predict("areas.geojson"), data.open_source(image), class_property="classification")
    assert sorted(outlines.class_names) == sorted(masks)
    burned = outlines.read(data.Window((0, 0), PIXELS.shape[:2]))
    for number, name in enumerate(outlines.class_names):
        np.testing.assert_array_equal(burned[..., number], masks[name])
    features = json.loads((tmp_path / "areas.geojson").read_text())["features"]
    assert len(features) == sum(ndimage.label(mask)[1] for mask in masks.values())
    assert sum(f["properties"]["pixels"] for f in features) == sum(mask.sum() for mask in masks.values())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_becomes_one_table_that_leaves_out_the_bad_image(runs, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in "abc":
        write_image(tmp_path / "images" / f"{name}.tif", np.roll(PIXELS, ord(name)))
    whole = (tmp_path / "images" / "b.tif").read_bytes()
    (tmp_path / "images" / "b.tif").write_bytes(whole[:3000])
    command = ["predict", runs["binary"], tmp_path / "images", tmp_path / "all.csv", "--verbose"]
    assert run(*command) == 2
    assert "received 1 damaged" in capsys.readouterr().err.splitlines()[-1]
    assert RunTable(tmp_path / "all.csv").images == ["a", "c"]
    (tmp_path / "images" / "b.tif").write_bytes(whole)
    assert run(*command) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    assert sorted(RunTable(tmp_path / "all.csv").images) == ["a", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "images"]


def test_a_folder_predicts_again_only_what_is_not_finished(runs, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.tif", np.roll(PIXELS, ord(name)))
    command = ["predict", runs["binary"], tmp_path / "images", tmp_path / "masks", "--verbose"]
    assert run(*command) == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "masks").glob("*.tif")}
    (tmp_path / "masks" / "a.tif").unlink()
    capsys.readouterr()
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert printed.count("finished before") == printed.count(": wrote") == 1
    assert (tmp_path / "masks" / "b.tif").stat().st_mtime_ns == times[tmp_path / "masks" / "b.tif"]
    assert run(*command, "--tile", 64) == 2
    assert "--restart starts again" in capsys.readouterr().err
    assert run(*command, "--tile", 64, "--restart") == 0
    assert visible(tmp_path / "masks") == ["a.tif", "b.tif"]


@pytest.mark.parametrize("name", ["mask.tif", "runs.csv", "areas.geojson"])
def test_ctrl_c_is_reported_and_resumed_from(runs, image, tmp_path, monkeypatch, capsys, name):
    command = ["predict", runs["multiclass"], image, tmp_path / name, "--tile", 32]
    assert run(*command) == 0
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 11, KeyboardInterrupt())
        assert run(*command) == 130
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("error: interrupted; 11 of 30 parts of ")
    assert printed.endswith("the same command resumes where it stopped")
    assert not (tmp_path / name).exists()
    assert run(*command) == 0
    assert "resuming after part 11 of 30" in capsys.readouterr().out
    assert (tmp_path / name).read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["image.tif", name])


def test_a_change_is_noticed_and_named(runs, image, tmp_path, monkeypatch, capsys):
    output = tmp_path / "mask.tif"
    command = ["predict", runs["binary"], image, output, "--tile", 32]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, KeyboardInterrupt())
        assert run(*command) == 130
    for changed, named in [
        (["predict", runs["binary"], image, output, "--tile", 64], "another tile (32 before, 64 now)"),
        ([*command, "--probabilities", "uint8"], 'another probabilities (null before, "uint8" now)'),
        (["predict", runs["multiclass"], image, output, "--tile", 32], "another run"),
    ]:
        assert run(*changed) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert named in error
        assert error.endswith("--restart starts again")
    os.utime(image, ns=(1, 1))
    assert run(*command) == 2
    assert "another image" in capsys.readouterr().err.splitlines()[-1]
    assert run(*command, "--restart") == 0
    assert "resuming" not in capsys.readouterr().out
    assert visible(tmp_path) == ["image.tif", "mask.tif"]


@pytest.mark.parametrize("damage", ["values", "values of a black image", "journal", "torn line", "scratch"])
def test_damaged_progress_is_predicted_again(runs, image, tmp_path, monkeypatch, damage):
    if "black" in damage:
        write_image(image, np.zeros_like(PIXELS))
    output = tmp_path / "mask.tif"
    command = ["predict", runs["multiclass"], image, output, "--tile", 32]
    assert run(*command) == 0
    whole = output.read_bytes()
    output.unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 20, KeyboardInterrupt())
        assert run(*command) == 130
    scratch, journal = tmp_path / ".mask.tif.partial", tmp_path / ".mask.tif.journal"
    if "values" in damage:
        content = bytearray(scratch.read_bytes())
        content[100] ^= 1
        scratch.write_bytes(content)
    elif damage == "journal":
        journal.write_bytes(b"\0" * 100)
    elif damage == "torn line":
        journal.write_bytes(journal.read_bytes() + b'{"parts": 30, "che')
    else:
        scratch.write_bytes(scratch.read_bytes()[:-1])
    assert run(*command) == 0
    assert output.read_bytes() == whole
    assert visible(tmp_path) == ["image.tif", "mask.tif"]


def test_two_commands_do_not_write_one_output(runs, image, tmp_path, monkeypatch, capsys):
    import fcntl

    with open(tmp_path / ".mask.tif.journal", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run("predict", runs["binary"], image, tmp_path / "mask.tif") == 2
    assert "expected an output that nobody else writes" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_resumed_from(runs, image, tmp_path, monkeypatch, capsys):
    output = tmp_path / "mask.tif"
    command = ["predict", runs["binary"], image, output, "--tile", 32]
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        assert run(*command) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path}: no space left: expected 24.9 KB; received " in printed
    assert printed.endswith("the same command resumes where it stopped")
    assert visible(tmp_path) == ["image.tif"]
    with monkeypatch.context() as patch:
        # The scratch file has its space; the output itself does not.
        patch.setattr(data.writers.raster_writer.RasterWriter, "finish", refuse)
        assert run(*command) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert " free); everything is predicted: the same command resumes where it stopped" in printed
    assert "No space left on device" in printed
    assert run(*command) == 0
    assert "resuming after part 30 of 30" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "mask.tif"]


def test_a_broken_tile_in_the_middle_is_named_and_leaves_nothing(runs, image, tmp_path, capsys):
    write_image(image, compress="deflate")
    content = bytearray(image.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    image.write_bytes(content)
    assert run("predict", runs["binary"], image, tmp_path / "mask.tif", "--tile", 32) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {image}: expected readable pixels in the window at ")
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


WORKER = """
import sys
sys.path.insert(0, {root!r})
from maskzoo import cli
cli.main("predict", sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_prediction_resumes_to_the_same_bytes(runs, tmp_path):
    """SIGKILL at two moments of a prediction that commits after every part."""
    image = write_image(tmp_path / "image.tif", np.tile(PIXELS, (4, 4, 1)))
    command = [str(runs["multiclass"]), str(image), str(tmp_path / "mask.tif"), "--tile", "16"]
    assert run("predict", *command) == 0
    whole = (tmp_path / "mask.tif").read_bytes()
    (tmp_path / "mask.tif").unlink()
    hurried = "from maskzoo.inference import journal; journal.COMMIT_SECONDS = 0"
    code = WORKER.format(root=str(ROOT)).replace("cli.main", f"{hurried}\ncli.main", 1)
    journal = tmp_path / ".mask.tif.journal"
    for lines in (3, 600):
        process = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL)
        while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "mask.tif").exists()
    assert run("predict", *command) == 0
    assert (tmp_path / "mask.tif").read_bytes() == whole
    assert visible(tmp_path) == ["image.tif", "mask.tif"]


def test_resizing_predicts_a_small_image_and_brings_it_back(runs, image, tmp_path):
    """Halved by averages of neighbours, as SciPy and a sum over blocks have it."""
    assert (
        run("predict", runs["binary"], image, tmp_path / "p.tif", "--resize", "75x85", "--probabilities", "float32")
        == 0
    )
    received = read_image(tmp_path / "p.tif")[..., 0]
    assert received.shape == PIXELS.shape[:2]
    # A triangle twice as wide as a pixel, every second place: shares 1, 3, 3, 1 of 8.
    padded = np.pad(PIXELS.astype(float), [(1, 1), (1, 1), (0, 0)])
    for axis in (0, 1):
        padded = ndimage.correlate1d(padded, [1, 3, 3, 1], axis, origin=-1, mode="constant")
        ones = ndimage.correlate1d(np.pad(np.ones(PIXELS.shape[axis]), 1), [1, 3, 3, 1], origin=-1, mode="constant")
        padded /= np.expand_dims(ones, [a for a in range(3) if a != axis]).clip(1)
    halved = np.rint(padded[1:-1, 1:-1][::2, ::2])
    kernel, bias = (weight.numpy() for weight in keras.saving.load_model(runs["binary"] / "best.keras").weights)
    around = np.pad(halved / 255, [(1, 1), (1, 1), (0, 0)], mode="reflect")
    logits = sum(ndimage.correlate(around[..., c], kernel[:, :, c, 0])[1:-1, 1:-1] for c in range(3)) + bias
    expected = ndimage.zoom(1 / (1 + np.exp(-logits)), 2, order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(received, expected, atol=2e-3)


def test_only_tiles_with_tissue_are_predicted(runs, tmp_path, capsys):
    """White glass with a coloured piece: far from it the mask is background, on it that of the whole prediction."""
    pixels = np.full((600, 500, 3), 240, np.uint8)
    pixels[100:200, 300:400] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    image = write_image(tmp_path / "slide.tif", pixels)
    options = ["--tile", 50, "--probabilities", "float32"]
    assert run("predict", runs["multiclass"], image, tmp_path / "whole.tif", *options) == 0
    assert run("predict", runs["multiclass"], image, tmp_path / "tissue.tif", *options, "--tissue") == 0
    printed = capsys.readouterr().out
    number = int(printed.split("tissue on ")[1].split()[0])
    assert 4 <= number <= 36
    whole, tissue = read_image(tmp_path / "whole.tif"), read_image(tmp_path / "tissue.tif")
    np.testing.assert_array_equal(tissue[100:200, 300:400], whole[100:200, 300:400])
    np.testing.assert_array_equal(tissue[300:], np.broadcast_to([1, 0, 0], (300, 500, 3)))
    assert np.abs(whole[300:] - [1, 0, 0]).min() > 1e-3


def test_wrong_sizes_are_one_line(runs, image, tmp_path, capsys):
    for options, expected in [
        (["--resize", "512by512"], "--resize: expected sizes such as 512 or 384x512"),
        (["--resize", "5x5x5"], "--resize: expected 2 sizes"),
        (["--level", 3], "expected a level from 0 to 0; received 3"),
        (["--seam-tolerance", 2], "--seam-tolerance: expected a number from 0 to below 1"),
    ]:
        assert run("predict", runs["binary"], image, tmp_path / "mask.tif", *options) == 2
        assert expected in capsys.readouterr().err.splitlines()[-1]
        assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]
