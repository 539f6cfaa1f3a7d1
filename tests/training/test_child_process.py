"""A process whose output goes to a log: how it ends, and what is said about it."""

import logging
import sys

import pytest

from maskzoo.training.child_process import last_lines, run_logged


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("print('fine')", None),
        ("import sys; print('epoch 1'); sys.exit('error: loss: expected a finite one')", "loss: expected a finite one"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9, as when memory runs out"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "ended by signal 15"),
        ("1 / 0", "ended with code 1"),
    ],
)
def test_how_a_process_ended_is_said_in_a_line(script, problem, tmp_path, caplog):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "train.log").write_text("error: of an earlier start\n")
    assert run_logged([sys.executable, "-c", script], folder, "title") == problem
    assert (folder / "train.log").read_text().startswith("error: of an earlier start\n")
    # What a defect printed is shown.
    assert ("ZeroDivisionError" in caplog.text) == (script == "1 / 0")
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_the_last_lines_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n\n10 %\r20 %\r30 %\nlast\n \n")
    assert last_lines(log, 2) == ["30 %", "last"]
    assert last_lines(log, 9, begin=6) == ["30 %", "last"]
    log.write_bytes(b"x" * 10**6 + b"\nend")
    assert last_lines(log, 1) == ["end"]
