"""Lists and compares runs, the best first: what was trained, how far each got, and its Dice.

Dice is that of all pixels together, a mean over classes. The columns best and last are that of validation windows, in
the best epoch and in the last one; images is that of the best epoch on the held-out images, predicted whole. A run that
was stopped is unfinished; one whose files cannot be read is broken.

examples:
  maskzoo runs
      every run under runs/, also those of folds and seeds
  maskzoo runs runs/membrane runs/elsewhere --markdown
      the runs in two folders, as a table for a page
  maskzoo runs --csv runs.csv
      also as a file, which holds more than the table
"""

import json
import logging
import math
import os
from argparse import Namespace
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from maskzoo.errors import MaskzooError, MissingFile, OptionError, RunError, readable
from maskzoo.files import check_no_input, read_json, read_yaml

from .. import inference, training
from .parser import Parser
from .tables import check_csv, markdown_table, text_table, write_csv

logger = logging.getLogger(__name__)

SKIPPED = ("logs", "out_of_fold")
DEPTH = 3
COLUMNS = {
    "run": "run",
    "state": "state",
    "model": "model",
    "encoder": "encoder",
    "options": "options",
    "parameters": "parameters",
    "data": "data",
    "size": "size",
    "loss": "loss",
    "fold": "fold",
    "seed": "seed",
    "epochs": "epochs",
    "best": "best",
    "last": "last",
    "images": "images",
    "started": "when",
}
NUMBERS = ("parameters", "fold", "seed", "epochs", "best", "last", "images")


Row = dict[str, Any]  # what is known of a run: JSON values


def add_arguments(parser: Parser) -> None:
    """Adds the options of `runs`."""
    parser.add_argument("folders", type=str, nargs="*", help="run folders, or folders that hold some; by default runs/")
    parser.add_argument("--csv", type=str | None, default=None, help="also write the table to this file")
    parser.add_flag("--markdown", help="print the table as Markdown")
    parser.add_flag("--json", help="print JSON")


def run(arguments: Namespace) -> None:
    """Runs `runs`."""
    if arguments.csv:
        check_csv(arguments.csv)
    if arguments.markdown and arguments.json:
        raise OptionError("markdown", "either `markdown` or `json`", "both")
    places = arguments.folders or ["runs"]
    runs = [path for place in places for path in find_runs(place)]
    if arguments.csv:
        folders = {*runs, *(path.parent for path in runs), *map(Path, places)}
        check_no_input([arguments.csv], [file for folder in folders for file in inference.files_of_run(folder)])
    rows = [describe(path) for path in runs]
    if not rows:
        raise MissingFile(", ".join(places), "a folder that holds runs", "one without any")
    rows.sort(key=lambda row: (-math.inf if row["best"] is None else row["best"], row["run"]), reverse=True)
    if arguments.csv:
        write_csv(arguments.csv, rows)
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    names, cells = shown(rows)
    left = [number for number, name in enumerate(names) if name not in NUMBERS]
    print(markdown_table(cells, left) if arguments.markdown else text_table(cells, left))
    for row in rows:
        if row["problem"]:
            subject = "" if row["problem"].startswith(row["run"]) else f"{row['run']}: "
            logger.warning("broken: %s%s", subject, row["problem"])


def find_runs(place: str | Path) -> Iterator[Path]:
    """Yields the run folders in a folder, which may be one itself; a folder of folds is none, but holds some.

    Raises:
        MissingFile: If the folder is missing.
    """
    place = Path(place)
    if not place.is_dir():
        raise MissingFile(place, "a run folder, or a folder that holds some", "nothing at that path")
    for folder, below, files in os.walk(place):
        deep = len(Path(folder).relative_to(place).parts) >= DEPTH
        below[:] = [] if deep else sorted(n for n in below if n not in SKIPPED and not n.startswith("."))
        if training.RECIPE in files and training.FOLDS not in files:
            yield Path(folder)


def describe(path: Path) -> Row:
    """What is known of a run, as values that JSON can hold; `None` where no file says it."""
    row: Row = dict.fromkeys((*COLUMNS, "problem")) | {"run": str(path), "state": "broken"}
    try:
        with readable(path, "the files of a run", RunError):
            recipe = recipe_of(path / training.RECIPE)
            row |= from_recipe(recipe)
            row |= from_start(path)
            row |= from_epochs(path, recipe)
    except MaskzooError as error:
        row["problem"] = " ".join(str(error).split())
    return row


def from_recipe(recipe: Row) -> Row:
    """What the recipe says."""
    options = dict(recipe.get("option") or {})
    return {
        "model": recipe.get("model"),
        "encoder": options.pop("encoder", None),
        "options": ", ".join(f"{name}={short(value)}" for name, value in options.items()) or None,
        "data": None if recipe.get("data") is None else Path(recipe["data"]).name,
        "size": short(recipe.get("patch")),
        "loss": recipe.get("loss"),
        "fold": recipe.get("fold"),
        "seed": recipe.get("seed"),
    }


def from_start(path: Path) -> Row:
    """What the files say that training writes when it begins."""
    manifest, description = object_in(path / "manifest.json"), object_in(path / "data.json")
    found = {"started": manifest.get("started"), "parameters": manifest.get("parameters")}
    return found | ({"size": short(description["patch"])} if "patch" in description else {})


def from_epochs(path: Path, recipe: Row) -> Row:
    """How far the run got and how good it is."""
    rows = training.read_history(path)
    # Without held-out images there is no Dice to go by.
    judged = not rows or "val_dice" in rows[0] or object_in(path / "data.json").get("validation") != []
    dice = [float(row["val_dice"]) if judged else math.nan for row in rows]
    scores, chosen = object_in(path / "scores.json"), object_in(path / training.CHOICE)
    whole = [value for value in scores.get("dice", ()) if value is not None]
    stages = recipe.get("stages") or [{}]
    epochs = sum(stage.get("epochs", recipe["epochs"]) for stage in stages)
    if dice and not ((path / training.BEST).is_file() and (path / training.LAST).is_file()):
        raise MissingFile(path, "best.keras and last.keras", "only one of them")
    return {
        "state": "done" if scores else "unfinished",
        "epochs": f"{len(dice)}/{epochs}",
        "best": chosen.get("val_dice", max(dice, default=None)) if judged else None,
        "last": dice[-1] if dice and judged else None,
        "images": sum(whole) / len(whole) if whole else None,
    }


def recipe_of(path: Path) -> Row:
    """A YAML file with a mapping."""
    content = read_yaml(path, RunError)
    if not isinstance(content, dict):
        raise RunError(path, "options by name", content)
    return content


def object_in(path: Path) -> Row:
    """A JSON object; an empty one where there is no file."""
    content = read_json(path, RunError) if path.is_file() else {}
    if not isinstance(content, dict):
        raise RunError(path, "a JSON object", content)
    return content


def short(value: object) -> str | None:
    """A size or an option in few letters: `256`, `96x96x64`, `{a:1}`."""
    if isinstance(value, list) and value and all(isinstance(part, int) for part in value):
        return str(value[0]) if len(set(value)) == 1 and len(value) < 4 else "x".join(map(str, value))
    return None if value is None else str(value).replace(" ", "")


def shown(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns that some run fills, and the cells, the titles first."""
    names = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    return names, [[COLUMNS[name] for name in names], *([cell(name, row[name]) for name in names] for row in rows)]


def cell(name: str, value: object) -> str:
    """A value as the table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if name == "started":
        return f"{datetime.fromisoformat(str(value)).astimezone():%Y-%m-%d %H:%M}"
    return f"{value:,}" if name == "parameters" else str(value)
