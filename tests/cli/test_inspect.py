"""`maskzoo inspect`: pictures where they are asked for, two sets compared, mistakes in one line, no heavy imports."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from run_verb import run_and_capture


def run(capsys, *arguments):
    return run_and_capture(capsys, "inspect", *arguments)


def cloudy(number, seed, brighter=0):
    """Images of cloudy noise, each of a brightness and contrast of its own."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        image = cv2.GaussianBlur(rng.normal(0, 1, (64, 64, 3)), (0, 0), rng.uniform(1, 2))
        image = rng.uniform(90, 130) + brighter + rng.uniform(60, 100) * image
        yield np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Six cloudy images, their masks, and darker images alone in a folder."""
    for name in ("set/images", "set/masks", "other"):
        (tmp_path / name).mkdir(parents=True)
    for number, image in enumerate(cloudy(6, 0)):
        assert cv2.imwrite(str(tmp_path / "set" / "images" / f"{number}.png"), image)
        assert cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number}.png"), (image[..., 0] > 120).astype(np.uint8))
    for number, image in enumerate(cloudy(6, 1, brighter=-60)):
        assert cv2.imwrite(str(tmp_path / "other" / f"{number}.png"), image)
    return tmp_path / "set"


def test_the_report_is_printed_as_text_or_json(folder, capsys):
    code, out, err = run(capsys, folder)
    assert (code, err) == (0, "")
    assert "6 images, 6 with a label" in out
    assert "nothing suspicious" in out
    assert "--picture" in out
    report = json.loads(run(capsys, folder, "--json")[1])
    assert (report["pairs"], report["channels"], report["suspicious"]) == (6, {"3": 6}, {})


def test_the_picture_is_written_only_where_it_is_asked_for(folder, capsys, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run(capsys, folder)
    assert list((tmp_path / "work").iterdir()) == []
    assert run(capsys, folder, "--picture", "overlays.png", "--samples", 2)[0] == 0
    assert cv2.imread("overlays.png").shape[0] > 200


def test_another_folder_is_compared(folder, capsys, monkeypatch):
    monkeypatch.setattr("maskzoo.data.inspection.shift.RESAMPLES", 100)
    other = folder.parent / "other"
    code, out, _ = run(capsys, folder, "--against", other, "--picture", folder / "found.png")
    assert code == 0
    assert "6 and 6 images" in out
    assert "they differ" in out
    assert cv2.imread(str(folder / "found-against.png")).shape[0] > 400
    report = json.loads(run(capsys, folder, "--against", other, "--json")[1])["against"]
    assert report["auc"] > 0.95
    assert report["path"] == str(other)
    code, _, err = run(capsys, folder, "--against", folder / "none")
    assert code == 2
    assert "none" in err


def test_mistakes_are_one_line(folder, capsys, tmp_path):
    (tmp_path / "set.yaml").write_text("path: .\nclases: [a]\n")
    mistakes = {
        (tmp_path / "nowhere",): "nowhere",
        (tmp_path / "set.yaml",): "classes",
        (folder, "--picture", "overlays.jpg"): "--picture",
        (folder, "--picture", tmp_path / "none" / "a.png"): "none",
        (folder, "--samples", "0"): "--samples",
        (folder, "--spatial-dims", "4"): "--spatial-dims",
        (folder, "--pictrue", "a.png"): "--picture",
    }
    for arguments, expected in mistakes.items():
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert expected in err


def test_neither_keras_nor_tensorflow_is_imported(folder):
    code = (
        "import sys; from maskzoo import cli; cli.main('inspect', sys.argv[1:]);"
        "sys.exit(bool({'keras', 'tensorflow'} & sys.modules.keys()))"
    )
    picture = str(folder / "overlays.png")
    done = subprocess.run([sys.executable, "-c", code, str(folder), "--picture", picture], capture_output=True)
    assert done.returncode == 0, done.stderr
