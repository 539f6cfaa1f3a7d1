"""Files written atomically: whole or not at all, synced before they get their name, whatever was there before."""

import json
import os
from pathlib import Path

import pytest

from maskzoo.files import write_json, write_text, written_atomically


def test_the_file_appears_whole_and_nothing_else(tmp_path):
    path = tmp_path / "a.nii.gz"
    with written_atomically(path) as unfinished:
        assert unfinished.parent == tmp_path
        assert unfinished.name.endswith(".nii.gz")
        unfinished.write_bytes(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_content_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with written_atomically(path) as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_synced_before_the_file_gets_its_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    write_text(tmp_path / "a.txt", "text")
    assert calls == ["sync", "rename"]


def test_text_is_written_as_it_is(tmp_path):
    write_text(tmp_path / "a.txt", "µm\nsecond\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "µm\nsecond\r\n".encode()


def test_json_can_be_read_by_people_and_machines(tmp_path):
    content = {"name": "Gehäuse", "sizes": [1, 2]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "Gehäuse" in text
    assert text.count("\n") > 2


def test_paths_may_be_text(tmp_path):
    write_text(str(tmp_path / "a.txt"), "text")
    assert Path(tmp_path / "a.txt").read_text() == "text"
