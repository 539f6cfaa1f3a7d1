"""Which epoch is the run's best, by what and measured on what: the content of `best.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import RunError, readable
from maskzoo.files import JSON, read_json, write_json

from .history import MONITOR, History, Row
from .recipe import Recipe
from .run_folder import CHOICE

if TYPE_CHECKING:
    from .. import data


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
    """

    run: Path
    described: dict[str, JSON] = field(default_factory=dict)
    carried: dict[int, Carried] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> Choice:
        """Reads the file of a run folder; an empty one where there is none, as in runs of earlier versions."""
        path = run / CHOICE
        with readable(path, "a JSON file of the choice of the best epoch", RunError):
            values: dict[str, JSON] = read_json(path, RunError) if path.is_file() else {}
            carried = {
                int(stage): Carried(entry["after"], {int(epoch): score for epoch, score in entry["scores"].items()})
                for stage, entry in values.pop("carried", {}).items()
            }
            return cls(run, values, carried)

    def write(self) -> None:
        """Writes the file."""
        carried = {str(n): {"after": entry.after, "scores": entry.scores} for n, entry in self.carried.items()}
        write_json(self.run / CHOICE, self.described | ({"carried": carried} if carried else {}))

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
        return earlier | (ripe if ripe or earlier else own)


def chosen_by(row: Row) -> float:
    """Returns the validation score of an epoch; where nothing is held out its number, so that the last is taken."""
    return float(row.get(MONITOR) or row["epoch"])


def read_choice(run: Path) -> dict[str, JSON]:
    """Returns which epoch of a run was chosen as the best, why, and measured on what; nothing in older runs."""
    return Choice.read(run).described


def ranked(scores: Mapping[int, float]) -> list[int]:
    """Returns epochs from the best score to the worst; of equal ones the earlier comes first."""
    return sorted(scores, key=lambda epoch: (-scores[epoch], epoch))


def minimum_of(recipe: Recipe) -> int:
    """Returns the number of epochs before which a stage chooses none; 0 if it does not last that long."""
    return recipe.min_epochs if recipe.min_epochs <= recipe.epochs else 0


def measured_on(validation: data.WindowDataset) -> dict[str, JSON]:
    """Returns what scores were measured on: numbers of windows, images and pixels, and the size of a window."""
    shown = validation.shown
    size = shown[0][1].size
    pixels = len(shown)
    for extent in size:
        pixels *= extent
    images = len({id(case) for case, _ in shown})
    return {"windows": len(shown), "images": images, "pixels": pixels, "window": list(size)}
