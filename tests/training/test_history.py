"""The table of epochs: what is written is read again, and which epochs are the best."""

import pytest

from maskzoo.errors import RunError
from maskzoo.training.history import History, finished_epochs, read_history


def test_rows_with_different_columns_share_one_table(tmp_path):
    history = History(tmp_path, [])
    history.add({"epoch": 1, "stage": 1, "val_dice": 0.5, "weight_bce": 1.0})
    history.add({"epoch": 2, "stage": 2, "val_dice": 0.25, "extra": 3})
    assert (tmp_path / "history.csv").read_text() == (
        "epoch,stage,val_dice,weight_bce,extra\n1,1,0.5,1.0,\n2,2,0.25,,3\n"
    )
    assert read_history(tmp_path)[1]["val_dice"] == "0.25"
    assert len(history) == 2


def test_the_scores_of_a_stage(tmp_path):
    scores = [0.1, 0.7, 0.3, 0.7]
    rows = [{"epoch": n + 1, "stage": 1 + n // 2, "val_dice": str(score)} for n, score in enumerate(scores)]
    history = History(tmp_path, rows)
    assert history.stage_scores(2) == [0.3, 0.7]
    assert read_history(tmp_path) == []


def test_a_table_that_lacks_finished_epochs_is_not_resumed(tmp_path):
    """Its first epochs would be trained again, behind the checkpoint."""
    history = History(tmp_path, [])
    for epoch in (1, 2, 3):
        history.add({"epoch": epoch, "stage": 1, "val_dice": 0.5})
    assert [row["epoch"] for row in finished_epochs(tmp_path, 2)] == ["1", "2"]
    path = tmp_path / "history.csv"
    lines = path.read_text().splitlines()
    for damaged in (lines[:2], [lines[0], *lines[2:]], ["nothing", "1", "2"], []):
        path.write_text("\n".join(damaged))
        with pytest.raises(RunError, match=r"history\.csv: expected a row for each of the 2 epochs of its checkpoint"):
            finished_epochs(tmp_path, 2)
    path.unlink()
    with pytest.raises(RunError, match=r"history\.csv: expected a row for each of the 2 epochs"):
        finished_epochs(tmp_path, 2)
