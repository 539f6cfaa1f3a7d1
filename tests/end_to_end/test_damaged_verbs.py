"""A file that is damaged behind its header: every verb that reads it says so in one line, and leaves nothing behind."""

import shutil

import pytest
import rasterio
from run_verb import run_and_capture

pytestmark = pytest.mark.slow

MODEL = ["--model", "unet_padded", "--option", "filters=[4]", "--patch", "32", "--batch-size", "2", "--steps", "1"]


@pytest.fixture(scope="module")
def damaged(request, squares, tmp_path_factory):
    """A copy of the squares of which one packed image, or its mask, is cut off behind its header; and that file."""
    root = tmp_path_factory.mktemp("damaged") / "set"
    shutil.copytree(squares, root)
    path = root / f"{request.param}s" / "2.tif"
    with rasterio.open(path) as file:
        pixels, profile = file.read(), file.profile
    profile |= {"compress": "deflate", "tiled": True, "blockxsize": 32, "blockysize": 32, "interleave": "pixel"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    return root, path


def assert_one_line(result, path):
    status, _, complaints = result
    assert status == 2
    (line,) = [line for line in complaints.splitlines() if line.startswith("error:")]
    assert str(path) in line
    assert "Traceback" not in complaints


# What each verb reads.
READ = {"image": ("train", "evaluate", "pseudo", "predict"), "mask": ("train", "evaluate", "folds")}


@pytest.mark.parametrize(
    ("damaged", "verb"), [(part, verb) for part, verbs in READ.items() for verb in verbs], indirect=["damaged"]
)
def test_a_damaged_file_is_named(damaged, verb, trained_run, tmp_path, capsys):
    root, path = damaged
    output = tmp_path / "output"
    arguments = {
        "train": (*MODEL, "--data", root, "--epochs", 1, "--run", output),
        "folds": (root, output.with_suffix(".json"), "--k", 2, "--stratify"),
        "evaluate": (trained_run, "--data", root),
        "pseudo": (trained_run, root / "images", output),
        "predict": (trained_run, root / "images", output),
    }[verb]
    result = run_and_capture(capsys, verb, *arguments)
    if verb == "predict":
        # The other images are predicted; the damaged one is named, and has no result.
        status, _, complaints = result
        assert status == 2
        assert str(path) in complaints
        assert "Traceback" not in complaints
        assert sorted(file.name for file in output.glob("[!.]*")) == ["0.tif", "1.tif", "3.tif", "4.tif"]
        return
    assert_one_line(result, path)
