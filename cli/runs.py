"""Lists and compares runs, the best first: what was trained, how far it came, and its Dice.

Dice is that of the validation windows, in the best epoch and in the last one; images is that of the best epoch on the
held-out images, predicted whole. A run that was stopped is unfinished; one whose files cannot be read is broken.

examples:
  maskzoo runs
      every run under runs/, those of folds and seeds too
  maskzoo runs runs/membrane runs/elsewhere --markdown
      the runs in two folders, as a table for a page
  maskzoo runs --csv runs.csv
      and as a file, with more of what is known
"""

import csv
import json
import math
import os
from datetime import datetime
from pathlib import Path

import yaml

from .. import training
from .compare import check_output, write_whole

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


def add_arguments(parser):
    parser.add_argument("folders", type=str, nargs="*", help="run folders, or folders that hold some; runs by default")
    parser.add_argument("--csv", type=str | None, default=None, help="also write the table to this file")
    parser.add_argument("--markdown", action="store_true", default=False, help="print the table as Markdown")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")


def run(arguments):
    check_output("--csv", arguments.csv, None)
    if arguments.markdown and arguments.json:
        raise ValueError("--markdown: expected one way to print; received --json as well")
    places = arguments.folders or ["runs"]
    rows = [describe(path) for place in places for path in find_runs(place)]
    if not rows:
        raise FileNotFoundError(f"folders: expected some that hold runs; received {', '.join(places)}, with none")
    rows.sort(key=lambda row: (-math.inf if row["best"] is None else row["best"], row["run"]), reverse=True)
    if arguments.csv:
        write_whole(arguments.csv, lambda path: write_csv(path, rows))
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print(markdown(rows) if arguments.markdown else table(rows))


def find_runs(place):
    """Yields the run folders in a folder, which may be one itself; a folder of folds is not one, but holds some.

    Raises:
        FileNotFoundError: If it is not there.
    """
    place = Path(place)
    if not place.is_dir():
        raise FileNotFoundError(f"folders: expected a run folder or one that holds some; received {place}")
    for folder, below, files in os.walk(place):
        deep = len(Path(folder).relative_to(place).parts) >= DEPTH
        below[:] = [] if deep else sorted(n for n in below if n not in SKIPPED and not n.startswith("."))
        if training.RECIPE in files and training.FOLDS not in files:
            yield Path(folder)


def describe(path):
    """What is known of a run, as values that JSON can hold; `None` where a file does not tell."""
    row = dict.fromkeys((*COLUMNS, "problem")) | {"run": str(path), "state": "broken"}
    try:
        recipe = read_yaml(path / training.RECIPE)
        if not isinstance(recipe, dict):
            raise ValueError(f"{training.RECIPE} holds no mapping")
        row |= asked(recipe)
        row |= made(path)
        row |= reached(path, recipe)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        row["problem"] = " ".join(str(error).split())
    return row


def asked(recipe):
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


def made(path):
    """What the files say that training wrote when it began."""
    found, manifest, description = {}, read_json(path / "manifest.json"), read_json(path / "data.json")
    found["started"] = manifest.get("started")
    found["parameters"] = manifest.get("parameters")
    if "patch" in description:
        found["size"] = short(description["patch"])
    return found


def reached(path, recipe):
    """How far the run came and how good it is."""
    dice = [float(row["val_dice"]) for row in training.read_history(path)]
    scores = read_json(path / "scores.json")
    whole = scores.get("mean_dice")
    stages = recipe.get("stages") or [{}]
    epochs = sum(stage.get("epochs", recipe["epochs"]) for stage in stages)
    if dice and not ((path / training.BEST).is_file() and (path / training.LAST).is_file()):
        raise FileNotFoundError("expected best.keras and last.keras; one of them is missing")
    return {
        "state": "done" if scores else "unfinished",
        "epochs": f"{len(dice)}/{epochs}",
        "best": max(dice, default=None),
        "last": dice[-1] if dice else None,
        "images": sum(whole) / len(whole) if whole else None,
    }


def read_yaml(path):
    """A YAML file's content; with the fast reader where PyYAML was built with it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: {error}") from error


def read_json(path):
    """A JSON object; an empty one where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def short(value):
    """A size or an option in few letters: `256`, `96x96x64`, `{a:1}`."""
    if isinstance(value, list) and value and all(isinstance(part, int) for part in value):
        return str(value[0]) if len(set(value)) == 1 and len(value) < 4 else "x".join(map(str, value))
    return None if value is None else str(value).replace(" ", "")


def cells(rows):
    """The header and the rows as text, without the columns that no run fills."""
    shown = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    lines = [[cell(name, row[name]) for name in shown] for row in rows]
    return shown, [[COLUMNS[name] for name in shown], *lines]


def cell(name, value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if name == "started":
        return f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
    return f"{value:,}" if name == "parameters" else str(value)


def table(rows):
    """The rows as aligned text, and below it what is wrong with the broken ones."""
    shown, lines = cells(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            part.rjust(width) if name in NUMBERS else part.ljust(width)
            for name, part, width in zip(shown, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *(f"broken: {row['run']}: {row['problem']}" for row in rows if row["problem"])])


def markdown(rows):
    """The rows as a Markdown table."""
    shown, (header, *lines) = cells(rows)
    rule = ["---:" if name in NUMBERS else "---" for name in shown]
    return "\n".join("| " + " | ".join(p.replace("|", "\\|") for p in line) + " |" for line in [header, rule, *lines])


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
