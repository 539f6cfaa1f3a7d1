"""Run folders and an image that many tests of prediction share."""

import pytest
from noise_runs import make_run_folder, write_image


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A run folder for each task, around one random convolution. Not to be changed."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "binary": make_run_folder(root / "binary", "binary", ["cell"]),
        "multilabel": make_run_folder(root / "multilabel", "multilabel", ["lung", "heart, big"]),
        "multiclass": make_run_folder(root / "multiclass", "multiclass", ["ground", "road", "roof"]),
    }


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.tif")
