"""Files written atomically: whole or not at all, synced before they get their name, whatever was there before."""

import json
import os
from pathlib import Path

import pytest

from maskzoo.errors import BusyFile, ExistingFile, UnwritableFile
from maskzoo.files import (
    check_no_input,
    check_writable,
    lock_file,
    locked_folder,
    sidecars,
    temporary_path,
    write_json,
    write_text,
    written_atomically,
)


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


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "bundle"
    with written_atomically(path) as unfinished:
        (unfinished / "variables").mkdir(parents=True)
        (unfinished / "variables" / "a").write_text("content")
        assert not path.exists()
    assert (path / "variables" / "a").read_text() == "content"

    def fail():
        with written_atomically(tmp_path / "other") as unfinished:
            unfinished.mkdir()
            (unfinished / "a").write_text("half")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_path_may_be_one_that_the_next_process_finds(tmp_path):
    fixed = tmp_path / ".a.unfinished"
    with written_atomically(tmp_path / "a", fixed) as unfinished:
        assert unfinished == fixed
        unfinished.write_text("content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    check_writable(tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []
    for path in (tmp_path, tmp_path / "none" / "a.tif"):
        with pytest.raises(UnwritableFile, match=f"^{path}: expected"):
            check_writable(path)


def test_processes_have_temporary_paths_of_their_own(tmp_path):
    path = temporary_path(tmp_path / "scan.nii.gz")
    assert path.parent == tmp_path
    assert path.name.startswith(".")
    assert path.name.endswith(".nii.gz")
    assert str(os.getpid()) in path.name


def test_a_lock_is_held_by_one_until_it_is_closed(tmp_path):
    pytest.importorskip("fcntl")
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        lock_file(first, "out.tif", "a file that nobody writes")
        with pytest.raises(BusyFile, match=r"out.tif: expected a file that nobody writes; received one that another"):
            lock_file(second, "out.tif", "a file that nobody writes")
        first.close()
        lock_file(second, "out.tif", "a file that nobody writes")


def test_a_folder_is_held_by_one_at_a_time_and_nothing_is_left_in_it(tmp_path):
    pytest.importorskip("fcntl")
    with locked_folder(tmp_path, "a run that no other process trains"):
        with (
            pytest.raises(BusyFile, match=r"expected a run that no other process trains; received one that another"),
            locked_folder(tmp_path, "a run that no other process trains"),
        ):
            pass
        assert list(tmp_path.iterdir()) == []
    with locked_folder(tmp_path, "a run that no other process trains"):
        pass


def test_an_output_is_no_input_by_any_path_link_or_letter_case(tmp_path, monkeypatch):
    image, folder = tmp_path / "images" / "Scene.tif", tmp_path / "images"
    folder.mkdir()
    image.write_bytes(b"pixels")
    (tmp_path / "soft.tif").symlink_to(image)
    (tmp_path / "hard.tif").hardlink_to(image)
    (tmp_path / "linked").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    same = [image, "images/Scene.tif", "images/../images/Scene.tif", "soft.tif", "hard.tif", "linked/Scene.tif"]
    for output in [*same, "images/scene.TIF", "IMAGES/Scene.tif"]:
        with pytest.raises(ExistingFile, match=r"an output that is none of the inputs; received .*, which is read"):
            check_no_input([output], [image])
        with pytest.raises(ExistingFile):
            check_no_input(["other.tif", image], ["more.tif", output])
    with pytest.raises(ExistingFile):
        check_no_input(["linked"], [folder])
    check_no_input(["Scene.tif", "images/Scene2.tif", "images/masks"], [image, folder])


def test_an_input_that_is_not_there_yet_is_compared_by_its_path(tmp_path):
    with pytest.raises(ExistingFile):
        check_no_input([tmp_path / "A.csv"], [tmp_path / "sub" / ".." / "a.csv"])


def test_what_lies_beside_a_file_under_its_name(tmp_path):
    for name in ("x.tif", "x.tif.ovr", "X.TIF.aux.xml", "x.png", "xx.tif.ovr"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in sidecars(tmp_path / "x.tif")) == ["X.TIF.aux.xml", "x.tif.ovr"]
    assert sidecars(tmp_path / "none" / "x.tif") == []
