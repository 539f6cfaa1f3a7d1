"""Prediction by worker processes of Dask: the same bytes as in one process, whatever happens to the workers."""

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster
from noise_runs import PIXELS, make_run_folder, read_image, visible, write_image
from run_verb import run

from maskzoo.inference import cluster, journal, options

ROOT = Path(__file__).resolve().parents[2]
LARGE = np.tile(PIXELS, (8, 7, 1))


@pytest.fixture(scope="module")
def workers():
    with cluster.local_workers(2) as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    found = {
        "multiclass": make_run_folder(root / "multiclass", "multiclass", ["ground", "road", "roof"]),
        "global": make_run_folder(root / "global", "multilabel", ["lung", "heart"]),
        "labelled": make_run_folder(root / "labelled", "multilabel", ["lung", "heart"]),
    }
    for name in ("global", "labelled"):
        model = keras.saving.load_model(found[name] / "best.keras")
        mask, image = model.output, model.input
        if name == "global":
            outputs = keras.layers.Add(name="all")([mask, keras.layers.GlobalAveragePooling2D(keepdims=True)(mask)])
        else:
            # The first class is in the image if any pixel is white, the second never.
            label = keras.layers.Dense(2, name="label")
            brightest = keras.layers.GlobalMaxPooling2D()(image)
            outputs = {"mask": mask, "label": label(brightest)}
            label.set_weights([np.array([[300, 0]] * 3), np.array([-880, -9])])
        keras.Model(image, outputs).save(found[name] / "best.keras")
    return found


def both_ways(workers, trained, image, name, *options):
    """The bytes of a prediction in this process, and by the workers."""
    found = []
    for way in ([], ["--cluster", workers.scheduler_address]):
        output = image.parent / f"{len(way)}-{name}"
        assert run("predict", *trained, image, output, *options, *way) == 0
        found.append(output.read_bytes())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "output", "options"),
    [
        (["multiclass"], "p.tif", ["--tile", 16, "--probabilities", "float32"]),
        (["global"], "p.tif", ["--tile", 32, "--probabilities", "float32"]),
        (["global", "labelled"], "q.tif", ["--probabilities", "uint8", "--tta", "flips", "--weights", "[2,1]"]),
        (["multiclass"], "areas.geojson", ["--tile", 48, "--min-area", 20]),
        (["multiclass"], "runs.csv", ["--resize", 64]),
    ],
)
def test_the_bytes_are_those_of_one_process(workers, runs, image, names, output, options):
    alone, together = both_ways(workers, [runs[name] for name in names], image, output, *options)
    assert alone == together


@pytest.mark.slow
def test_tissue_and_labels_are_known_to_all_workers(workers, runs, tmp_path):
    """Only one tile is white, and only some show tissue."""
    pixels = np.full((600, 500, 3), 200, np.uint8)
    pixels[100:200, 300:400] = np.random.default_rng(0).integers(0, 250, (100, 100, 3))
    pixels[190, 390] = 255
    image = write_image(tmp_path / "slide.tif", pixels)
    options = ["--tile", 50, "--tissue", "--gate", 0.5]
    alone, together = both_ways(workers, [runs["labelled"]], image, "mask.tif", *options)
    assert alone == together
    mask = read_image(tmp_path / "2-mask.tif")
    assert mask[100:200, 300:400, 0].any()
    assert not mask[..., 1].any()


@pytest.mark.slow
def test_what_is_interrupted_resumes_without_the_cluster(workers, runs, tmp_path, monkeypatch, capsys):
    image = write_image(tmp_path / "image.tif", LARGE)
    command = ["predict", runs["multiclass"], image, tmp_path / "mask.tif", "--tile", 256]
    assert run(*command) == 0
    whole = (tmp_path / "mask.tif").read_bytes()
    (tmp_path / "mask.tif").unlink()
    write = journal.Journal.write

    def interrupted(self, values):
        if self.done == 7:
            raise KeyboardInterrupt
        write(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "write", interrupted)
        assert run(*command, "--cluster", workers.scheduler_address) == 130
    assert "interrupted; 7 of 25 parts of " in capsys.readouterr().err.splitlines()[-1]
    assert run(*command) == 0
    assert "resuming after part 7 of 25" in capsys.readouterr().out
    assert (tmp_path / "mask.tif").read_bytes() == whole


@pytest.mark.slow
def test_a_folder_is_predicted_side_by_side_without_the_bad_image(workers, runs, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in "abcd":
        write_image(tmp_path / "images" / f"{name}.tif", np.roll(PIXELS, ord(name)), compress="deflate")
    broken = tmp_path / "images" / "b.tif"
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    broken.write_bytes(content)
    printed = []
    for folder, way in (("alone", []), ("together", ["--cluster", workers.scheduler_address])):
        assert run("predict", runs["multiclass"], tmp_path / "images", tmp_path / folder, "--tile", 64, *way) == 2
        printed.append(capsys.readouterr().err.splitlines()[-2:])
        assert visible(tmp_path / folder) == ["a.tif", "c.tif", "d.tif"]
    assert printed[0] == printed[1]
    assert printed[0][0].startswith(f"skipped: {broken}: expected readable pixels")
    for name in "acd":
        assert (tmp_path / "alone" / f"{name}.tif").read_bytes() == (tmp_path / "together" / f"{name}.tif").read_bytes()


@pytest.mark.slow
def test_workers_that_cannot_do_the_task_are_named(workers, runs, image, tmp_path, monkeypatch, capsys):
    command = ["predict", runs["multiclass"], image, tmp_path / "mask.tif", "--cluster", workers.scheduler_address]
    packed = cluster.packed

    def needing_more(*arguments, **options):
        return replace(packed(*arguments, **options), needed=("/nowhere/x",))

    monkeypatch.setattr(cluster, "packed", needing_more)
    assert run(*command) == 2
    assert "--cluster: expected workers that see /nowhere/x; received " in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.undo()
    monkeypatch.setattr("maskzoo.inference.identity.version", lambda name: "0.0.1")
    assert run(*command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --cluster: expected workers with the same software, {'maskzoo': '0.0.1'")
    assert visible(tmp_path) == ["image.tif"]


@pytest.mark.slow
def test_ctrl_c_stops_a_folder_that_resumes_later(workers, runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    for name in "abc":
        write_image(tmp_path / "images" / f"{name}.tif", np.roll(PIXELS, ord(name)))
    command = ["predict", runs["multiclass"], tmp_path / "images", tmp_path / "masks", "--tile", 64]
    write, struck = journal.Journal.write, threading.Event()

    def strike(self, values):
        write(self, values)
        if not struck.is_set():
            struck.set()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "write", strike)
        assert run(*command, "--cluster", workers.scheduler_address) == 130
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed == "error: interrupted; the same command resumes where it stopped"
    assert run(*command) == 0
    assert visible(tmp_path / "masks") == ["a.tif", "b.tif", "c.tif"]


def test_a_scheduler_that_goes_away_is_one_line(runs, image, tmp_path, capsys):
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as empty:
        end = threading.Timer(1.5, empty.close)
        end.start()
        command = ["predict", runs["multiclass"], image, tmp_path / "mask.tif"]
        assert run(*command, "--cluster", empty.scheduler_address) == 2
        end.join()
    printed = capsys.readouterr()
    assert printed.out.startswith("cluster: waiting for the first worker of tcp://")
    error = printed.err.splitlines()[-1]
    assert error.startswith("error: --cluster: expected a scheduler that stays; received none")
    assert visible(tmp_path) == ["image.tif"]


def test_what_is_no_cluster_is_one_line(runs, image, capsys):
    assert run("predict", runs["multiclass"], image, image.with_name("mask.tif"), "--cluster", "host:8786") == 2
    assert capsys.readouterr().err.startswith("error: --cluster: expected local, local:N for N workers, or the address")


def test_a_scheduler_that_is_not_there_is_one_line(runs, image, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    command = ["predict", runs["multiclass"], image, image.with_name("mask.tif"), "--cluster", "tcp://127.0.0.1:9"]
    assert run(*command) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(
        "error: --cluster: expected a Dask scheduler at tcp://127.0.0.1:9; received none that answers"
    )


def test_without_dask_the_extra_is_named(runs, image, monkeypatch, capsys):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    command = [runs["multiclass"], image, image.with_name("mask.tif")]
    for arguments in ([*command, "--cluster"], ["--cluster", *command], ["--cluster", "--tile", 32, *command]):
        assert run("predict", *arguments) == 2
        assert capsys.readouterr().err.endswith('received an installation without it: pip install "maskzoo[cluster]"\n')


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(runs, tmp_path):
    """As a terminal sends it: to all processes of the command. The workers are still importing TensorFlow."""
    image = write_image(tmp_path / "image.tif", LARGE)
    command = [
        sys.executable,
        ROOT / "predict.py",
        runs["multiclass"],
        image,
        tmp_path / "mask.tif",
        "--cluster",
        "local:1",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline().startswith("cluster: 1 worker,")
    assert re.search("tiles? of", process.stdout.readline())
    ours = psutil.Process(process.pid).children(recursive=True)
    assert len(ours) >= 2
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    # But for what TensorFlow says of the machine.
    lines = [line for line in error.splitlines() if not re.match(r"[EIW]0000 |WARNING: All log", line)]
    assert lines == ["error: interrupted; the same command resumes where it stopped"]
    # Those that only watch over others end a moment later.
    _, left = psutil.wait_procs(ours, timeout=10)
    assert not [child for child in left if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert visible(tmp_path) == ["image.tif"]


def kill_one(client, busy):
    """Kills a worker that has something; returns its process's number."""
    address = next(address for address, tasks in busy.items() if tasks)
    number = client.run(os.getpid, workers=[address])[address]
    os.kill(number, signal.SIGKILL)
    return number


@pytest.mark.slow
def test_a_worker_is_killed_midway(workers, runs, tmp_path, monkeypatch):
    """The one that is killed, SIGKILL, is at work on a task, or holds what it has found."""
    image = write_image(tmp_path / "image.tif", LARGE)
    options = ["--tile", 256, "--probabilities", "float32"]
    assert run("predict", runs["multiclass"], image, tmp_path / "alone.tif", *options) == 0
    write, killed = journal.Journal.write, []
    with Client(workers.scheduler_address, set_as_default=False) as client:

        def write_and_kill(self, values):
            write(self, values)
            if not killed:
                killed.append(kill_one(client, {**client.has_what(), **client.processing()}))

        monkeypatch.setattr(journal.Journal, "write", write_and_kill)
        command = ["predict", runs["multiclass"], image, tmp_path / "together.tif", *options]
        assert run(*command, "--cluster", workers.scheduler_address) == 0
        assert killed[0] not in client.run(os.getpid).values()
    assert (tmp_path / "alone.tif").read_bytes() == (tmp_path / "together.tif").read_bytes()
    assert visible(tmp_path) == ["alone.tif", "image.tif", "together.tif"]


@pytest.mark.slow
def test_tiles_that_kill_every_worker_stop_it(workers, runs, tmp_path, monkeypatch, capsys):
    """With patience for none."""
    image = write_image(tmp_path / "image.tif", LARGE)
    command = ["predict", runs["multiclass"], image, tmp_path / "mask.tif", "--tile", 256]
    monkeypatch.setattr(workers.scheduler, "allowed_failures", 0)
    write, killed = journal.Journal.write, []
    with Client(workers.scheduler_address, set_as_default=False) as client:

        def write_and_kill(self, values):
            write(self, values)
            busy = client.processing()
            if not killed and any(busy.values()):
                killed.append(kill_one(client, busy))

        with monkeypatch.context() as patch:
            patch.setattr(journal.Journal, "write", write_and_kill)
            assert run(*command, "--cluster", workers.scheduler_address) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: --cluster: expected workers that live; received several that died of the same tiles"
    )
    assert run(*command) == 0
    assert re.search("resuming after part [1-9]", capsys.readouterr().out)
