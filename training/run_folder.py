"""The run folder: where a run lives, and how its small files are written so that a kill never leaves half of one."""

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

from .recipe import Recipe

BEST, LAST, RECIPE = "best.keras", "last.keras", "recipe.yaml"
HISTORY = "history.csv"
# What a training that others watch prints.
LOG = "train.log"
# What a resumed run may do differently: train longer, at another rate, on other devices, followed elsewhere.
MAY_CHANGE = ("epochs", "learning_rate", "devices", "track", "seeds")


def create_run(recipe):
    """Makes the folder of a new run, or finds that of a run to resume.

    Raises:
        FileExistsError: If `--run` names a folder that is not empty.
        FileNotFoundError: If a run to resume is not there.
        ValueError: If a tracker is asked for that is not installed.
    """
    check_trackers(recipe.track)
    if recipe.resume:
        run = Path(recipe.run)
        check_same(recipe, read_recipe(run))
    elif recipe.run is not None:
        run = Path(recipe.run)
        if run.exists() and any(path.name != LOG for path in run.iterdir()):
            raise FileExistsError(
                f"--run: expected a new folder, or --resume to go on; received {run}, which holds a run"
            )
    else:
        run = free_name(Path("runs"), f"{recipe.model}-{Path(recipe.data).stem}")
    run.mkdir(parents=True, exist_ok=True)
    return run


def check_trackers(names):
    """Refuses trackers that are not installed.

    Raises:
        ValueError: With the command that installs them.
    """
    for name in names or ():
        if find_spec(name) is None:
            raise ValueError(
                f'--track: expected {name} to be installed; received it without: pip install "maskzoo[track]"'
            )


def discard_unfinished(run):
    """Removes the folder of a run that failed before its first checkpoint; returns whether there was none."""
    if (run / LAST).exists():
        return False
    if (run / LOG).exists():
        for path in run.iterdir():
            if path.name != LOG:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        shutil.rmtree(run)
    return True


def write_recipe(recipe, run):
    write_text(run / RECIPE, yaml.safe_dump(recipe.as_mapping(), sort_keys=False, allow_unicode=True))


def free_name(folder, name):
    """The first of `name`, `name-2`, `name-3`, ... that is not in the folder yet."""
    run, number = folder / name, 2
    while run.exists():
        run, number = folder / f"{name}-{number}", number + 1
    return run


def check_same(recipe, earlier):
    """Refuses to resume a run with options that would make it another one.

    Raises:
        ValueError: If an option that shapes the model, the data or the steps differs from the run's own.
    """
    for name, value in earlier.as_mapping().items():
        received = getattr(recipe, name)
        if name not in MAY_CHANGE and received != value:
            raise ValueError(
                f"--{name.replace('_', '-')}: expected {value} to resume {recipe.run}; received {received}"
            )


def read_recipe(run):
    """The recipe that a run folder was trained with.

    Raises:
        FileNotFoundError: If the folder holds no run.
    """
    path = Path(run) / RECIPE
    if not path.is_file():
        raise FileNotFoundError(f"--run: expected a run folder, with a {RECIPE}; received {run}")
    return Recipe.from_mapping(yaml.safe_load(path.read_text(encoding="utf-8")), path)


def manifest(recipe, data):
    """What a run was made with: versions, seed, the data's fingerprint, the commit of the checkout."""
    import keras

    packages = ("keras", "tensorflow", "numpy", "rasterio", "albumentations")
    backend = keras.backend.backend()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": recipe.seed,
        "data_fingerprint": data.fingerprint,
        "commit": checkout_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "backend": f"{backend} {version(backend)}",
        "versions": {package: version(package) for package in packages},
    }


def checkout_commit():
    """The commit of the checkout that this code runs from, or `None` where it is installed."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_history(run):
    """The rows of a run's history table; none where there is no table."""
    path = run / HISTORY
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_json(path, content):
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path, text):
    """Writes a small file under a temporary name, then renames it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
