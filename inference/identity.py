"""What the values of an output depend on: the run, the image, the software, the options."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.files import JSON, file_checksum

from .. import data
from .predictor import Predictor
from .run_folders import DATA_FILE

if TYPE_CHECKING:
    from ..data import Source

SOFTWARE = ("maskzoo", "keras", "tensorflow", "numpy")


@dataclass(frozen=True)
class Identity:
    """What tells a run, an image and the software from others.

    Attributes:
        run: Checksums of the files of the runs.
        software: Versions, by package.
        other: What else the values depend on, by the name that a message should call it: JSON values.
    """

    run: list[str]
    software: dict[str, str]
    other: dict[str, JSON]

    def as_mapping(self) -> dict[str, JSON]:
        """Returns all of it by name."""
        return {"run": self.run, "software": self.software, **self.other}


def image_states(source: Source) -> list[list[str | int]]:
    """Returns place, size and time of every file of an image; of a folder of slices their sum and the latest."""
    found = []
    for path in source.files:
        _, changed, size = data.file_version(path)
        found.append([str(path.resolve()), size, changed])
    return found


def identity_of(predictor: Predictor, source: Source) -> Identity:
    """Returns what the predictions of a run, or of an ensemble, on an image depend on."""
    files = [Path(run.path, name) for run in predictor.members for name in (run.model_file, DATA_FILE)]
    other: dict[str, JSON] = {"decision": [list(predictor.thresholds), predictor.decision.as_mapping()]}
    if states := image_states(source):
        other["image"] = states[0] if len(states) == 1 else states
    engines = [str(run.engine) for run in predictor.members if run.engine is not None]
    if engines:
        other["engine"] = engines
    versions = {name: version(name) for name in SOFTWARE}
    return Identity([file_checksum(path) for path in files], versions, other | dict(predictor.settings))
