"""Files and folders that appear when they are whole: written under a temporary name beside their place, then moved."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context that gives a temporary path in the same folder, which takes the place of `path` at its end.

    The temporary name keeps the suffix, by which libraries choose a format. After an error nothing is left, and what
    was at `path` before is as it was.

    Args:
        path: The file to write, or a folder that does not exist yet.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished{''.join(path.suffixes[-2:])}")
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


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a small text file, in UTF-8 with newlines as they are."""
    with written_atomically(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes values as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
