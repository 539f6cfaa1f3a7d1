"""Nothing relies on fork, which macOS and Windows do not use: a program trains and predicts with spawned processes."""

import subprocess
import sys

import numpy as np
import pytest

from maskzoo import data

PROGRAM = """
import multiprocessing, sys
from maskzoo import cli, inference
from maskzoo.data import WindowDataset, load_data
from maskzoo.data.sampling.options import LoadingOptions, WindowOptions

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    folder, run, image, mask = sys.argv[1:]
    model = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", "32", "--batch-size", "2"]
    cli.main("train", [*model, "--steps", "1", "--epochs", "1", "--data", folder, "--run", run])
    network = inference.load_run(run).model
    network.compile("sgd", "binary_crossentropy")
    loading = LoadingOptions(workers=1, use_multiprocessing=True)
    windows = WindowDataset(load_data(folder, spatial_dims=2).train, 32, 2, WindowOptions(steps=1), loading=loading)
    network.fit(windows, epochs=1, verbose=0, shuffle=False)
    cli.main("predict", [run, image, mask])
"""


@pytest.mark.slow
def test_a_program_that_spawns_its_processes_trains_and_predicts(squares, tmp_path):
    image, mask, program = squares / "images" / "0.tif", tmp_path / "mask.tif", tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, program, squares, tmp_path / "run", image, mask]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
    with data.open_source(mask, palette="index") as source:
        written = source.read(data.Window((0, 0), source.shape))
        assert source.shape == data.open_source(image).shape
    assert set(np.unique(written)) <= {0, 1}
