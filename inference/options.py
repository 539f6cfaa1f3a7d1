"""Options of prediction: how runs answer, how an image is cut, what runs the network, what is written."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from maskzoo.errors import MissingPackage, OptionError
from maskzoo.files import JSON
from maskzoo.names import one_of
from maskzoo.options import setting

from .. import data

GIGABYTE = 1024**3
REDUCTIONS = ("probabilities", "logits", "votes")
BLENDS = ("cosine", "gaussian")
ENGINES = ("keras", "saved_model", "onnx", "openvino")
PRECISIONS = ("float32", "bfloat16", "int8")
PROBABILITIES = ("uint8", "float32")


@dataclass(frozen=True)
class PredictOptions:
    """How one run or several answer, and what is done to their masks.

    Raises:
        OptionError: If a value is out of range.
    """

    tta: str = setting(
        "none",
        "test-time augmentation: average over transforms of each tile: flips, rotations, symmetries (both: eight in "
        "2D), scales:0.75,1.25, or one of the first three with scales: flips,scales:0.75",
        group="ensembles and test-time augmentation",
    )
    reduction: Literal["probabilities", "logits", "votes"] = setting(
        "probabilities",
        "how several runs and transforms are combined: mean of the probabilities, mean of the logits, or votes",
    )
    weights: list[float] | None = setting(None, "weights of the runs, such as [2,1]; by default those found by decide")
    temperature: float = setting(1.0, "divides the logits; below 1 it sharpens probabilities")
    crf: float = setting(
        0.0,
        "weight of a conditional random field, which makes nearby pixels of similar colour agree, such as 3; 0 for "
        "none",
    )
    rescale: bool = setting(
        False, "bring images of another type, such as 16-bit ones for a run on 8 bits, to the range of the run's images"
    )
    threshold: float | list[float] | None = setting(
        None,
        "probability from which a class is present, one or one per class, such as [0.5,0.3]",
        group="decisions; by default those that decide has written into the runs",
    )
    no_decision: bool = setting(False, "threshold 0.5 and no post-processing")
    min_area: int | None = setting(None, "remove objects of fewer pixels; 0 keeps them all")
    fill_holes: int | Literal["all"] | None = setting(None, "fill holes of up to this many pixels, or all; 0 for none")
    watershed: float = setting(0.0, "split touching objects whose centres are at least this many pixels apart")
    gate: float | list[float] | None = setting(
        None,
        "leave a class out of an image if its image-level label is less likely than this; for runs trained with a "
        "label head",
    )
    largest: bool = setting(False, "keep only the largest object of a class")

    def __post_init__(self) -> None:
        check_one_of("reduction", self.reduction, REDUCTIONS)
        if not 0 < self.temperature < math.inf:
            raise OptionError("temperature", "a number above 0", self.temperature)
        if not 0 <= self.crf < math.inf:
            raise OptionError("crf", "a weight of at least 0", self.crf)
        for threshold in listed(self.threshold):
            if not 0 < threshold < 1:
                raise OptionError("threshold", "numbers between 0 and 1", threshold)
        for name, size in (("min_area", self.min_area), ("fill_holes", self.fill_holes)):
            if isinstance(size, int) and size < 0:
                raise OptionError(name, "at least 0 pixels", size)
        if self.watershed and not 1 <= self.watershed < math.inf:
            raise OptionError("watershed", "a distance of at least 1 pixel", self.watershed)

    @property
    def of_masks(self) -> list[str]:
        """The options that were given and change masks alone, by name; 0 pixels is given where it can be `None`."""
        given = {
            "threshold": self.threshold is not None,
            "min_area": self.min_area is not None,
            "fill_holes": self.fill_holes is not None,
            "watershed": bool(self.watershed),
            "gate": self.gate is not None,
            "largest": self.largest,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def averages(self) -> bool:
        """Whether even a single run is averaged over transforms, or its logits are changed."""
        return (self.tta, self.reduction, self.temperature) != ("none", REDUCTIONS[0], 1.0) or self.weights is not None


@dataclass(frozen=True)
class EngineOptions:
    """What runs the networks.

    Raises:
        OptionError: If the engine or the precision is unknown.
    """

    engine: Literal["auto", "keras", "saved_model", "onnx", "openvino"] = setting(
        "keras", "what runs the network; auto times what is installed and takes the fastest that agrees with Keras"
    )
    precision: Literal["float32", "bfloat16", "int8"] = setting(
        "float32", "precision of `engine`: bfloat16 and int8 are faster and less exact"
    )

    def __post_init__(self) -> None:
        check_one_of("engine", self.engine, ("auto", *ENGINES))
        check_one_of("precision", self.precision, PRECISIONS)
        if self.engine in ("auto", "keras", "saved_model") and self.precision != PRECISIONS[0]:
            raise OptionError("precision", f"{PRECISIONS[0]} for the engine {self.engine}", self.precision)


@dataclass(frozen=True)
class TileOptions:
    """How an image is cut into tiles.

    Raises:
        OptionError: If a value is out of range.
    """

    seam_tolerance: float = setting(
        0.0,
        "largest error of a probability at the borders of tiles that a shorter halo may cause, such as 0.001; 0 keeps "
        "tiles exact",
    )
    overlap: float = setting(
        0.25,
        "fraction of a tile, up to 0.5, over which it is blended with the next, for models that see the whole image",
    )
    blend: Literal["cosine", "gaussian"] = setting("cosine", "how the weights of such tiles fall off over the overlap")
    tile: int | None = setting(None, "pixels per tile and axis; by default as `memory` allows")
    memory: int | None = setting(None, "bound on the memory to use, in bytes; by default half of what is free")
    halo: int | None = setting(
        None, "pixels read on all sides of a tile, instead of as many as the model sees or a tolerance allows"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.seam_tolerance < 1:
            raise OptionError("seam_tolerance", "a number from 0 to below 1", self.seam_tolerance)
        if not 0 < self.overlap <= 0.5:
            raise OptionError("overlap", "a fraction of a tile above 0, up to 0.5", self.overlap)
        check_one_of("blend", self.blend, BLENDS)
        for name, size in (("tile", self.tile), ("memory", self.memory), ("halo", self.halo)):
            if size is not None and size < 1:
                raise OptionError(name, "at least 1", size)


@dataclass(frozen=True)
class OutputOptions:
    """What is written of an image.

    Raises:
        OptionError: If the kind of probabilities is unknown.
    """

    probabilities: Literal["uint8", "float32"] | None = setting(
        None, "write a band of probabilities per class, not class ids; uint8 are 255ths"
    )
    cog: bool = setting(False, "write cloud-optimised TIFFs with overviews")
    tissue: bool = setting(False, "predict only tiles with tissue; the rest is background")
    full_size: bool = setting(
        False, "write class ids at the image's full resolution, also of a run that sees a coarser level or resolution"
    )
    rle_dialect: Literal["clouds", "pneumothorax", "organs", "kidney"] | None = setting(
        None, "write a .csv as a competition wants it: clouds, pneumothorax, organs or kidney"
    )
    resize: int | float | list[int] | None = setting(
        None,
        "resize the whole of a small image first, to this many pixels per axis, such as 512 or 384x512, or to a "
        "fraction such as 0.5; the result has the image's own size",
    )

    def __post_init__(self) -> None:
        if self.probabilities is not None:
            check_one_of("probabilities", self.probabilities, PROBABILITIES)
        if self.rle_dialect is not None:
            check_one_of("rle_dialect", self.rle_dialect, tuple(data.TABLE_DIALECTS))
        if self.tissue and self.resize is not None:
            raise OptionError("tissue", "no `resize`, which shows the model the whole image", self.resize)


@dataclass(frozen=True)
class ProgressOptions:
    """What is kept of a prediction that is interrupted.

    Attributes:
        restart: Begin again, whatever an earlier call has left.
        archive: Folder to keep the progress in, with a note on every finished output, which is not predicted again;
            `None` to keep it beside the output until that is finished.
        depends_on: What else the values depend on, by the argument that says it; a change is noticed.
    """

    restart: bool = False
    archive: Path | None = None
    depends_on: Mapping[str, JSON] = field(default_factory=dict)


def check_cluster(where: str) -> None:
    """Refuses what names no cluster, before anything is loaded.

    Args:
        where: `local`, `local:N` for N workers, or the address of a scheduler such as `tcp://host:8786`.

    Raises:
        OptionError: If it is none of these.
        MissingPackage: If Dask is not installed.
    """
    if not re.fullmatch(r"local(:[1-9]\d*)?|(tcp|tls|ucx|ws|wss)://\S+", where):
        expected = "local, local:N for N workers, or the address of a scheduler such as tcp://host:8786"
        raise OptionError("cluster", expected, repr(where))
    if find_spec("distributed") is None:
        raise MissingPackage("distributed", "cluster")


def check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuses a value that is not known.

    Raises:
        OptionError: It is not.
    """
    if value not in known:
        raise OptionError(name, one_of(value, known), repr(value))


def listed(value: float | list[float] | None) -> list[float]:
    """A number, a list of numbers or `None` as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


DEFAULT_TILES, DEFAULT_OUTPUT, DEFAULT_PROGRESS = TileOptions(), OutputOptions(), ProgressOptions()
