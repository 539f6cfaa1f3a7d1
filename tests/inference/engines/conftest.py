"""A small network, and a run of it with images to calibrate on."""

import keras
import numpy as np
import pytest
from random_weights import randomised

from maskzoo import data, inference, models
from maskzoo.inference.run_files import Decision, RunData


@pytest.fixture(scope="session")
def unet():
    keras.utils.set_random_seed(1)
    return randomised(models.build_model("unet_padded", (None, None, 3), 1, filters=(4, 8)))


@pytest.fixture
def run(unet, tmp_path):
    """A run in a folder, with images to calibrate on."""
    folder = tmp_path / "run"
    folder.mkdir()
    unet.save(folder / "best.keras")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(3):
        np.save(tmp_path / "data" / "images" / f"{number}.npy", rng.integers(0, 256, (40, 40, 3)).astype(np.uint8))
        np.save(tmp_path / "data" / "masks" / f"{number}.npy", rng.integers(0, 2, (40, 40, 1)).astype(np.uint8))
    described = data.load_data(str(tmp_path / "data"), spatial_dims=2).as_mapping()
    RunData.from_mapping({**described, "patch": [32, 32]}).write(folder)
    Decision((0.5,)).write(folder)
    return inference.load_run(folder)


@pytest.fixture(scope="session")
def random_images():
    """A function to normalised images `(batch, *size, 3)`."""

    def make(size, batch=1):
        return np.random.default_rng(0).normal(size=(batch, *size, 3)).astype(np.float32)

    return make
