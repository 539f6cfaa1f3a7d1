"""Several hosts equal one machine: the same batches, the same weights; a lost host ends the job, which resumes."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from maskzoo import data, training
from maskzoo.errors import OptionError
from maskzoo.training import read_history, strategy
from maskzoo.training.hosts import expand_nodes, find_hosts, folder_of_host

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "model": "unet_padded",
    "option": {"filters": [4]},
    "norm": "sync",
    "patch": 16,
    "steps": 2,
    "batch_size": 4,
    "optimizer": "sgd",
    "schedule": "constant",
    "warm_up": 0,
    "learning_rate": 0.01,
    "clip_norm": 0.5,
}
# The second one measures the best of the first on its own windows.
STAGES = [{"epochs": 1, "patch": 24}, {"patch": 16}]


@pytest.fixture(scope="module")
def folder(grey_squares):
    return grey_squares


def weights(path):
    model = keras.saving.load_model(path, compile=False)
    return {variable.path: np.array(variable) for variable in model.weights}


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# What the other hosts have learnt is deleted with their folders: kept here, to compare.
KEEPING = """
import shutil, sys
from maskzoo import cli, training
from maskzoo.cli.backend import load_keras
kept = sys.argv.pop(1)
load_keras()
train = training.train
def keeping(recipe, run):
    result = train(recipe, run)
    shutil.copyfile(run / "last.keras", kept)
    return result
training.train = keeping
cli.main("train")
"""


@pytest.fixture
def start(tmp_path, folder):
    """Function that starts a host; those that a failed test leaves are ended."""
    started = []

    def begin(*arguments):
        started.append(started_host(tmp_path, folder, *arguments))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def started_host(tmp_path, folder, program, host, hosts, *options):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(OPTIONS | {"data": str(folder), "stages": STAGES}))
    arguments = ["--recipe", recipe, "--run", tmp_path / "run", "--hosts", hosts, "--host", host, *options]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_hosts_equal_one_machine_also_after_one_was_lost(folder, tmp_path, start):
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    verb = ["-m", "maskzoo", "train"]
    chief, other = (start(verb, host, hosts, "--epochs", 1000) for host in (0, 1))
    patience = time.monotonic() + 120
    while not (tmp_path / "run" / "last.keras").exists():
        assert time.monotonic() < patience
        assert chief.poll() is None, chief.stderr.read()
        time.sleep(0.05)
    other.kill()
    _, error = chief.communicate(timeout=60)
    other.communicate()
    assert chief.returncode == 2, error
    assert error.startswith("error: hosts: expected all of them to train to the end")
    assert error.count("\n") == 1

    before = read_history(tmp_path / "run")
    epochs = len(before)  # of the second stage
    resumed = [
        start(["-c", KEEPING, tmp_path / f"{host}.keras"], host, hosts, "--epochs", epochs, "--resume")
        for host in (0, 1)
    ]
    for host in resumed:
        _, error = host.communicate(timeout=120)
        assert host.returncode == 0, error
    rows = read_history(tmp_path / "run")
    assert rows[:-1] == before
    assert len(rows) == 1 + epochs
    chief, other = weights(tmp_path / "0.keras"), weights(tmp_path / "1.keras")
    for name in chief:
        np.testing.assert_array_equal(chief[name], other[name], err_msg=name)

    scores = []
    options = OPTIONS | {"stages": STAGES, "epochs": epochs, "run": str(tmp_path / "alone"), "devices": "cpu:1"}
    alone = training.Recipe(**options, data=str(folder))
    training.train(alone, training.create_run(alone))
    for run in ("run", "alone"):
        carried = json.loads((tmp_path / run / "best.json").read_text())["carried"]["2"]
        assert (carried["after"], list(carried["scores"])) == (1, ["1"])
        scores.append(carried["scores"]["1"])
    np.testing.assert_allclose(*scores, rtol=1e-3)
    single = weights(tmp_path / "alone" / "last.keras")
    for name in single:
        np.testing.assert_allclose(chief[name], single[name], rtol=1e-3, atol=2e-5, err_msg=name)
    for mine, theirs in zip(rows, read_history(tmp_path / "alone"), strict=True):
        for name in ("loss", "dice", "val_loss", "val_dice"):
            np.testing.assert_allclose(float(mine[name]), float(theirs[name]), rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("hosts", [2, 3])
def test_shards_are_the_parts_of_the_batch(folder, shuffle, hosts):
    cases = data.load_data(str(folder), spatial_dims=2).train
    options = data.WindowOptions(augment="flips", seed=3, mix_probabilities={"cutmix": 0.5}, windows="all")
    whole = data.WindowDataset(cases, 16, 6, options, shuffle=shuffle)
    shards = [
        data.WindowDataset(cases, 16, 6, options, shuffle=shuffle, loading=data.LoadingOptions(shard=(host, hosts)))
        for host in range(hosts)
    ]
    assert {len(shard) for shard in shards} == {len(whole)}
    for index in (0, len(whole) - 1):
        for expected, *parts in zip(whole[index], *(shard[index] for shard in shards), strict=True):
            assert {len(part) for part in parts} == {6 // hosts}
            np.testing.assert_array_equal(np.concatenate(parts), expected)
    with pytest.raises(OptionError, match="batch_size: expected a multiple of the 4 shards; received 6"):
        data.WindowDataset(cases, 16, 6, options, shuffle=shuffle, loading=data.LoadingOptions(shard=(3, 4)))


def recipe(**options):
    return training.Recipe(**{"run": "runs/one", **options})


TENSORFLOW = {"cluster": {"worker": ["a:1", "b:2", "c:3"]}, "task": {"type": "worker", "index": 2}}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_PROCID": "3",
    "SLURM_JOB_ID": "40123",
    "SLURM_STEP_NODELIST": "gpu[08-09],login",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}


def test_hosts_are_found():
    found = find_hosts(recipe(hosts="a:1,b:2", host=1), {})
    assert (found.hosts, found.host) == ("a:1,b:2", 1)
    found = find_hosts(recipe(), {"TF_CONFIG": json.dumps(TENSORFLOW)})
    assert (found.hosts, found.host) == ("a:1,b:2,c:3", 2)
    found = find_hosts(recipe(), SLURM)
    assert (found.hosts, found.host) == ("gpu08:20123,gpu08:20124,gpu09:20123,gpu09:20124,login:20123", 3)
    # Options win over the environment.
    assert find_hosts(recipe(hosts="a:1,b:2", host=0), SLURM).hosts == "a:1,b:2"
    for alone in (
        {},
        {**SLURM, "SLURM_STEP_NUM_TASKS": "1"},
        {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})},
    ):
        assert find_hosts(recipe(), alone).hosts is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node1", ["node1"]),
        ("a,b", ["a", "b"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[008-010,3]", ["n008", "n009", "n010", "n3"]),
        ("r1-n[1-2],r2-n7", ["r1-n1", "r1-n2", "r2-n7"]),
    ],
)
def test_node_lists(text, names):
    assert expand_nodes(text) == names


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({"hosts": "a:1,b:2"}, {}, "^host: expected the index of this host, from 0 to 1"),
        ({"hosts": "a:1,b:2", "host": 2}, {}, "received 2"),
        ({"hosts": "a,b", "host": 0}, {}, "^hosts: expected NAME:PORT"),
        ({"hosts": "a:1", "host": 0}, {}, "at least two different hosts"),
        ({"hosts": "a:1,a:1", "host": 0}, {}, "different hosts"),
        ({"hosts": "a:1,b:2", "host": 0, "run": None}, {}, "^run: expected a folder that all hosts can reach"),
        ({"hosts": "a:1,b:2", "host": 0, "folds": 2}, {}, "start each fold with `fold`"),
        ({"hosts": "a:1,b:2", "host": 0, "hard_example_fraction": 0.5}, {}, "hard_example_fraction: expected 0"),
        ({}, {"TF_CONFIG": "{"}, "TF_CONFIG: expected a cluster of workers"),
        ({}, {"TF_CONFIG": json.dumps(TENSORFLOW | {"task": {"type": "ps", "index": 0}})}, "a task of type ps"),
    ],
)
def test_incomplete_hosts_are_refused(options, environment, expected):
    with pytest.raises(ValueError, match=expected):
        find_hosts(recipe(**options), environment)


def test_only_the_chief_writes_the_run(tmp_path):
    run = tmp_path / "run"
    with folder_of_host(recipe(run=str(run), hosts="a:1,b:2", host=0)) as folder:
        assert folder == run
    for name in ("recipe.yaml", "history.csv", "last.keras", "best.keras"):
        (run / name).write_text(name)
    (run / "kept").mkdir()
    (run / "kept" / "epoch0001.keras").write_text("model")
    for resume in (False, True):
        with folder_of_host(recipe(run=str(run), hosts="a:1,b:2", host=1, resume=resume)) as folder:
            assert folder != run
            assert (folder / "last.keras").is_file() == resume
            assert (folder / "kept" / "epoch0001.keras").is_file() == resume
            # A stage that begins measures the best so far again, on every host.
            assert (folder / "best.keras").is_file() == resume
            (folder / "best.keras").write_text("mine")
        assert not folder.exists()
    assert (run / "best.keras").read_text() == "best.keras"


def test_devices_of_several_hosts_are_all_or_some_gpus():
    for devices, expected in (("cpu:2", "expected auto or gpu:N"), ("gpu:3", "expected at most gpu:")):
        with pytest.raises(ValueError, match=expected):
            strategy.open_hosts(["a:1", "b:2"], 0, devices)
    assert "TF_CONFIG" not in os.environ
