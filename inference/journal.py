"""Progress that outlives its process: a journal that says how far the values in a scratch file reach."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from maskzoo.errors import ExistingFile
from maskzoo.files import JSON

from .. import data
from .scratch import ScratchFile, readable_disk_errors

# What a kill may cost; a commit waits for the disk.
COMMIT_SECONDS = 5
# The number of the journal's format; another one is not resumed, but begun again.
FORMAT = 2


@dataclass(frozen=True)
class Layout:
    """What an output's values are.

    Attributes:
        parts: Windows in the order in which they will be written.
        bands: Values per pixel.
        dtype: Their type.
        column_major: Whether they will be read column by column.
    """

    parts: Sequence[data.Window]
    bands: int
    dtype: str
    column_major: bool = False


class Journal:
    """The values predicted so far for one output, kept beside it under hidden names until the output is complete.

    `.OUT.partial` is the scratch file with the values. `.OUT.journal` holds one JSON line that says what is predicted,
    and one for every commit: the number of finished parts, and a checksum of the values written since the line before.
    A line is written after its values have reached the disk. A context manager; leaving it with an exception keeps both
    files for the same command to resume, unless nothing has been finished or `discard` was called.

    Attributes:
        output: Path of the output.
        done: Finished parts.
        notes: What `begin` was given when these values were begun; `None` before.
        finished: Whether the output itself is complete, and only the clean-up is missing.
    """

    def __init__(
        self, output: Path, identity: Mapping[str, JSON], *, restart: bool = False, archive: Path | None = None
    ) -> None:
        """Opens the journal of an output, which may be one that an earlier process left.

        Args:
            output: Path of the output.
            identity: What the values depend on, by the name that a message should call it; JSON values.
            restart: Forget what is there.
            archive: Folder for both files instead, where the journal stays, to say that the output is finished.

        Raises:
            OSError: If another process works on this output.
            ExistingFile: If what is there was begun with another identity.
        """
        self.output, self._archive = output, archive
        folder = self.output.parent if archive is None else archive
        folder.mkdir(exist_ok=True)
        self._scratch_path, self._path = (folder / f".{self.output.name}.{kind}" for kind in ("partial", "journal"))
        self._scratch: ScratchFile | None = None
        self._file = open(self._path, "a+b")  # noqa: SIM115
        try:
            data.lock_file(self._file, self.output, "an output that nobody else writes")
            if restart:
                self._file.truncate(0)
            self._identity = identity
            self._lines = self._read_lines()
            if self._lines:
                self._require_same(self._lines[0]["identity"])
        except BaseException:
            self._file.close()
            raise
        self.done = 0
        self.notes: dict[str, JSON] | None = self._lines[0]["notes"] if self._lines else None
        self.finished = bool(self._lines) and self._lines[-1].get("finished", 0) == self._version()
        self._checksum, self._committed = 0, time.monotonic()

    @property
    def scratch(self) -> ScratchFile:
        """The scratch file, from `begin` on."""
        if self._scratch is None:
            raise RuntimeError("the journal has not begun")
        return self._scratch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.done and not self.finished:
            with suppress(OSError):  # the error on its way out says more
                self.commit()
        if self.finished and self._archive is not None:
            self._scratch_path.unlink(missing_ok=True)
        elif self.finished or not (self.done or (self._lines and self._scratch is None)):
            self.discard()
        self._close()

    def discard(self) -> None:
        """Removes both files."""
        self.done = 0
        self._close()
        self._scratch = None
        self._scratch_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def begin(self, layout: Layout, notes: Mapping[str, JSON] | None) -> None:
        """Prepares the scratch file, or finds in the one that is there how many parts are finished.

        Args:
            layout: What the values are.
            notes: JSON values to keep with the journal.

        Raises:
            DiskFull: If the disk has no room.
        """
        scratch = ScratchFile(
            self._scratch_path,
            layout.parts,
            bands=layout.bands,
            dtype=layout.dtype,
            column_major=layout.column_major,
        )
        resume = bool(self._lines) and scratch.is_there
        scratch.open(resume=resume)
        self._scratch = scratch
        if resume:
            self.done = self._intact_parts()
        else:
            self._file.truncate(0)
            self._write_line({"format": FORMAT, "identity": self._identity, "notes": notes})
        self._checksum, self._committed = 0, time.monotonic()

    def write(self, values: np.ndarray) -> None:
        """Adds the values `(*size, bands)` of the next part."""
        planes = self.scratch.write(self.done, values)
        self._checksum = zlib.crc32(planes.data, self._checksum)
        self.done += 1
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def read(self, window: data.Window, band: int) -> np.ndarray:
        """Returns the values of one band in a window, an array of its size."""
        return self.scratch.read(window, band)

    def commit(self) -> None:
        """Makes sure that what is finished is found again after a crash of the machine."""
        # The values first: a line never promises what is not on the disk.
        self.scratch.sync()
        with readable_disk_errors(self.output, 0):
            self._write_line({"parts": self.done, "checksum": self._checksum})
            os.fsync(self._file.fileno())
        self._checksum, self._committed = 0, time.monotonic()

    def finish(self) -> None:
        """Says that the output is in place."""
        self.finished = True
        self._write_line({"finished": self._version()})

    def _version(self) -> list[int] | None:
        """Size and time of the output; `None` where there is none."""
        if not self.output.exists():
            return None
        status = self.output.stat()
        return [status.st_size, status.st_mtime_ns]

    def _intact_parts(self) -> int:
        """The number of parts whose values agree with their checksums; the journal is cut behind them."""
        done = 0
        for line in self._lines[1:]:
            if "parts" not in line:
                continue
            if self.scratch.checksum(done, line["parts"]) != line["checksum"]:
                break
            done = line["parts"]
        lines = [line for line in self._lines if "identity" in line or line.get("parts", done + 1) <= done]
        self._file.truncate(0)
        for line in lines:
            self._write_line(line)
        return done

    def _read_lines(self) -> list[dict[str, JSON]]:
        """The lines of the file; none if another version of the journal wrote them."""
        self._file.seek(0)
        lines = []
        for line in self._file.read().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break  # torn by the kill
        return lines if lines and lines[0].get("format") == FORMAT else []

    def _write_line(self, values: Mapping[str, JSON]) -> None:
        self._file.write(json.dumps(values).encode() + b"\n")
        self._file.flush()

    def _require_same(self, before: Mapping[str, JSON]) -> None:
        now = json.loads(json.dumps(self._identity))
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            received = ", ".join(f"{name}{shown_change(before.get(name), now.get(name))}" for name in changed)
            raise ExistingFile(
                self.output,
                "an unfinished output of the same run, image and options, to resume",
                f"one of another {received}; `restart` starts again",
            )

    def _close(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
        self._file.close()


def shown_change(before: JSON, now: JSON) -> str:
    """Two short values in brackets; nothing for long ones, which would not be read."""
    texts = [json.dumps(value) for value in (before, now)]
    return f" ({texts[0]} before, {texts[1]} now)" if max(map(len, texts)) <= 40 else ""
