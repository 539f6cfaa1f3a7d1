"""Reads tensors from files of PyTorch without PyTorch, and without running anything that such a file may ask for."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from maskzoo.errors import MissingFile, WeightsError

# Numbers at the start of a file that PyTorch wrote before version 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Storage types of PyTorch by name.
STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True)
class StorageType:
    """What stands for a class of storages."""

    dtype: Any


@dataclass
class Storage:
    """What stands for a storage: its values once they are read."""

    dtype: Any
    size: int
    values: np.ndarray | None = None


@dataclass(frozen=True)
class LazyTensor:
    """What stands for a tensor: a part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns the tensor's values.

        Raises:
            ValueError: It reaches beyond its storage.
        """
        values = self.storage.values
        if values is None:
            raise ValueError("a storage without values")
        reach = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((*self.shape, 1)) and not 0 <= reach < max(len(values), 1):
            raise ValueError("a tensor that reaches beyond its storage")
        if any(number < 0 for number in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor with negative strides")
        if not all(self.shape):
            return np.zeros(self.shape, self.storage.dtype)
        steps = tuple(step * values.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps).copy()


def read_pickled(path: Path) -> dict[str, np.ndarray]:
    """Returns the floating-point tensors of a file of PyTorch by name, as float32.

    The names are those of the file's dict of tensors, or of the one that it holds under `state_dict`, `model` and the
    like. Only dicts, lists, numbers, texts and tensors are read; anything else is refused, and no code is run.

    Args:
        path: A file that `torch.save` wrote, in either format.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is of another kind, is cut short, or asks for anything but data.
    """
    if not path.is_file():
        raise MissingFile(path, "a file of PyTorch", "no such file")
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        found = _tensors(content)
        arrays = {name: tensor.array() for name, tensor in found.items()}
    except WeightsError:
        raise
    except Exception as error:  # a broken pickle raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(path, "tensors that PyTorch saved", f"something else: {reason}") from error
    floats = {name: array.astype(np.float32) for name, array in arrays.items() if array.dtype.kind in "fV"}
    if not floats:
        raise WeightsError(path, "a dict of tensors", type(content).__name__)
    return floats


class Unpickler(pickle.Unpickler):
    """Reads numbers, texts, dicts, lists and tensors; refuses everything else by name.

    Args:
        file: The pickle.
        load: Function from what a pickle says about a storage to the storage.
    """

    def __init__(self, file: io.BufferedIOBase, load: Callable[[tuple[object, ...]], Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._load = load

    def find_class(self, module: str, name: str) -> Any:  # a class or a function
        """Returns what stands for a class or a function that a pickle names."""
        if module in ("torch", "torch.storage") and name in STORAGES:
            return StorageType(STORAGES[name])
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch", "Size"): tuple,
            ("torch.serialization", "_get_layout"): str,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return known[module, name]

    def persistent_load(self, pid: object) -> Storage:
        """Returns a storage that lies outside of the pickle."""
        if not isinstance(pid, tuple) or not pid or pid[0] != "storage" or not isinstance(pid[1], StorageType):
            raise pickle.UnpicklingError("a reference to something else than a storage")
        return self._load(pid)


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return LazyTensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: LazyTensor, *_: Any) -> LazyTensor:
    return tensor


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise WeightsError(path, "one data.pkl in the file", len(names))
        folder = names[0].removesuffix("data.pkl")
        order = file.read(f"{folder}byteorder") if f"{folder}byteorder" in file.namelist() else b"little"
        storages: dict[str, Storage] = {}

        def load(pid: tuple[Any, ...]) -> Storage:
            _, kind, key, _, size = pid[:5]
            if key not in storages:
                values = np.frombuffer(file.read(f"{folder}data/{key}"), kind.dtype)
                storages[key] = Storage(kind.dtype, size, values.byteswap() if order == b"big" else values)
            return storages[key]

        return Unpickler(io.BytesIO(file.read(names[0])), load).load()


def _read_legacy(path: Path) -> Any:
    """The format before PyTorch 1.6: five pickles one after another, then the values of the storages."""
    storages: dict[str, Storage] = {}

    def load(pid: tuple[Any, ...]) -> Storage:
        _, kind, key, _, size = pid[:5]
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("a view of a storage, which only very old files hold")
        return storages.setdefault(key, Storage(kind.dtype, size))

    with path.open("rb") as file:
        if Unpickler(file, load).load() != LEGACY_MAGIC:
            raise WeightsError(path, "a file that `torch.save` wrote", "another file")
        Unpickler(file, load).load()  # the version of the format
        Unpickler(file, load).load()  # the sizes of types
        content = Unpickler(file, load).load()
        keys: list[str] = Unpickler(file, load).load()
        for key in keys:
            storage = storages[key]
            (size,) = struct.unpack("<q", file.read(8))
            data = file.read(size * np.dtype(storage.dtype).itemsize)
            storage.values = np.frombuffer(data, storage.dtype, size)
    return content


def _tensors(content: Any) -> dict[str, LazyTensor]:
    """The tensors of a dict by name, or of the first dict of them that it holds."""
    if not isinstance(content, Mapping):
        return {}
    own = {str(name): value for name, value in content.items() if isinstance(value, LazyTensor)}
    if own:
        return own
    inner = [content[name] for name in ("state_dict_ema", "model_ema", "state_dict", "model") if name in content]
    for value in (*inner, *content.values()):
        found = _tensors(value)
        if found:
            return found
    return {}
