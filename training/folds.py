"""Several trainings of one recipe: every fold with every seed, each in a process of its own, one after the other."""

import csv
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import data
from .run_folder import LAST, LOG, RECIPE, create_run, read_history, read_recipe, write_json, write_recipe, write_text

FOLDS, SCORES, OUT_OF_FOLD = "folds.json", "scores.json", "out_of_fold"
PATIENCE = 30
LAST_LINES = 20


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

    def __str__(self):
        return f"fold {self.fold}, seed {self.seed}"


def train_folds(recipe, program, tell=None):
    """Trains a recipe on every fold with every seed; those that an earlier call finished are left as they are.

    Each training is a process: it gives back the memory of the device, and this process imports neither Keras nor
    TensorFlow. What a process prints goes to `train.log` in its run folder.

    Args:
        recipe: A `Recipe` whose `folds` or `seeds` ask for several trainings.
        program: Command, as a list, to which the options of a single training are added.
        tell: Function that is told, line by line, what is done; prints by default.

    Returns:
        The folder that holds the run folders, `folds.json`, `scores.json` and `scores.csv`; and the rows of the scores.

    Raises:
        ValueError: If the data cannot be split that way, or a training failed. Others are still tried if the one that
            failed had finished an epoch: then it was not the options that were wrong.
    """
    tell = tell or partial(print, flush=True)
    spec = data.read_spec(recipe.data, recipe.data_options())
    folds, numbers = assign(recipe, spec)
    run = create_run(recipe)
    if recipe.resume:
        folds = data.read_folds(run / FOLDS, folds)
    else:
        data.write_folds(run / FOLDS, folds)
    write_recipe(recipe, run)
    seeds = range(recipe.seed, recipe.seed + recipe.seeds)
    jobs = [Job(fold, seed, run / f"fold{fold}-seed{seed}") for fold in numbers for seed in seeds]
    tell(f"{len(jobs)} trainings: {len(numbers)} fold(s) of {len(folds)} images, {recipe.seeds} seed(s); {run}")
    failed = []
    try:
        for number, job in enumerate(jobs, 1):
            if is_finished(job, recipe):
                tell(f"{job}: finished before; {summary(job)}")
                continue
            problem = train_one(job, program, run, f"{job} ({number} of {len(jobs)})")
            tell(f"{job}: {problem or summary(job)}")
            if problem:
                failed.append(job)
                if not (job.run / LAST).exists():
                    raise ValueError(f"{job}: {problem}")
    except ValueError:
        if not any((job.run / LAST).exists() for job in jobs):
            shutil.rmtree(run)
        raise
    rows = write_scores(run, [job for job in jobs if job not in failed])
    if failed:
        raise ValueError(
            f"folds: expected {len(jobs)} trainings to end well; {len(failed)} failed: {', '.join(map(str, failed))}; "
            f"see {LOG} there, and go on with --run {run} --resume"
        )
    return run, rows


def assign(recipe, spec):
    """Returns the fold of every image, and the folds to train: only the held-out one where folds are not asked for.

    Raises:
        ValueError: If the data cannot be split that way.
    """
    if spec.path == data.SYNTHETIC:
        raise ValueError(
            "--folds: expected --data with images on a disk, the same for every seed; received synthetic ones: "
            "`maskzoo synth` writes some"
        )
    names = data.image_names(spec)
    if isinstance(recipe.folds, str):
        folds = data.read_folds(recipe.folds, names)
    elif recipe.folds is None and spec.folds is not None:
        return data.read_folds(spec.folds, names), [spec.fold]
    else:
        groups = data.groups_by_pattern(names, spec.group) if spec.group else None
        if recipe.folds is None:
            held_out = data.held_out_names(names, spec.validation, split=spec.split, groups=groups, seed=recipe.seed)
            return {name: int(name not in held_out) for name in names}, [0]
        folds = data.make_folds(names, recipe.folds, split=spec.split, groups=groups, seed=recipe.seed)
    return folds, sorted(set(folds.values()))


def is_finished(job, recipe):
    """Whether a training came to its end: to that of the epochs which are asked for now."""
    return (job.run / SCORES).is_file() and read_recipe(job.run).epochs == recipe.epochs


def train_one(job, program, run, title):
    """Trains in a process of its own, and shows the last line that it printed.

    Returns:
        What went wrong, as a line; `None` if nothing did.
    """
    options = ["--recipe", run / RECIPE, "--folds", (run / FOLDS).resolve(), "--fold", job.fold, "--seed", job.seed]
    options += ["--seeds", 1, "--run", job.run]
    options += ["--resume"] if (job.run / RECIPE).is_file() else []
    job.run.mkdir(exist_ok=True)
    with open(job.run / LOG, "ab") as log:
        data.lock_file(log, job.run, "a run that nobody trains")
        begin = log.tell()
        child = subprocess.Popen(
            [*program, *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process alone, which passes it on once.
            process_group=0,
            preexec_fn=dying_with_parent(),
        )
        try:
            follow(child, job.run / LOG, title)
        except BaseException:
            stop(child)
            raise
    if child.returncode == 0:
        return None
    return problem_of(child.returncode, job.run / LOG, begin)


def dying_with_parent():
    """A function that has the system kill a new process when its parent is killed, where the system can."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    system, set_death_signal = ctypes.CDLL(None), 1
    return lambda: system.prctl(set_death_signal, signal.SIGKILL)


def follow(child, log, title):
    """Waits for a process; in a terminal, with the last line of its log."""
    shown = sys.stderr.isatty()
    while True:
        try:
            child.wait(0.5)
            break
        except subprocess.TimeoutExpired:
            if shown:
                width = shutil.get_terminal_size().columns - 1
                line = f"{title}: {(last_lines(log, 1) or ['starts'])[-1]}"
                print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def stop(child):
    """Ends a process as Ctrl-C does, and by force if it takes too long."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def last_lines(path, number, begin=0):
    """The last lines of a file that are not empty, of what was written behind a position."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - 200 * number - 4096))
        text = file.read().decode(errors="replace")
    lines = [line.split("\r")[-1].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-number:]


def problem_of(code, log, begin):
    """Why a process ended badly, as a line; what a defect printed goes to stderr."""
    lines = last_lines(log, LAST_LINES, begin)
    if lines and lines[-1].startswith("error: "):
        return lines[-1].removeprefix("error: ")
    if code < 0:
        return f"ended by signal {-code}" + (", as where memory runs out" if -code == signal.SIGKILL else "")
    print("\n".join(lines), file=sys.stderr)
    return f"ended with code {code}"


def score(job):
    """The scores of a finished training: Dice of the best and the last epoch, and of whole held-out images."""
    history = read_history(job.run)
    dice = [float(row["val_dice"]) for row in history]
    whole = json.loads((job.run / SCORES).read_text(encoding="utf-8"))["mean_dice"]
    best = max(range(len(dice)), key=dice.__getitem__)
    return {
        "fold": job.fold,
        "seed": job.seed,
        "epochs": len(dice),
        "best": dice[best],
        "best_epoch": best + 1,
        "last": dice[-1],
        "images": sum(whole) / len(whole),
    }


def summary(job):
    row = score(job)
    return (
        f"Dice {row['best']:.4f} in epoch {row['best_epoch']}, {row['last']:.4f} in the last, {row['images']:.4f} whole"
    )


def write_scores(run, jobs):
    """Writes `scores.json` and `scores.csv` of finished trainings; returns a row for each, then mean and deviation."""
    rows = [score(job) for job in jobs]
    columns = {name: [row[name] for row in rows] for name in ("best", "last", "images")}
    mean = {name: statistics.fmean(values) for name, values in columns.items()} if rows else {}
    deviation = {name: statistics.stdev(values) for name, values in columns.items()} if len(rows) > 1 else {}
    write_json(run / SCORES, {"runs": rows, "mean": mean, "deviation": deviation})
    rows += [{"fold": what, **values} for what, values in (("mean", mean), ("deviation", deviation)) if values]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(run / "scores.csv", text.getvalue())
    return rows
