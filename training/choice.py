"""Which epoch is the run's best, by what and measured on what: the content of `best.json`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import RunError, readable
from maskzoo.files import JSON, read_json, write_json

from .history import History, Row, score_of
from .recipe import Recipe
from .run_folder import BEST, CHOICE

if TYPE_CHECKING:
    from .. import data

logger = logging.getLogger(__name__)


@dataclass
class Carried:
    """The models of earlier stages that a stage competes with, as its own validation windows score them.

    Attributes:
        after: Number of epochs before the stage.
        scores: Scores by epoch; none where the stages before did not train the mask.
    """

    after: int
    scores: dict[int, float] = field(default_factory=dict)


@dataclass
class Choice:
    """What is chosen so far.

    Attributes:
        run: The run folder.
        described: The epoch, its score, why it is the best, and what it was measured on.
        carried: By stage, what it started with.
        first: The first epoch whose model can be chosen: those of earlier ones are lost.
    """

    run: Path
    described: dict[str, JSON] = field(default_factory=dict)
    carried: dict[int, Carried] = field(default_factory=dict)
    first: int = 1

    @classmethod
    def read(cls, run: Path) -> Choice:
        """Reads the file of a run folder; an empty one where there is none, as in runs of earlier versions.

        Raises:
            RunError: If it is damaged.
        """
        path = run / CHOICE
        with readable(path, "a JSON file of the choice of the best epoch", RunError):
            values: dict[str, JSON] = read_json(path, RunError) if path.is_file() else {}
            carried = {
                int(stage): Carried(entry["after"], {int(epoch): score for epoch, score in entry["scores"].items()})
                for stage, entry in values.pop("carried", {}).items()
            }
            return cls(run, values, carried, values.pop("first", 1))

    def write(self) -> None:
        """Writes the file."""
        carried = {str(n): {"after": entry.after, "scores": entry.scores} for n, entry in self.carried.items()}
        others = ({"carried": carried} if carried else {}) | ({"first": self.first} if self.first > 1 else {})
        write_json(self.run / CHOICE, self.described | others)

    def has(self, epoch: int) -> bool:
        """Returns whether `best.keras` is the model of an epoch, or an average that was no worse than it."""
        if not (self.run / BEST).is_file():
            return False
        average: list[int] = self.described.get("average_of") or []
        return epoch == self.described.get("epoch") or epoch in average[:1]

    def forget_lost(self, history: History) -> None:
        """Leaves out the epochs before the last one if the best model is no longer there, and says so."""
        lost = not (self.run / BEST).is_file()
        if lost and len(history) > 1:
            logger.warning(
                "%s is gone: the best is chosen among the models of epoch %d, the last one, and later ones",
                self.run / BEST,
                len(history),
            )
        if lost and len(history):
            self.first, self.described = len(history), {}

    def scores(self, history: History, stage: int, minimum: int = 0) -> dict[int, float]:
        """Returns the scores among which the best is chosen in a stage, by epoch: all on the same windows.

        Args:
            history: The finished epochs.
            stage: Number of the stage.
            minimum: Epochs of the stage that come before its first one to be chosen, and that one; until then earlier
                stages' models stay, or if there are none, any epoch is better than nothing.
        """
        own = {int(row["epoch"]): chosen_by(row) for row in history.rows if int(row["stage"]) == stage}
        carried = self.carried.get(stage)
        if carried is None:
            # Begun by an earlier version, which compared stages as they are.
            earlier = {int(row["epoch"]): chosen_by(row) for row in history.rows if int(row["stage"]) < stage}
        else:
            earlier = carried.scores
        ripe = dict(list(own.items())[max(0, minimum - 1) :])
        found = earlier | (ripe if ripe or earlier else own)
        there = {epoch: score for epoch, score in found.items() if epoch >= self.first}
        return there or {epoch: score for epoch, score in own.items() if epoch >= self.first}


def chosen_by(row: Row) -> float:
    """Returns the validation score of an epoch; where nothing is held out its number, so that the last is taken."""
    score = score_of(row)
    return float(row["epoch"]) if math.isnan(score) else score


def read_choice(run: Path) -> dict[str, JSON]:
    """Returns which epoch of a run was chosen as the best, why, and measured on what; nothing in older runs."""
    return Choice.read(run).described


def ranked(scores: Mapping[int, float]) -> list[int]:
    """Returns epochs from the best score to the worst.

    Of equal ones the earlier comes first; of those that found nothing, or had nothing to find, the later.
    """
    return sorted(scores, key=lambda epoch: (-scores[epoch], epoch if scores[epoch] > 0 else -epoch))


def minimum_of(recipe: Recipe) -> int:
    """Returns the number of epochs before which a stage chooses none; 0 if it does not last that long."""
    return recipe.min_epochs if recipe.min_epochs <= recipe.epochs else 0


def measured_on(validation: data.WindowDataset) -> dict[str, JSON]:
    """Returns what scores were measured on: numbers of windows, images and pixels, and the size of a window.

    Pixels of windows that reach beyond their image do not count.
    """
    shown = validation.shown
    pixels = 0
    for case, window in shown:
        inside = zip(window.offset, window.stop, case.image.shape, strict=True)
        pixels += math.prod(min(stop, size) - max(start, 0) for start, stop, size in inside)
    images = len({id(case) for case, _ in shown})
    return {"windows": len(shown), "images": images, "pixels": pixels, "window": list(shown[0][1].size)}
