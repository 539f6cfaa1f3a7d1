"""What the journal says is finished is on the disk, and is found again; what is not, is not."""

import json
import os

import numpy as np
import pytest

from maskzoo import data
from maskzoo.errors import ExistingFile
from maskzoo.inference import journal
from maskzoo.inference.journal import Journal, Layout

LAYOUT = Layout(data.window_grid((8, 8), (4, 8)), 1, "uint8")


def values(number):
    return np.full((4, 8, 1), number, np.uint8)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "mask.tif"


def begun(output, identity=None, notes=None, **options):
    """An open journal with as many finished parts as an earlier one has left."""
    found = Journal(output, identity or {"tile": 4}, **options)
    found.begin(LAYOUT, notes)
    return found


def interrupted(output, parts=1):
    """Leaves the progress of a process that was stopped."""
    found = begun(output, notes={"plan": 1})
    for number in range(parts):
        found.write(values(1 + number))
    found.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def hidden(output, kind):
    return output.with_name(f".{output.name}.{kind}")


def test_values_reach_the_disk_before_the_line_that_promises_them(output, monkeypatch):
    """At every sync: which file it is of, and how many commits the journal says there are."""
    events, fsync = [], os.fsync

    def recorded(descriptor):
        inode, promised = os.fstat(descriptor).st_ino, hidden(output, "journal").read_bytes().count(b'"parts"')
        kind = next(kind for kind in ("partial", "journal") if hidden(output, kind).stat().st_ino == inode)
        events.append((kind, promised))
        fsync(descriptor)

    with begun(output) as found:
        found.write(values(1))
        monkeypatch.setattr(os, "fsync", recorded)
        found.commit()
        assert events == [("partial", 0), ("journal", 1)]
        found.write(values(2))
        found.commit()
        assert events[2:] == [("partial", 1), ("journal", 2)]


def test_progress_is_committed_every_few_seconds(output, monkeypatch):
    seconds = iter([0, 0, 1, 6, 6, 6, 6])
    monkeypatch.setattr(journal.time, "monotonic", lambda: next(seconds))
    with begun(output) as found:
        found.write(values(1))
        assert b'"parts"' not in hidden(output, "journal").read_bytes()
        found.write(values(2))
        assert b'"parts": 2' in hidden(output, "journal").read_bytes()


def test_an_interrupted_journal_is_resumed(output):
    interrupted(output)
    with begun(output) as found:
        assert found.done == 1
        assert found.notes == {"plan": 1}
        found.write(values(5))
        whole = found.read(data.Window((0, 0), (8, 8)), 0)
        found.finish()
    np.testing.assert_array_equal(whole, np.repeat([1, 5], 4)[:, None].repeat(8, 1))
    assert list(output.parent.iterdir()) == []


def test_a_journal_of_another_version_is_not_resumed(output):
    """The first version had no format number, and laid its files out alike."""
    interrupted(output)
    lines = [json.loads(line) for line in hidden(output, "journal").read_text().splitlines()]
    old = {name: value for name, value in lines[0].items() if name != "format"}
    hidden(output, "journal").write_text("\n".join(map(json.dumps, [old, *lines[1:]])) + "\n")
    with begun(output, {"another": 1}) as found:
        assert (found.done, found.notes) == (0, None)
        assert not found.read(data.Window((0, 0), (8, 8)), 0).any()


def test_what_was_begun_otherwise_is_refused_and_kept(output):
    interrupted(output)
    expected = r"expected an unfinished output of the same .*; received one of another tile \(4 before, 8 now\)"
    with pytest.raises(ExistingFile, match=expected):
        Journal(output, {"tile": 8})
    assert hidden(output, "partial").exists()
    with begun(output, {"tile": 8}, restart=True) as found:
        assert found.done == 0


def test_values_that_changed_on_the_disk_are_not_trusted(output):
    interrupted(output, parts=2)
    content = bytearray(hidden(output, "partial").read_bytes())
    content[0] ^= 1
    hidden(output, "partial").write_bytes(content)
    with begun(output) as found:
        assert found.done == 0


def test_two_processes_do_not_write_one_output(output):
    with begun(output), pytest.raises(OSError, match="expected an output that nobody else writes"):
        Journal(output, {"tile": 4})


def test_an_archive_knows_what_is_finished_until_it_changes(output, tmp_path):
    archive = tmp_path / "archive"
    with begun(output, archive=archive) as found:
        output.write_bytes(b"done")
        found.finish()
    assert [path.name for path in archive.iterdir()] == [".mask.tif.journal"]
    with Journal(output, {"tile": 4}, archive=archive) as again:
        assert again.finished
    output.write_bytes(b"another")
    with Journal(output, {"tile": 4}, archive=archive) as again:
        assert not again.finished
        again.discard()
