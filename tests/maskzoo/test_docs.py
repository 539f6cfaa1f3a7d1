"""The Python snippets of the README and of the documentation run as they are printed, page by page."""

import contextlib
import io
import json
import re
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from maskzoo import data, inference

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = {path.relative_to(ROOT).as_posix(): SNIPPET.findall(path.read_text(encoding="utf-8")) for path in PAGES}
# Pages that build large encoders or write exported models.
SLOW = ("docs/export.md", "docs/models/encoders.md", "docs/models/fine_grained_unet.md", "docs/models/mednext.md")
MARKED = [
    pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page, code in SNIPPETS.items() if code
]


@pytest.fixture
def place(tmp_path, monkeypatch, squares, trained_run):
    """A working folder with what the pages speak of: a slide, runs, a Dask scheduler that is this process."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(squares / "images" / "0.tif", "slide.tif")
    Path("runs").mkdir()
    for name in ("first", "membrane", *(f"fold{fold}" for fold in range(5))):
        Path("runs", name).symlink_to(trained_run)
    monkeypatch.setattr(inference, "open_cluster", lambda where: contextlib.nullcontext())
    return tmp_path


@pytest.fixture
def exported(place, monkeypatch):
    """What the page on deployment speaks of: exported models, and a server that answers with a mask."""
    from run_verb import run

    assert run("export", "runs/membrane", "membrane") == 0
    assert run("export", "runs/membrane", "membrane-onnx", "--format", "onnx") == 0
    with data.open_source("slide.tif") as slide:
        image = slide.read(data.Window((0, 0), slide.shape))

    def answer(url, body):
        sent = np.array(json.loads(body)["instances"], np.uint8)
        return io.BytesIO(json.dumps({"predictions": np.zeros(sent.shape[:-1], int).tolist()}).encode())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    return {"image": image, "tiles": np.zeros((1, 64, 64, 3), np.float32)}


def test_pages_have_snippets():
    assert sum(map(len, SNIPPETS.values())) > 10


@pytest.mark.parametrize("page", MARKED)
def test_snippets_run_as_they_are_printed(page, place, request):
    names = request.getfixturevalue("exported") if page == "docs/export.md" else {"image": np.zeros((64, 64, 3))}
    if page == "docs/models/branch2_unet.md":
        from maskzoo import models

        Path("runs/trunk").mkdir()
        models.build_model("unet_padded", (None, None, 3), 4, filters=(4, 8, 8)).save("runs/trunk/best.keras")
    for snippet in SNIPPETS[page]:
        # Neither the network nor other machines are there.
        code = snippet.replace('encoder_weights="imagenet"', "encoder_weights=None").replace(
            "/slides/1.tif", "slide.tif"
        )
        exec(compile(code, page, "exec"), names)
