"""Progress that outlives its process: finished values in a scratch file, and a journal that says how far they reach."""

import errno
import json
import math
import os
import shutil
import time
import zlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from .. import data

# What a kill may cost; a commit waits for the disk.
COMMIT_SECONDS = 5
GOES_ON = "the same command goes on where it stopped"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(OSError):
    """The disk took no more; what is finished is kept."""


class Journal:
    """The values predicted so far for one output, kept beside it under hidden names until the output is complete.

    `.OUT.partial` holds raw values, part behind part. `.OUT.journal` holds one JSON line that says what is predicted,
    and one for every commit: the number of finished parts, and a checksum of the values written since the line before.
    A line is written after its values have reached the disk. A context manager; leaving it with an exception keeps both
    files for the same command to go on with, unless nothing has been finished or `discard` was called.

    Attributes:
        done: Finished parts.
        size: Bytes of the scratch file.
        notes: What `begin` was given when these values were begun; `None` before.
        finished: Whether the output itself is complete, and only the clean-up is missing.
    """

    def __init__(self, output, identity, *, restart=False, archive=None):
        """Opens the journal of an output, which may be one that an earlier process left.

        Args:
            output: Path of the output.
            identity: What the values depend on, by the name that a message should call it; JSON values.
            restart: Forget what is there.
            archive: Folder for both files instead, where the journal stays, to say that the output is finished.

        Raises:
            OSError: If another process works on this output.
            ValueError: If what is there was begun with another identity.
        """
        self.output, self._archive = Path(output), archive
        folder = self.output.parent if archive is None else Path(archive)
        folder.mkdir(exist_ok=True)
        self._scratch, self._path = (folder / f".{self.output.name}.{kind}" for kind in ("partial", "journal"))
        self._file = open(self._path, "a+b")  # noqa: SIM115
        try:
            data.lock_file(self._file, self.output, "an output that nobody else writes")
            if restart:
                self._file.truncate(0)
            self._identity = identity
            self._lines = self._read_lines()
            self._values = None
            if self._lines:
                self._require_same(self._lines[0]["identity"])
        except BaseException:
            self._file.close()
            raise
        self.done = 0
        self.notes = self._lines[0]["notes"] if self._lines else None
        self.finished = bool(self._lines) and self._lines[-1].get("finished", 0) == self._version()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and self.done and not self.finished:
            with suppress(OSError):  # the error on its way out says more
                self.commit()
        if self.finished and self._archive is not None:
            self._scratch.unlink(missing_ok=True)
        elif self.finished or not (self.done or (self._lines and self._values is None)):
            self.discard()
        self._close()

    def discard(self):
        """Removes both files."""
        self.done = 0
        self._close()
        self._values = None
        self._scratch.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def begin(self, shape, bands, dtype, parts, notes, *, column_major=False):
        """Prepares the scratch file, or finds in the one that is there how many parts are finished.

        Args:
            shape: Spatial sizes of the output.
            bands: Values per pixel.
            dtype: Their type.
            parts: Windows in the order in which they will be written.
            notes: JSON values to keep with the journal.
            column_major: Lay a part's pixels out column by column, for a reader that takes them so.

        Raises:
            OSError: If the disk has no room.
        """
        self._bands, self._dtype = bands, np.dtype(dtype)
        self._column_major, self._parts = column_major, parts
        self._offsets, self._stops = (np.array([getattr(part, at) for part in parts]) for at in ("offset", "stop"))
        lengths = (self._stops - self._offsets).prod(axis=1) * bands * self._dtype.itemsize
        # Where each part begins in the scratch file, and the last one ends.
        self._starts = np.append(0, np.cumsum(lengths))
        self.size = size = math.prod(shape) * bands * self._dtype.itemsize
        going_on = bool(self._lines) and self._scratch.exists() and self._scratch.stat().st_size == size
        with Space(self.output, size):
            # A name that is there may be a link to somewhere else.
            if not going_on:
                self._scratch.unlink(missing_ok=True)
            self._values = open(self._scratch, "r+b" if going_on else "x+b", buffering=0)  # noqa: SIM115
            if not going_on:
                reserve(self._values, size)
                self._file.truncate(0)
                self._write_line({"identity": self._identity, "notes": notes})
        # Which parts may be more than the zeros that the file begins with.
        self._holds = np.full(len(parts), going_on)
        self._checksum, self._committed = 0, time.monotonic()
        if going_on:
            self.done = self._whole_parts()

    def write(self, values):
        """Adds the values `(*size, bands)` of the next part."""
        planes = np.moveaxis(np.asarray(values, self._dtype), -1, 0)
        planes = np.ascontiguousarray(planes.swapaxes(1, -1) if self._column_major else planes)
        if self._holds[self.done] or planes.view(np.uint8).any():
            self._holds[self.done] = True
            with Space(self.output, planes.nbytes):
                self._move(self._starts[self.done], planes, self._values.write)
        self._checksum = zlib.crc32(planes, self._checksum)
        self.done += 1
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def read(self, window, band):
        """Returns the values of one band in a window, an array of its size."""
        values = np.zeros(window.size, self._dtype)
        touched = (self._offsets < window.stop).all(axis=1) & (self._stops > window.offset).all(axis=1)
        for number in np.flatnonzero(touched & self._holds):
            part = self._parts[int(number)]
            first, last = np.maximum(window.offset, part.offset), np.minimum(window.stop, part.stop)
            # The rows, or columns, that are asked for lie behind each other.
            axis, rest = (1, part.size[:1]) if self._column_major else (0, part.size[1:])
            plane = np.empty((last[axis] - first[axis], *rest), self._dtype)
            skipped = (band * part.size[axis] + first[axis] - part.offset[axis]) * math.prod(rest)
            self._move(self._starts[number] + skipped * self._dtype.itemsize, plane, self._values.readinto)
            cut = [slice(*pair) for pair in zip(first - part.offset, last - part.offset, strict=True)]
            cut[axis] = slice(None)
            place = tuple(slice(*pair) for pair in zip(first - window.offset, last - window.offset, strict=True))
            values[place] = (plane.T if self._column_major else plane)[tuple(cut)]
        return values

    def commit(self):
        """Makes sure that what is finished is found again after a crash of the machine."""
        with Space(self.output, 0):
            os.fsync(self._values.fileno())
            self._write_line({"parts": self.done, "checksum": self._checksum})
            os.fsync(self._file.fileno())
        self._checksum, self._committed = 0, time.monotonic()

    def finish(self):
        """Says that the output is in place."""
        self.finished = True
        self._write_line({"finished": self._version()})

    def _version(self):
        """Size and time of the output; `None` where there is none."""
        if not self.output.exists():
            return None
        status = self.output.stat()
        return [status.st_size, status.st_mtime_ns]

    def _move(self, start, array, move):
        """Reads or writes a contiguous array from a place in the scratch file on."""
        self._values.seek(int(start))
        rest = memoryview(array.reshape(-1).view(np.uint8))
        while len(rest):
            moved = move(rest)
            if not moved:
                raise OSError(f"{self._scratch}: expected {array.nbytes} bytes at {start}; received its end")
            rest = rest[moved:]

    def _whole_parts(self):
        """The number of parts whose values agree with their checksums; the journal is cut behind them."""
        done = 0
        for line in self._lines[1:]:
            if "parts" not in line:
                continue
            checksum = 0
            for start, stop in pairwise(self._starts[done : line["parts"] + 1]):
                values = np.empty(stop - start, np.uint8)
                self._move(start, values, self._values.readinto)
                checksum = zlib.crc32(values, checksum)
            if checksum != line["checksum"]:
                break
            done = line["parts"]
        lines = [line for line in self._lines if "identity" in line or line.get("parts", done + 1) <= done]
        self._file.truncate(0)
        for line in lines:
            self._write_line(line)
        return done

    def _read_lines(self):
        self._file.seek(0)
        lines = []
        for line in self._file.read().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break  # torn by the kill
        return lines if lines and "identity" in lines[0] else []

    def _write_line(self, values):
        self._file.write(json.dumps(values).encode() + b"\n")
        self._file.flush()

    def _require_same(self, before):
        now = json.loads(json.dumps(self._identity))
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            told = ", ".join(f"{name}{told_change(before.get(name), now.get(name))}" for name in changed)
            raise ValueError(
                f"{self.output}: expected to go on with what it was begun with; received another {told}; "
                f"--restart begins anew"
            )

    def _close(self):
        for file in (self._values, self._file):
            if file is not None:
                file.close()


class Space:
    """Turns the error of a full disk into one line that says what is needed and what goes on."""

    def __init__(self, output, size):
        self._output, self._size = output, size

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            folder = self._output.absolute().parent
            raise DiskFull(
                f"{self._output}: no space left in {folder}: expected {in_bytes(self._size)}; received "
                f"{in_bytes(shutil.disk_usage(folder).free)} free; {GOES_ON}"
            ) from None


def in_bytes(number):
    """A number of bytes for people, such as `12.3 MB`."""
    power = min(3, int(math.log(max(1, number), 1000)))
    return f"{number / 1024**power:.3g} {('bytes', 'KB', 'MB', 'GB')[power]}"


def told_change(before, now):
    """Two short values in brackets; nothing for long ones, which would not be read."""
    texts = [json.dumps(value) for value in (before, now)]
    return f" ({texts[0]} before, {texts[1]} now)" if max(map(len, texts)) <= 40 else ""


def reserve(file, size):
    """Gives a file its size and the disk space for it, where the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
