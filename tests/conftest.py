"""What all tests share: two logical CPU devices for MirroredStrategy, the folder of real data, a cache of their own."""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import hypothesis
import pytest

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C, which some are about.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is no property; the same examples every time.
hypothesis.settings.register_profile("maskzoo", deadline=None, derandomize=True)
hypothesis.settings.load_profile("maskzoo")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WITHOUT_DATA = (
    f"needs real images in {SHARED_DATA}: ISBI 2012 (membrane/), Medical Segmentation Decathlon Task04 (hippocampus/), "
    "Data Science Bowl 2018 (nuclei/), CamVid (camvid/) and sample rasters (raster/, rle/); CONTRIBUTING.md says how"
)


def pytest_collection_modifyitems(items):
    for item in items:
        if "shared_data" in item.fixturenames:
            item.add_marker(pytest.mark.real_data)


def pytest_collection_finish():
    if "tensorflow" in sys.modules:  # of tests of numpy alone it is not
        split_processor()


def split_processor():
    """Makes the processor two logical devices, which TensorFlow allows only before it is used."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    if not tf.config.get_logical_device_configuration(processor):
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def two_devices():
    """For tests that import TensorFlow themselves and need two devices."""
    split_processor()


@pytest.fixture
def shared_data():
    """The folder of real images and volumes with labels; a test that needs it is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(WITHOUT_DATA)
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps what tests measure out of the user's cache."""
    os.environ["MASKZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A data set of five georeferenced RGB TIFFs with masks: a bright rectangle on dark noise. Not to be changed."""
    import numpy as np
    import rasterio

    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    size = {"height": 96, "width": 112}
    place = {"crs": "EPSG:32616", "transform": rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000)}
    for index in range(5):
        mask = np.zeros((1, 96, 112), np.uint8)
        top, left = rng.integers(10, 50, 2)
        mask[:, top : top + 30, left : left + 40] = 255
        image = (rng.integers(0, 90, (3, 96, 112)) + (mask > 0) * 120).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            (root / kind).mkdir(exist_ok=True)
            path = root / kind / f"{index}.tif"
            with rasterio.open(path, "w", "GTiff", count=len(pixels), dtype="uint8", **size, **place) as file:
                file.write(pixels)
    return root


@pytest.fixture(scope="session")
def trained_run(squares, tmp_path_factory, two_devices):
    """The run folder of a tiny U-Net after two epochs of `train` on `squares`. Not to be changed."""
    from run_verb import run

    path = tmp_path_factory.mktemp("runs") / "squares"
    model = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", "64", "--batch-size", "2"]
    assert run("train", *model, "--steps", 3, "--epochs", 2, "--data", squares, "--run", path) == 0
    return path
