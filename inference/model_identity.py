"""What a model is: a hash of its architecture and its weights, wherever its file lies and whenever it was saved."""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import lru_cache
from pathlib import Path

from maskzoo.errors import RunError, readable
from maskzoo.files import file_checksum

# Entries of a .keras file that say nothing about its answers: when it was saved, and the state of its training.
LEFT_OUT = ("metadata.json", "training.npz")
ARCHITECTURE = "config.json"
# What Keras writes of objects that layers share: their addresses in the memory of the process that saved them.
ADDRESS = "shared_object_id"


def model_identity(path: Path) -> str | None:
    """Returns the hash of a `.keras` file's content; `None` if there is no such file."""
    return identity_at(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache
def identity_at(path: Path, modified: int) -> str:
    """Returns the identity of a file that was last written at a time."""
    if not zipfile.is_zipfile(path):
        return file_checksum(path)
    digest = hashlib.sha256()
    with readable(path, "a Keras model that can be read", RunError), zipfile.ZipFile(path) as file:
        for name in sorted(set(file.namelist()) - set(LEFT_OUT)):
            digest.update(name.encode())
            if name == ARCHITECTURE:
                digest.update(lasting_config(file.read(name)))
                continue
            with file.open(name) as entry:
                while block := entry.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def lasting_config(config: bytes) -> bytes:
    """Returns the description of an architecture without what differs from process to process."""
    kept = json.loads(config, object_hook=lambda part: {key: part[key] for key in part if key != ADDRESS})
    return json.dumps(kept, sort_keys=True).encode()
