"""Files of PyTorch, written by hand in both formats, and those that ask for more than data."""

import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from maskzoo.errors import MissingFile, WeightsError
from maskzoo.models.encoders.pickled_tensors import read_pickled


class _Storage:
    def __init__(self, key, values):
        self.key, self.values = key, values


class _Tensor:
    """What is pickled as PyTorch pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.parts = storage, offset, shape, strides

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.parts, False, OrderedDict())


@pytest.fixture(autouse=True)
def torch_by_name(monkeypatch):
    """Modules with the names that PyTorch's pickles hold, for the time of writing."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    exec("def _rebuild_tensor_v2(*_): pass", utils.__dict__)
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def pickled(content, protocol=2):
    """The pickle of a content, and its storages by key."""
    import io

    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Storage):
                return None
            storages[value.key] = value.values
            kind = getattr(sys.modules["torch"], KINDS[str(value.values.dtype)])
            return ("storage", kind, value.key, "cpu", value.values.size)

    file = io.BytesIO()
    Pickler(file, protocol).dump(content)
    return file.getvalue(), storages


def write_zip(path, content):
    data, storages = pickled(content)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        for key, values in storages.items():
            file.writestr(f"archive/data/{key}", values.tobytes())


def write_legacy(path, content):
    data, storages = pickled(content)
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            file.write(pickle.dumps(head, 2))
        file.write(data)
        file.write(pickle.dumps(sorted(storages), 2))
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())


def content():
    values = _Storage("0", np.arange(24, dtype=np.float32))
    half, counts = _Storage("1", np.float16([1.5, -2])), _Storage("2", np.int64([7]))
    return OrderedDict(
        {
            "whole": _Tensor(values, 0, (2, 3, 4), (12, 4, 1)),
            "turned": _Tensor(values, 12, (4, 3), (1, 4)),
            "half": _Tensor(half, 0, (2,), (1,)),
            "num_batches_tracked": _Tensor(counts, 0, (), ()),
        }
    )


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"epoch": 3, "state_dict": x, "optimizer": {"lr": 0.1}}])
def test_tensors_of_both_formats_are_read_by_name(write, wrap, tmp_path):
    write(tmp_path / "model.pth", wrap(content()))
    found = read_pickled(tmp_path / "model.pth")
    whole = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert set(found) == {"whole", "turned", "half"}
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["turned"], whole[1].T)
    np.testing.assert_array_equal(found["half"], [1.5, -2])
    assert {array.dtype for array in found.values()} == {np.dtype("float32")}


class _Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_file_that_asks_for_code_is_refused_and_runs_none(write, tmp_path):
    write(tmp_path / "evil.pth", {"model": _Command(tmp_path / "made"), **content()})
    with pytest.raises(
        WeightsError, match=r"evil.pth: expected tensors .*: it asks for posix.mkdir, which is not data"
    ):
        read_pickled(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()


def test_broken_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(MissingFile, match=r"nowhere\.pth"):
        read_pickled(tmp_path / "nowhere.pth")
    storage = _Storage("0", np.zeros(4, np.float32))
    write_zip(tmp_path / "beyond.pth", {"x": _Tensor(storage, 2, (4,), (1,))})
    write_zip(tmp_path / "negative.pth", {"x": _Tensor(storage, 3, (2,), (-1,))})
    (tmp_path / "text.pth").write_bytes(b"hello")
    write_legacy(tmp_path / "short.pth", content())
    data = (tmp_path / "short.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(data[:-9])
    write_zip(tmp_path / "none.pth", {"lr": 0.1})
    for name in ("beyond", "negative", "text", "short", "none"):
        with pytest.raises(WeightsError, match=f"{name}.pth: expected") as caught:
            read_pickled(tmp_path / f"{name}.pth")
        assert "\n" not in str(caught.value)
