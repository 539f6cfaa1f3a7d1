"""A training in a process of its own: started, followed by its log, stopped like Ctrl-C, its failure explained."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from .. import data
from .run_folder import LOG, TRAINED_BY_NONE

logger = logging.getLogger(__name__)

# Seconds that a process has to end after Ctrl-C.
PATIENCE = 30
POLL = 0.5
LAST_LINES = 20
# The most bytes of a log's end that may hold its last lines.
LINE, TAIL = 200, 4096


def run_logged(command: Sequence[str], folder: Path, title: str) -> str | None:
    """Runs a command whose output goes to a log in a folder; in a terminal its last line is shown.

    Args:
        command: The command and its arguments.
        folder: The folder, which no other process may use for the same purpose meanwhile.
        title: What the last line of the log is shown behind.

    Returns:
        What went wrong, as a line; `None` if nothing did.

    Raises:
        BusyFile: If another process uses the folder.
    """
    folder.mkdir(exist_ok=True)
    path = folder / LOG
    with open(path, "ab") as log:
        data.lock_file(log, folder, TRAINED_BY_NONE)
        begin = log.tell()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process alone, which passes it on once.
            process_group=0 if os.name == "posix" else None,
            preexec_fn=dying_with_parent(),
        )
        try:
            follow(child, path, title)
        except BaseException:
            stop(child)
            raise
    return problem_of(child.returncode, path, begin) if child.returncode else None


def dying_with_parent() -> Callable[[], object] | None:
    """Returns a function that has the system kill a new process when its parent is killed; `None` if it cannot."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    system, set_death_signal = ctypes.CDLL(None), 1
    return lambda: system.prctl(set_death_signal, signal.SIGKILL)


def follow(child: subprocess.Popen[bytes], log: Path, title: str) -> None:
    """Waits for a process; in a terminal, shows the last line of its log behind a title."""
    quiet = None if logger.isEnabledFor(logging.WARNING) else True
    with tqdm(bar_format="{desc}", leave=False, disable=quiet) as line:
        while True:
            try:
                child.wait(POLL)
                break
            except subprocess.TimeoutExpired:
                last = (last_lines(log, 1) or ["starting"])[-1]
                width = shutil.get_terminal_size().columns - 1
                line.set_description_str(f"{title}: {last}"[:width])


def stop(child: subprocess.Popen[bytes]) -> None:
    """Ends a process as Ctrl-C does, and by force if it takes too long."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def last_lines(path: Path, number: int, begin: int = 0) -> list[str]:
    """Returns the last lines of a file that are not empty.

    Args:
        path: The file.
        number: The most lines to return.
        begin: Position in the file before which nothing is read.
    """
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - LINE * number - TAIL))
        text = file.read().decode(errors="replace")
    lines = [line.split("\r")[-1].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-number:]


def problem_of(code: int, log: Path, begin: int) -> str:
    """Returns why a process failed, as a line; logs what it printed if that is a traceback.

    Args:
        code: Its exit code, negative for a signal.
        log: What it printed.
        begin: Position in the log where its output begins.
    """
    lines = last_lines(log, LAST_LINES, begin)
    if lines and lines[-1].startswith("error: "):
        return lines[-1].removeprefix("error: ")
    if code < 0:
        return f"ended by signal {-code}" + (", as when memory runs out" if -code == signal.SIGKILL else "")
    logger.error("%s", "\n".join(lines))
    return f"ended with code {code}"
