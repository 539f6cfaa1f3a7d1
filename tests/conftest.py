"""Two logical CPU devices in every test session, for MirroredStrategy to mirror; the folder of real data."""

import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import hypothesis
import pytest
import tensorflow as tf

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C, which some are about.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is no property; the same examples every time.
hypothesis.settings.register_profile("maskzoo", deadline=None, derandomize=True)
hypothesis.settings.load_profile("maskzoo")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture
def shared_data():
    """The folder of real images and volumes with labels; a test that needs it is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real images and volumes are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps what tests measure out of the user's cache."""
    os.environ["MASKZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
