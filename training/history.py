"""The table of a run, history.csv: a row for each epoch, by which a stopped training knows how far it got."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from maskzoo.errors import RunError, readable
from maskzoo.files import write_text

HISTORY = "history.csv"
# By which epochs are compared.
MONITOR = "val_dice"

# The values of an epoch by name: numbers, or their text as the table has it.
Row = Mapping[str, float | str]


class History:
    """The finished epochs of a run.

    Args:
        run: The run folder.
        rows: Their rows, to which later epochs are added.
    """

    def __init__(self, run: Path, rows: list[Row]) -> None:
        self.run, self.rows = run, rows

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: Row) -> None:
        """Adds an epoch and writes the table."""
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Writes the table."""
        # Stages may log different values, such as the weights of their losses.
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.run / HISTORY, text.getvalue())

    def stage_scores(self, stage: int) -> list[float]:
        """Returns the validation scores of a stage, epoch by epoch; NaN where nothing is held out."""
        return [score_of(row) for row in self.rows if int(row["stage"]) == stage]


def score_of(row: Row) -> float:
    """Returns the validation score of an epoch, which may be 0; NaN if nothing is held out."""
    value = row.get(MONITOR, "")
    return math.nan if value == "" else float(value)


def finished_epochs(run: Path, number: int) -> list[Row]:
    """Returns the rows of the epochs that a run's checkpoint has behind it; later ones were lost with their checkpoint.

    Args:
        run: The run folder.
        number: Number of these epochs.

    Raises:
        RunError: If the table lacks some of them.
    """
    rows = read_history(run)[:number]
    try:
        found = [int(row["epoch"]) for row in rows if int(row["stage"]) > 0]
    except (KeyError, ValueError, TypeError):
        found = []
    if found != list(range(1, number + 1)):
        raise RunError(
            run / HISTORY, f"a row for each of the {number} epochs of its checkpoint, to resume the run", len(found)
        )
    return rows


def read_history(run: Path) -> list[Row]:
    """Returns the rows of a run's table; none if there is no table.

    Raises:
        RunError: If it is damaged.
    """
    path = run / HISTORY
    if not path.is_file():
        return []
    with readable(path, "a table with a row for each epoch", RunError):
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [*csv.DictReader(file, strict=True)]
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                raise RunError(path, "a value for every column", f"more or fewer in row {number}")
            int(row.get("stage", 0))
            score_of(row)
        return rows
