"""Damaged files of a run folder: each is refused in one line that names it."""

import os
import shutil

import file_damage
import numpy as np
import pytest

from maskzoo.errors import MaskzooError
from maskzoo.evaluation.scores import read_scores
from maskzoo.inference.run import read_run
from maskzoo.training.checkpoints import load_last
from maskzoo.training.choice import read_choice
from maskzoo.training.history import read_history
from maskzoo.training.run_folder import read_recipe

READERS = {
    "data.json": read_run,
    "decision.json": read_run,
    "best.keras": read_run,
    "last.keras": load_last,
    "recipe.yaml": read_recipe,
    "history.csv": read_history,
    "scores.json": lambda run: read_scores(run / "scores.json"),
    "best.json": read_choice,
}


def damaged_run(trained_run, folder, name, change):
    """Returns a run folder with one file changed."""
    shutil.copytree(trained_run, folder, copy_function=os.link)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).write_bytes(change(content))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_of_a_run_are_refused_in_one_line(trained_run, tmp_path, name):
    rng = np.random.default_rng(0)
    texts = []
    for number in range(6 if name.endswith(".keras") else 20):
        folder = tmp_path / str(number)
        damaged_run(trained_run, folder, name, lambda content: file_damage.damaged(content, 0, len(content), rng)[1])
        try:
            READERS[name](folder)
        except MaskzooError as error:
            texts.append(str(error))
        shutil.rmtree(folder)
    assert texts
    assert [text for text in texts if name not in text or "\n" in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in READERS if name != "history.csv"])
def test_files_of_a_run_that_are_cut_off_are_refused(trained_run, tmp_path, name):
    folder = damaged_run(trained_run, tmp_path / "run", name, lambda content: content[: len(content) // 2])
    with pytest.raises(MaskzooError, match=name):
        READERS[name](folder)


@pytest.mark.slow
def test_a_history_whose_last_row_is_cut_off_is_refused(trained_run, tmp_path):
    folder = damaged_run(trained_run, tmp_path / "run", "history.csv", lambda content: content[: content.rindex(b",")])
    with pytest.raises(MaskzooError, match=r"history.csv: expected a value for every column"):
        read_history(folder)
