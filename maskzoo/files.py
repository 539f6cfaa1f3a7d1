"""Files and folders that appear when they are whole, moved from a temporary name; their checksums; locks on them."""

import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeAlias

from maskzoo.errors import BusyFile, ExistingFile, FileProblem, UnreadableFile, UnwritableFile, readable

# A value as JSON holds it: numbers, texts, and lists and dictionaries of such values, which no type says shorter.
JSON: TypeAlias = Any
# Values of a YAML file, those behind anchors counted wherever they are used.
MOST_VALUES = 1_000_000


@contextmanager
def written_atomically(path: str | os.PathLike[str], unfinished: Path | None = None) -> Iterator[Path]:
    """A context that gives a temporary path in the same folder, which takes the place of `path` at its end.

    The temporary name keeps the suffix, by which libraries choose a format. After an error nothing is left, and what
    was at `path` before is as it was.

    Args:
        path: The file to write, or a folder that does not exist yet.
        unfinished: Another temporary path, in the same folder: one that the next process finds if this one is killed.
    """
    path = Path(path)
    unfinished = unfinished or temporary_path(path)
    try:
        yield unfinished
        for file in [unfinished, *unfinished.rglob("*")]:
            if file.is_file():
                with open(file, "rb+") as written:
                    os.fsync(written.fileno())
        os.replace(unfinished, path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Returns a path beside another that no other process writes to, with the same suffix."""
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished{''.join(path.suffixes[-2:])}")


def remove_abandoned(folder: Path) -> None:
    """Removes temporary files and folders of `written_atomically` whose process was killed and is no longer there."""
    for path in folder.glob(".*"):
        # Version 0.1 named models without the word; of other files a number in the name says nothing.
        found = re.fullmatch(r"\..+\.(\d+)(\.unfinished(\.[^.]+)*|\.keras)", path.name)
        if found and not is_running(int(found[1])):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Returns whether a process of this machine is there, whoever started it."""
    if os.name == "nt":  # where a signal would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses an output that cannot be written, before any work is done for it.

    Raises:
        UnwritableFile: If the folder is missing or read-only, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UnwritableFile(path, "the name of a file to write", "a folder")
    probe = temporary_path(path)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UnwritableFile(path, "a place that can be written", error.strerror) from None


def check_no_input(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuses an output that is an input, whatever the path, link or letter case by which it is one.

    Letter case counts nowhere, so that a command does the same on every disk.

    Args:
        outputs: Files and folders to write.
        inputs: Files and folders that are read; those that do not exist are compared by their path.

    Raises:
        ExistingFile: If one is both.
    """
    known = {identity: path for path in inputs for identity in identities(path)}
    for output in outputs:
        if both := next((known[identity] for identity in identities(output) if identity in known), None):
            raise ExistingFile(output, "an output that is none of the inputs", f"{both}, which is read")


def identities(path: str | os.PathLike[str]) -> Iterator[str | tuple[int, int]]:
    """Yields what tells that two paths are one file: the path behind its links, and the file's number on its disk."""
    yield unicodedata.normalize("NFC", str(Path(path).resolve())).casefold()
    try:
        state = os.stat(path)
    except OSError:
        return
    if state.st_ino:
        yield state.st_dev, state.st_ino


def sidecars(path: Path) -> list[Path]:
    """Returns the files beside another whose names are its name with something behind, such as `x.tif.ovr`."""
    if not path.parent.is_dir():
        return []
    return [file for file in path.parent.iterdir() if file.name.lower().startswith(f"{path.name.lower()}.")]


@contextmanager
def locked_folder(folder: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """A context in which a folder is held for this process alone, where the system has locks of folders.

    Args:
        folder: The folder.
        expected: What a process that comes second expected of it.

    Raises:
        BusyFile: If another process holds it.
    """
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        yield
        return
    try:
        try:
            lock_file(number, folder, expected)
        except BusyFile:
            raise
        except OSError:  # a file system that has no locks of folders
            pass
        yield
    finally:
        os.close(number)


def lock_file(file: IO[str] | IO[bytes] | int, path: str | os.PathLike[str], expected: str) -> None:
    """Holds an open file for this process alone, until it is closed or the process ends, where the system has locks.

    Args:
        file: An open file, or its number.
        path: What it stands for, as the message to a process that comes second names it.
        expected: What that process expected of it.

    Raises:
        BusyFile: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyFile(path, expected, "one that another process is writing") from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a small text file, in UTF-8 with newlines as they are."""
    with written_atomically(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(path: str | os.PathLike[str], content: JSON) -> None:
    """Writes values as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, kind: type[FileProblem] = UnreadableFile, expected: str = "a JSON file") -> JSON:
    """Reads a JSON file, in UTF-8 or UTF-16, with or without byte-order mark.

    Args:
        path: The file.
        kind: Class of the error.
        expected: What the file was expected to be.

    Raises:
        FileProblem: Of the class `kind`, if it cannot be read.
    """
    with readable(path, expected, kind):
        return json.loads(path.read_bytes())


def read_yaml(path: Path, kind: type[FileProblem] = UnreadableFile, expected: str = "a YAML file") -> JSON:
    """Reads a YAML file; arguments and errors as of `read_json`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times faster, where PyYAML was built with it
    with readable(path, expected, kind):
        content = yaml.load(path.read_text(encoding="utf-8-sig"), loader)
        require_bounded(content)
        return content


def require_bounded(content: JSON) -> None:
    """Refuses values that anchors of YAML make endless, or much longer than the file.

    Raises:
        ValueError: If they are.
    """
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += value


def file_checksum(path: Path) -> str:
    """A checksum of a file's content."""
    return checksum_at(path, path.stat().st_mtime_ns)


@lru_cache
def checksum_at(path: Path, modified: int) -> str:
    """The checksum of a file that was last written at a time."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
