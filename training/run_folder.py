"""The run folder: where a run lives, and what it says about the circumstances of its training."""

import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

from maskzoo.errors import ExistingFile, MissingFile, OptionError, RunError
from maskzoo.files import read_yaml, remove_abandoned, write_json, write_text

from .history import read_history
from .options import Value
from .recipe import Recipe

BEST, LAST, RECIPE, MANIFEST = "best.keras", "last.keras", "recipe.yaml", "manifest.json"
# What was chosen as the best, and why.
CHOICE = "best.json"
# How good the best model is on whole images; a run without it is not finished.
SCORES = "scores.json"
# What a training that another process started prints.
LOG = "train.log"
# What a process expects of a run folder that it writes.
TRAINED_BY_NONE = "a run that no other process trains"
# What a resumed run may do differently: train longer, at another rate, on other devices, tracked elsewhere, on the same
# data at another place.
MAY_CHANGE = ("epochs", "learning_rate", "encoder_learning_rate", "devices", "track", "seeds", "data")
# The same in each of its stages.
STAGE_MAY_CHANGE = ("epochs", "learning_rate", "encoder_learning_rate")
MANIFEST_FORMAT = 1
PACKAGES = ("keras", "tensorflow", "numpy", "rasterio", "albumentations")


@dataclass(frozen=True)
class Manifest:
    """What a run was made with: the content of `manifest.json`.

    Attributes:
        started: When it was started, or resumed last, as an ISO date in UTC.
        command: The command line.
        seed: The random seed.
        data_fingerprint: Hash of the names and contents of the data set.
        commit: The commit of the checkout, or `None` for an installed package.
        python: Version of Python.
        machine: Processor and number of cores.
        backend: Name and version of the Keras backend.
        versions: Versions of other packages.
        parameters: Number of parameters of the model.
        format: Number of the file's format.
    """

    started: str
    command: list[str]
    seed: int
    data_fingerprint: str
    commit: str | None
    python: str
    machine: str
    backend: str
    versions: dict[str, str]
    parameters: int
    format: int = MANIFEST_FORMAT

    @classmethod
    def now(cls, recipe: Recipe, data_fingerprint: str, parameters: int) -> "Manifest":
        """Returns the manifest of a run that starts now.

        Args:
            recipe: The recipe.
            data_fingerprint: Hash of the data set.
            parameters: Number of parameters of the model.
        """
        import keras

        backend = keras.backend.backend()
        return cls(
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            command=sys.argv,
            seed=recipe.seed,
            data_fingerprint=data_fingerprint,
            commit=checkout_commit(),
            python=platform.python_version(),
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            backend=f"{backend} {version(backend)}",
            versions={package: version(package) for package in PACKAGES},
            parameters=parameters,
        )

    def write(self, run: Path) -> None:
        """Writes the file into a run folder."""
        write_json(run / MANIFEST, asdict(self))


def create_run(recipe: Recipe) -> Path:
    """Makes the folder of a new run, or finds that of a run to resume.

    Raises:
        ExistingFile: If `run` names a folder that is not empty.
        MissingFile: If a run to resume is not there.
        OptionError: If a tracker is asked for that is not installed, or a run resumed with other options.
    """
    check_trackers(recipe.track)
    if recipe.run is None:
        run = free_name(Path("runs"), f"{recipe.model}-{Path(recipe.data).stem}")
    else:
        run = Path(recipe.run)
        if recipe.resume:
            check_same(recipe, read_recipe(run))
            # Killed in its first epoch, a run may have the best model alone, and begins anew.
            is_trained = len(read_history(run)) > 1 or (run / "scores.json").exists()
            if is_trained and (run / BEST).exists() and not (run / LAST).exists():
                raise MissingFile(run, f"a run with a {LAST}, which is what is resumed", f"one with a {BEST} alone")
        elif run.exists() and any(path.name != LOG for path in run.iterdir()):
            raise ExistingFile(run, "a new folder, or `resume` to continue the run in it", "one that holds a run")
    run.mkdir(parents=True, exist_ok=True)
    for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
        remove_abandoned(folder)
    return run


def check_trackers(names: Sequence[str] | None) -> None:
    """Refuses trackers that are not installed.

    Raises:
        OptionError: With the command that installs them.
    """
    for name in names or ():
        if find_spec(name) is None:
            raise OptionError("track", 'an installed package, as by pip install "maskzoo[track]"', name)


def discard_unfinished(run: Path) -> bool:
    """Removes the folder of a run that failed before its first checkpoint; returns whether it did.

    A folder that holds a model is kept: without the last it may be one that was resumed.
    """
    if any((run / name).exists() for name in (LAST, BEST)):
        return False
    if (run / LOG).exists():
        for path in run.iterdir():
            if path.name != LOG:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        shutil.rmtree(run)
    return True


def write_recipe(recipe: Recipe, run: Path) -> None:
    """Writes `recipe.yaml` into a run folder."""
    write_text(run / RECIPE, yaml.safe_dump(recipe.as_mapping(), sort_keys=False, allow_unicode=True))


def read_recipe(run: Path) -> Recipe:
    """Returns the recipe that a run folder was trained with.

    Raises:
        MissingFile: If the folder holds no run.
        RunError: If the recipe is damaged, or has options that this version does not know.
    """
    path = Path(run) / RECIPE
    if not path.is_file():
        raise MissingFile(run, f"a run folder, with a {RECIPE}", "none")
    mapping: Value = read_yaml(path, RunError)
    if not isinstance(mapping, dict):
        raise RunError(path, "options by name", mapping)
    # Nobody has to change a run that is there.
    try:
        return Recipe.from_mapping(mapping, path, logging.DEBUG)
    except OptionError as error:
        raise RunError(path, f"{error.name} to be {error.expected}", error.received) from error


def free_name(folder: Path, name: str) -> Path:
    """Returns the first of `name`, `name-2`, `name-3`, ... that is not in the folder yet."""
    run, number = folder / name, 2
    while run.exists():
        run, number = folder / f"{name}-{number}", number + 1
    return run


def check_same(recipe: Recipe, earlier: Recipe) -> None:
    """Refuses to resume a run with options that would make it another one.

    Args:
        recipe: The recipe to resume with.
        earlier: That of the run.

    Raises:
        OptionError: If an option that shapes the model, the data or the steps differs, or one that has no effect.
    """
    # Which images the file holds out is compared with what they are.
    may_change = (*MAY_CHANGE, "folds") if recipe.fold is not None else MAY_CHANGE
    for name, value in earlier.as_mapping().items():
        received = getattr(recipe, name)
        same = lasting(received) == lasting(value) if name == "stages" else received == value
        if name not in may_change and not same:
            raise OptionError(name, f"{value} to resume {recipe.run}", received)
        if name in STAGE_MAY_CHANGE and not same and all(name in stage for stage in recipe.stages or [{}]):
            raise OptionError(name, f"another value in `stages`, each of which has its own {name}", received)


def lasting(stages: Sequence[Mapping[str, Value]] | None) -> list[dict[str, Value]]:
    """Returns what a resumed run cannot change in its stages."""
    return [{key: value for key, value in stage.items() if key not in STAGE_MAY_CHANGE} for stage in stages or ()]


def checkout_commit() -> str | None:
    """Returns the commit of the checkout that this code runs from, or `None` if it is installed."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
