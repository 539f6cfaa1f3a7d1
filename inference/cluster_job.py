"""A run and an image on their way to the workers of a cluster: packed here, unpacked and predicted there."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from maskzoo.errors import ConnectionLost

from .. import data
from .engines.choice import open_engine
from .ensemble import Ensemble
from .gate import label_recorders
from .identity import Identity, identity_of
from .predictor import Predictor
from .run import Run, read_run
from .run_files import Decision
from .run_folders import LAST
from .tile_plan import covered_windows
from .tiles import TileSelection
from .values import ImageTask, values_of


@dataclass(frozen=True)
class PackedRun:
    """A run without its network, which a worker loads from the same folder.

    Attributes:
        path: The run folder, absolute, with `:last` behind it for the last epoch.
        thresholds: Those of the run.
        decision: That of the run.
        engine: Name and precision of the engine, `None` for Keras itself.
        crf: Weight of the random field.
    """

    path: Path
    thresholds: tuple[float, ...]
    decision: Decision
    engine: tuple[str, str] | None
    crf: float


@dataclass(frozen=True)
class PackedImage:
    """What all tasks of one image have in common, but for the run.

    Attributes:
        source: The image, which is opened under its path.
        task: The image's task.
        kept: Bits of the tiles that are predicted; `None` for all.
        records: Whether labels are recorded.
        identity: What run, image and software were where the task was made.
    """

    source: data.Source
    task: ImageTask
    kept: np.ndarray | None
    records: bool
    identity: Identity


@dataclass(frozen=True)
class PackedJob:
    """A run and an image as bytes, equal ones of which are unpacked once.

    Attributes:
        predictor: A pickled pair: the ensemble without its members or `None`, and a `PackedRun` for each member.
        image: A pickled `PackedImage`.
        needed: Paths that a worker must see.
    """

    predictor: bytes
    image: bytes
    needed: tuple[str, ...]


def packed(
    predictor: Predictor,
    source: data.Source,
    task: ImageTask,
    keep: Callable[[data.Window], bool] | None,
    *,
    records: bool,
) -> PackedJob:
    """Packs a run, or an ensemble, and an image for the workers.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        source: The image.
        task: Its task.
        keep: Says which tiles are predicted; `None` for all.
        records: Whether labels are recorded.
    """
    runs = [packed_run(run) for run in predictor.members]
    shell = predictor.with_members(()) if isinstance(predictor, Ensemble) else None
    needed = [str(run.path.resolve()) for run in predictor.members]
    needed += [] if source.path is None else [str(source.path)]
    kept = None if keep is None else np.packbits([keep(window) for window in covered_windows(task.plan)])
    image = PackedImage(source, task, kept, records, identity_of(predictor, source))
    return PackedJob(pickle.dumps((shell, runs)), pickle.dumps(image), tuple(needed))


def packed_run(run: Run) -> PackedRun:
    """A run without its network."""
    path = run.path.resolve()
    path = path.with_name(f"{path.name}:last") if run.model_file == LAST else path
    engine = None if run.engine is None else (run.engine.name, run.engine.precision)
    return PackedRun(path, run.thresholds, run.decision, engine, run.crf)


def unpacked_run(run: PackedRun) -> Run:
    """A run as it was before it was packed."""
    found = read_run(run.path).with_thresholds(run.thresholds, run.decision)
    if run.crf:
        found = found.with_crf(run.crf)
    if run.engine is None:
        return found
    return replace(found, engine=open_engine(found, *run.engine))


def answer(
    packed_predictor: bytes, packed_image: bytes, first: int, stop: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The values of some parts, from number `first` to before `stop`, and what was recorded of their labels."""
    predictor = unpacked_predictor(packed_predictor)
    image, keep = unpacked_image(packed_image, packed_predictor)
    recorders = label_recorders(predictor) if image.records else []
    selection = TileSelection(first, stop, keep)
    read = predictor.reader(image.source)
    values = list(values_of(predictor, read, image.task, selection, recorders))
    return values, [recorder.largest for recorder in recorders]


@lru_cache(maxsize=1)
def unpacked_predictor(content: bytes) -> Predictor:
    """The run, or the ensemble, of a job."""
    shell, runs = pickle.loads(content)
    members = [unpacked_run(run) for run in runs]
    return members[0] if shell is None else shell.with_members(members)


@lru_cache(maxsize=4)
def unpacked_image(content: bytes, predictor: bytes) -> tuple[PackedImage, Callable[[data.Window], bool] | None]:
    """The image of a job, and its function that says which tiles are predicted.

    Raises:
        ConnectionLost: If the worker's run or software is another.
    """
    image: PackedImage = pickle.loads(content)
    expected, found = image.identity, identity_of(unpacked_predictor(predictor), image.source)
    for name, one, other in (("run", expected.run, found.run), ("software", expected.software, found.software)):
        if one != other:
            raise ConnectionLost(
                f"`cluster`: expected workers with the same {name}, {one}; received {other} on {socket.gethostname()}"
            )
    if image.kept is None:
        return image, None
    kept = map(bool, np.unpackbits(image.kept))
    return image, dict(zip(covered_windows(image.task.plan), kept, strict=False)).__getitem__
