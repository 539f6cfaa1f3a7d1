"""A trained run in memory: its model, how it reads images, how it cuts them into tiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from maskzoo.errors import ImageError, OptionError, RunError, readable
from maskzoo.files import JSON
from maskzoo.names import counted

# The import of the models also registers the layers that a saved one names.
from .. import data, models
from .engines.engine import Engine
from .halo_search import Probe, blending_report, shorten_halo
from .memory_bound import bounded_tiles
from .model_decision import decision_for_model
from .model_identity import model_identity
from .options import DEFAULT_TILES, TileOptions
from .run_files import Decision, RunData, read_decision, read_run_data
from .run_folders import DECISION_FILE, LAST, MODEL, check_run, split_epoch
from .tile_plan import TilePlan, plan_tiles
from .tiles import ReadWindow, Scorer

if TYPE_CHECKING:
    from ..data import Source


@dataclass(frozen=True)
class Run:
    """A run folder read into memory: a `Predictor` of one network.

    Attributes:
        path: The folder.
        model: The Keras model of the best or the last epoch; it returns logits.
        data: What the run was trained on: task, classes, channels, normalisation, names of the held-out images.
        thresholds: Probability from which a class counts as present, one per class (binary and multilabel tasks).
        decision: What was chosen for the run: thresholds, and what `decide` found beside them.
        model_file: Name of the model's file in the folder.
        engine: What predicts in the model's place: see `engines.choice.open_engine`.
        crf: Weight of the conditional random field behind the model, 0 for none.
        rescale: Images of another type than the training images are brought to their range, not refused.
    """

    path: Path
    model: keras.Model
    data: RunData
    thresholds: tuple[float, ...]
    decision: Decision = field(default_factory=Decision)
    model_file: str = MODEL
    engine: Engine | None = None
    crf: float = 0.0
    rescale: bool = False

    @property
    def name(self) -> str:
        """The folder's name, with `:last` behind it for the model of the last epoch."""
        return self.path.resolve().name + (":last" if self.model_file == LAST else "")

    @property
    def identity(self) -> str | None:
        """What its model is, wherever the run lies and whatever it is called; `None` of one that is in no file."""
        return model_identity(self.path / self.model_file)

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that answer: this one."""
        return (self,)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each member."""
        return (1.0,)

    @property
    def settings(self) -> Mapping[str, JSON]:
        """What the answers depend on beside the files of the run, by argument: JSON values."""
        return {"crf": self.crf, **({"rescale": True} if self.rescale else {})}

    def plan(self, source: Source, options: TileOptions = DEFAULT_TILES, *, symmetric: bool = False) -> TilePlan:
        """Plans the tiles of an image: exact ones, or with the shortest halo whose seams stay within the tolerance.

        Args:
            source: An open source.
            options: How to cut it.
            symmetric: As in `tile_plan.plan_tiles`.

        Raises:
            ImageError: If the image does not fit the run.
            OptionError: If the model cannot be tiled within the memory.
        """
        options = bounded_tiles(options)
        probe = Probe(self.model, self.data.task, source, self.reader(source))
        shape, channels = source.shape, source.channels
        plan = plan_tiles(self.model, shape, channels, options, patch=self.data.patch, symmetric=symmetric)
        if options.halo is None:
            plan = shorten_halo(probe, plan, options, symmetric=symmetric)
        return plan

    def blending_report(self, source: Source, plan: TilePlan) -> str:
        """Says how far the blended tiles of a plan differ where they overlap, measured on its image."""
        return blending_report(Probe(self.model, self.data.task, source, self.reader(source)), plan)

    def reader(self, source: Source) -> ReadWindow:
        """Returns the function that reads one window of an image as the model was trained to see it.

        Raises:
            ImageError: If the number of axes or of channels is another than that of the training images.
        """
        check_axes(self.data, source)
        return data.Normalizer.from_dict(self.data.normalization)(source)

    def scorer(self, plan: TilePlan, models: Sequence[Scorer] | None = None) -> keras.Model | Scorer:
        """Returns what `predict_tiles` takes beside a plan of this run.

        Args:
            plan: A plan of this run.
            models: One that answers instead of the run's own network.
        """
        return models[0] if models else self.engine or self.model

    def with_members(self, members: Sequence[Run]) -> Run:
        """Returns the one other run."""
        (member,) = members
        return member

    def with_thresholds(self, thresholds: tuple[float, ...], decision: Decision) -> Run:
        """Returns the same run with other thresholds and another decision."""
        return replace(self, thresholds=thresholds, decision=decision)

    def with_crf(self, weight: float) -> Run:
        """Returns the same run with a conditional random field behind its model."""
        return replace(self, model=models.with_crf(self.model, self.data.task, weight=weight), crf=weight)


def read_run(path: str | os.PathLike[str]) -> Run:
    """Reads a run folder.

    Args:
        path: A run folder, or `RUN:last` for the model of its last epoch.

    Raises:
        MissingFile: If a part of it is missing.
        RunError: If its model or one of its descriptions cannot be read, or its weights are not finite.
    """
    folder, model_file = split_epoch(check_run(path))
    described, decision = read_run_data(folder), read_decision(folder)
    if len(decision.thresholds) != described.num_classes:
        expected = f"{counted(described.num_classes, 'threshold')}, one per class"
        raise RunError(folder / DECISION_FILE, expected, list(decision.thresholds))
    with readable(folder / model_file, "a Keras model that can be read", RunError):
        model: keras.Model = keras.saving.load_model(  # pyright: ignore[reportAssignmentType] (what a run holds)
            folder / model_file, compile=False
        )
    if (broken := models.broken_weights(model)) is not None:
        expected = "finite weights, as in a checkpoint from before its training diverged"
        raise RunError(folder / model_file, expected, broken)
    try:
        model = models.with_logits(model)
    except OptionError as error:
        raise RunError(folder / model_file, "a model whose outputs are logits", error) from error
    if described.roi_classes is not None:
        model = models.two_stage(model, **described.roi_classes)
    path = folder / model_file
    decision = decision_for_model(decision, path, model_identity(path) if decision.has_models else None)
    return Run(folder, model, described, decision.thresholds, decision, model_file)


def check_axes(described: RunData, source: Source) -> None:
    """Refuses an image whose number of axes is not that of the training images.

    Raises:
        ImageError: It is not.
    """
    if len(source.shape) != described.spatial_dims:
        expected = f"an image of {described.spatial_dims} spatial axes"
        raise ImageError(source.name, expected, f"one of shape {source.shape}")
