"""Everything that determines a training, as one frozen value: the options of `train` and the keys of a recipe file."""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from maskzoo.errors import OptionError
from maskzoo.names import one_of
from maskzoo.options import setting

from ..data.sampling.options import SamplingOptions, WindowOptions
from .options import (
    BatchOptions,
    DataOptions,
    DeviceOptions,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    RunOptions,
    StoppingOptions,
    Value,
    check,
    number_from_text,
)

logger = logging.getLogger(__name__)

# Options that had other names in earlier versions: recipes, runs and command lines with the old ones are still read.
RENAMED = {
    "hard": "hard_example_fraction",
    "soften": "mask_sigma",
    "mix": "mix_probabilities",
    "fine": "roi_classes",
    "start_from": "init_from",
}
# What may differ from stage to stage; everything else determines the model and the data.
STAGE_KEYS = tuple(
    field.name
    for options in (BatchOptions, SamplingOptions, LossOptions, OptimizerOptions, StoppingOptions)
    for field in fields(options)
)
# In a stage: freeze the encoder for all of its epochs.
FREEZE = "freeze_encoder"
# Where a run is and how it was started; the same run may be at another place tomorrow.
NOT_STORED = ("run", "resume", "hosts", "host")

already_noted: set[str] = set()


# The fields of a dataclass follow those of its bases, the last base first.
@dataclass(frozen=True)
class Recipe(
    DeviceOptions,
    RunOptions,
    StoppingOptions,
    OptimizerOptions,
    LossOptions,
    SamplingOptions,
    BatchOptions,
    DataOptions,
    ModelOptions,
):
    """What to train, on what, and how. Every field is an option of `train` and a key of a recipe file.

    Raises:
        OptionError: If a value is out of range.
    """

    average_best: int | None = setting(
        None,
        "average the weights of this many best epochs at the end, and keep the average as the best model if it is no "
        "worse",
        group="stages",
    )
    stages: list[dict[str, Value]] | None = setting(
        None,
        "trainings that follow each other, each with the options in which it differs: "
        "[{epochs: 5, patch: 256, loss: bce}, {patch: 512, learning_rate: 1e-4, freeze_encoder: true}]",
    )

    def __post_init__(self) -> None:
        for options in (BatchOptions, SamplingOptions, LossOptions, OptimizerOptions, StoppingOptions, RunOptions):
            options.__post_init__(self)
        check(self, "average_best", self.average_best is None or self.average_best >= 1, "at least 1")
        if self.stages is not None:
            check(self, "stages", len(self.stages) > 0, "at least one stage")
            stages = [current_names(stage, f"stage {number}") for number, stage in enumerate(self.stages, 1)]
            object.__setattr__(self, "stages", stages)
        self.each_stage()

    def each_stage(self) -> list["Recipe"]:
        """Returns the recipes of the stages, one after the other; only this one if there are no stages.

        Raises:
            OptionError: If a stage has a key that no stage can change, or a value out of range.
        """
        if self.stages is None:
            return [self]
        stages = [self._stage(number, changes) for number, changes in enumerate(self.stages, 1)]
        if any(stage.label_head is not None for stage in stages):
            # The output is there in all of them; a stage that does not name it leaves it as it is.
            stages = [replace(stage, label_head=stage.label_head or 0.0) for stage in stages]
        return stages

    def _stage(self, number: int, changes: Mapping[str, Value]) -> "Recipe":
        values = {key: value for key, value in changes.items() if key != FREEZE}
        for key in values:
            if key not in STAGE_KEYS:
                raise OptionError("stages", f"{one_of(key, (*STAGE_KEYS, FREEZE))} in stage {number}", key)
        values = {key: number_from_text(getattr(self, key), value) for key, value in values.items()}
        try:
            stage = replace(self, stages=None, **values)
            return replace(stage, freeze_encoder_epochs=stage.epochs) if changes.get(FREEZE) else stage
        except OptionError as error:
            raise OptionError(
                "stages", f"{error.expected} for {error.name} in stage {number}", error.received
            ) from error
        except TypeError as error:
            wrong = {key: value for key, value in values.items() if self._has_another_kind(key, value)} or values
            key, value = next(iter(wrong.items()))
            raise OptionError("stages", f"another kind of value for {key} in stage {number}", value) from error

    def _has_another_kind(self, key: str, value: Value) -> bool:
        try:
            replace(self, stages=None, **{key: value})
        except TypeError:
            return True
        except OptionError:  # of the right kind: out of range, or not with the options of other stages
            return False
        return False

    def data_options(self) -> dict[str, Value]:
        """Returns the keys of the data set specification that this recipe sets."""
        held_out = {} if self.fold is None else {"folds": self.folds, "fold": self.fold}
        return self.specified() | held_out

    @property
    def is_several(self) -> bool:
        """Whether the recipe asks for several trainings: of every fold, or with several seeds."""
        return (self.folds is not None and self.fold is None) or self.seeds > 1

    def window_options(self) -> WindowOptions:
        """Returns the options of training windows."""
        names = ("steps", "seed", *(field.name for field in fields(SamplingOptions)))
        return WindowOptions(**{name: getattr(self, name) for name in names})

    def as_mapping(self) -> dict[str, Value]:
        """Returns the recipe as it is stored in a run folder: plain values, without where it is and how it started."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_STORED}

    @classmethod
    def of(cls, namespace: argparse.Namespace) -> Self:
        """Returns the recipe in a parsed command line, whose other entries are ignored."""
        return cls(**{field.name: getattr(namespace, field.name) for field in fields(cls)})

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Value], source: object, level: int = logging.WARNING) -> Self:
        """Returns the recipe that a recipe file holds.

        Args:
            mapping: The keys and values of the file; keys may have the names of earlier versions.
            source: The file, for messages.
            level: Level at which names of earlier versions are logged.

        Raises:
            OptionError: If a key is unknown or a value out of range.
        """
        values = current_names(mapping, source, level)
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise OptionError(str(source), one_of(key, known), key)
        return cls(**values)


def current_names(mapping: Mapping[str, Value], source: object, level: int = logging.WARNING) -> dict[str, Value]:
    """Returns options by their current names; says once for each old name what it is called now.

    Args:
        mapping: Values by the names of options, which may be those of earlier versions.
        source: Where they come from, for messages.
        level: Level at which that is logged.

    Raises:
        OptionError: If an option is given by both of its names.
    """
    values: dict[str, Value] = {}
    for key, value in mapping.items():
        name = RENAMED.get(key, key)
        if name in values:
            raise OptionError(name, f"one value in {source}", f"another one as {key}")
        if name != key and key not in already_noted:
            already_noted.add(key)
            logger.log(level, "note: %s is now called %s in %s", key, name, source)
        values[name] = value
    return values
