"""Labels that runs made carry the images that those runs had seen."""

import pytest

from maskzoo.data import ImageIdentity, KnownImages, LabelMaker, Makers, read_makers
from maskzoo.errors import UnreadableFile

A, B, C = (ImageIdentity(f"/{name}", name) for name in "abc")


@pytest.fixture
def makers():
    runs = (LabelMaker("one", "/runs/one", "1", (A,)), LabelMaker("two", "/runs/two", "2", None))
    return Makers(runs, {"x": (0,), "y": (0, 1), "z": ()})


def test_what_is_written_is_read_back(tmp_path, makers):
    assert read_makers(tmp_path) is None
    makers.write(tmp_path)
    assert read_makers(tmp_path) == makers


def test_a_maker_that_saw_a_held_out_image_is_reported(makers):
    assert makers.saw("x", KnownImages([A, B]))
    assert not makers.saw("x", KnownImages([B, C]))
    # Nobody knows what the second run was trained on.
    assert makers.saw("y", KnownImages([C]))
    assert not makers.saw("y", KnownImages([]))
    assert not makers.saw("z", KnownImages([A]))
    assert not makers.saw("unknown", KnownImages([A]))


@pytest.mark.parametrize("text", ["", "[]", '{"runs": []}', '{"runs": [], "images": {"x": [0]}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "makers.json").write_text(text)
    with pytest.raises(UnreadableFile, match=r"makers.json: expected a JSON file of the runs that made the labels"):
        read_makers(tmp_path)
