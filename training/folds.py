"""Several trainings of one recipe: every fold with every seed, each in a process of its own, one after the other."""

import csv
import io
import logging
import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskzoo.errors import OptionError, RunError, TrainingError, readable
from maskzoo.files import locked_folder, read_json, write_json, write_text
from maskzoo.names import counted

from .. import data
from .child_process import run_logged
from .choice import read_choice
from .history import MONITOR, read_history
from .recipe import Recipe
from .run_folder import BEST, LAST, LOG, RECIPE, SCORES, TRAINED_BY_NONE, create_run, read_recipe, write_recipe

logger = logging.getLogger(__name__)

FOLDS, OUT_OF_FOLD = "folds.json", "out_of_fold"

# The fold of every image, the regions that are split in their place if any are, and the folds to train.
AssignedFolds = tuple[dict[str, int], dict[str, data.Region], list[int]]
# A row of the table of scores: of a training, or a mean over all of them.
ScoreRow = dict[str, float | str]


@dataclass(frozen=True)
class Job:
    """One training: a fold that is held out, and a seed.

    Attributes:
        fold: Number of the fold.
        seed: Seed of weights, windows and augmentation.
        run: Its run folder.
    """

    fold: int
    seed: int
    run: Path

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}"


def train_folds(recipe: Recipe, program: Sequence[str]) -> tuple[Path, list[ScoreRow]]:
    """Trains a recipe on every fold with every seed; trainings that an earlier call finished are left as they are.

    Each training is a process: it releases the memory of the device at its end, and this process imports neither Keras
    nor TensorFlow. What a training prints goes to `train.log` in its run folder.

    Args:
        recipe: A recipe whose `folds` or `seeds` ask for several trainings.
        program: Command to which the options of a single training are added.

    Returns:
        The folder that holds the run folders, `folds.json`, `scores.json` and `scores.csv`; and the rows of the scores.

    Raises:
        MaskzooError: If the data cannot be split that way, or a training failed. The others are still tried if the one
            that failed had finished an epoch: then the options were not at fault.
    """
    spec = data.read_spec(recipe.data, recipe.data_options())
    assigned = assign_folds(recipe, spec)
    run = create_run(recipe)
    with locked_folder(run, TRAINED_BY_NONE):
        return run, train_in(run, recipe, program, assigned)


def train_in(run: Path, recipe: Recipe, program: Sequence[str], assigned: AssignedFolds) -> list[ScoreRow]:
    """Trains into the run folders of a folder, as `train_folds` says; returns the rows of the scores.

    Args:
        run: The folder, which is there.
        recipe: The recipe.
        program: Command to which the options of a single training are added.
        assigned: What `assign_folds` returned.
    """
    folds, regions, numbers = assigned
    if recipe.resume:
        folds = data.read_folds(run / FOLDS, folds)
    else:
        data.write_folds(run / FOLDS, folds, regions=regions)
    write_recipe(recipe, run)
    seeds = range(recipe.seed, recipe.seed + recipe.seeds)
    jobs = [Job(fold, seed, run / f"fold{fold}-seed{seed}") for fold in numbers for seed in seeds]
    logger.info("%s", overview(run, len(numbers), recipe.seeds, counted(len(folds), "region" if regions else "image")))
    with discarding_on_failure(run, jobs):
        failed = train_jobs(jobs, recipe, program, run)
    rows = write_scores(run, [job for job in jobs if job not in failed])
    if failed:
        raise TrainingError(
            f"folds: expected all of {len(jobs)} trainings to succeed; {len(failed)} failed: "
            f"{', '.join(map(str, failed))}; see {LOG} in their folders, and continue with `run` {run} and `resume`"
        )
    return rows


def overview(run: Path, folds: int, seeds: int, images: str) -> str:
    """Says how many trainings there are, as a line; `images` says of how many images, or regions of images."""
    trainings, parts = counted(folds * seeds, "training"), counted(folds, "fold")
    return f"{trainings}: {parts} of {images}, {counted(seeds, 'seed')}; {run}"


@contextmanager
def discarding_on_failure(run: Path, jobs: Sequence[Job]) -> Iterator[None]:
    """A context after whose failure the folder is removed, unless a training got as far as a model."""
    try:
        yield
    except TrainingError:
        if not any((job.run / name).exists() for job in jobs for name in (LAST, BEST)):
            shutil.rmtree(run)
        raise


def train_jobs(jobs: Sequence[Job], recipe: Recipe, program: Sequence[str], run: Path) -> list[Job]:
    """Runs trainings one after the other; returns those that failed after their first checkpoint.

    Args:
        jobs: The trainings.
        recipe: The recipe of all of them.
        program: Command to which their options are added.
        run: The folder that holds their run folders.

    Raises:
        TrainingError: If one failed before its first checkpoint.
    """
    failed = []
    for number, job in enumerate(jobs, 1):
        if is_finished(job, recipe):
            logger.info("%s: already finished; %s", job, summary(job))
            continue
        problem = run_logged([*program, *options_of(job, run)], job.run, f"{job} ({number} of {len(jobs)})")
        logger.info("%s: %s", job, problem or summary(job))
        if problem:
            failed.append(job)
            if not (job.run / LAST).exists():
                raise TrainingError(f"{job}: {problem}")
    return failed


def options_of(job: Job, run: Path) -> list[str]:
    """Returns the command line options of a training."""
    options = ["--recipe", run / RECIPE, "--folds", (run / FOLDS).resolve(), "--fold", job.fold, "--seed", job.seed]
    options += ["--seeds", 1, "--run", job.run]
    options += ["--resume"] if (job.run / RECIPE).is_file() else []
    return [str(option) for option in options]


def assign_folds(recipe: Recipe, spec: data.DataSpec) -> AssignedFolds:
    """Returns the fold of every image, and the folds to train: only the held-out one if the recipe has no `folds`.

    Args:
        recipe: The recipe.
        spec: The data set.

    Returns:
        The fold of every image, or region of an image, by its name; the regions by theirs; and the numbers of the folds
        to train.

    Raises:
        OptionError: If the data cannot be split that way.
    """
    if spec.path == data.SYNTHETIC:
        expected = "a data set on disk, the same for every seed; `maskzoo synth` writes one"
        raise OptionError("data", expected, "synthetic images")
    number = recipe.folds if isinstance(recipe.folds, int) else None
    images = data.images_to_split(spec, folds=number, seed=recipe.seed)
    if number is not None:
        folds = images.make_folds(number, split=spec.split, seed=recipe.seed)
        return folds, dict(images.regions), sorted(set(folds.values()))
    if isinstance(recipe.folds, str):
        folds, regions = images.read_folds(recipe.folds)
        return folds, regions, sorted(set(folds.values()))
    if spec.folds is not None:
        return *images.read_folds(spec.folds, spec.repeat), [spec.fold]
    held_out, regions = data.images_held_out(spec, recipe.seed)
    if not held_out:
        raise OptionError("seeds", "images that are held out, to compare by", "`validation` 0")
    divided = {region.image for region in regions.values()}
    whole = [name for name in images.names if name not in divided]
    return {name: int(name not in held_out) for name in [*whole, *regions]}, regions, [0]


def is_finished(job: Job, recipe: Recipe) -> bool:
    """Returns whether a training is complete, for the number of epochs that is asked for now."""
    return (job.run / SCORES).is_file() and read_recipe(job.run).epochs == recipe.epochs


def score(job: Job) -> dict[str, float]:
    """Returns the scores of a finished training: Dice of the best and the last epoch, and of whole held-out images."""
    dice = [float(row["val_dice"]) for row in read_history(job.run)]
    with readable(job.run / SCORES, "the scores of a run", RunError):
        whole = read_json(job.run / SCORES, RunError)["dice"]
    best = max(range(len(dice)), key=dice.__getitem__)
    chosen = read_choice(job.run)
    return {
        "fold": job.fold,
        "seed": job.seed,
        "epochs": len(dice),
        "best": chosen.get(MONITOR, dice[best]),
        "best_epoch": chosen.get("epoch") or best + 1,
        "last": dice[-1],
        "images": sum(whole) / len(whole),
    }


def summary(job: Job) -> str:
    """Says how good a finished training is, as a line."""
    row = score(job)
    return (
        f"Dice {row['best']:.4f} in epoch {row['best_epoch']}, {row['last']:.4f} in the last epoch, "
        f"{row['images']:.4f} on whole images"
    )


def write_scores(run: Path, jobs: Sequence[Job]) -> list[ScoreRow]:
    """Writes `scores.json` and `scores.csv` of finished trainings; returns a row for each, then mean and deviation."""
    scores = [score(job) for job in jobs]
    columns = {name: [row[name] for row in scores] for name in ("best", "last", "images")}
    mean = {name: statistics.fmean(values) for name, values in columns.items()} if scores else {}
    deviation = {name: statistics.stdev(values) for name, values in columns.items()} if len(scores) > 1 else {}
    write_json(run / SCORES, {"runs": scores, "mean": mean, "deviation": deviation})
    rows: list[ScoreRow] = [{**row} for row in scores]
    rows += [{"fold": what, **values} for what, values in (("mean", mean), ("deviation", deviation)) if values]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(run / "scores.csv", text.getvalue())
    return rows
