"""Trains a segmentation model and writes a run folder that `predict`, `evaluate` and `export` understand.

examples:
  python train.py --model vnet3d
      trains on synthetic volumes, in a few minutes
  python train.py --model unet_padded --data FOLDER
      trains on FOLDER/images and FOLDER/masks, which hold files of the same names
  python train.py --recipe recipes/membrane.yaml --data FOLDER
      takes every option from a recipe; options on the command line override it; --recipe membrane means the same
  python train.py --run runs/vnet3d-synthetic --resume
      resumes a run that was stopped
  python train.py --model unet --data FOLDER --folds 5 --seeds 3 --run runs/unet
      fifteen trainings, one after the other, and a table of their scores; --resume continues with the missing ones
"""

from __future__ import annotations

import itertools
import logging
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input, write_json
from maskzoo.names import counted, one_of

from .. import data, training
from ..training.recipe import RENAMED
from .backend import load_keras
from .parser import Parser
from .predict_options import OUTPUT_SUFFIX
from .score_tables import score_table
from .tables import text_table

if TYPE_CHECKING:
    from ..data import Case, Dataset
    from ..inference import Run

logger = logging.getLogger(__name__)

# Beside this room, in a checkout as in an installed package.
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def add_arguments(parser: Parser) -> None:
    """Adds the options of `train`."""
    parser.add_argument("--recipe", action="config", help="YAML file with any of the options below as keys")
    parser.add_dataclass_options(training.Recipe)
    parser.renamed |= RENAMED
    parser.rewrite = with_recipes


def with_recipes(arguments: list[str]) -> list[str]:
    """Finds recipes by name, and puts a run's own recipe before the options of a resumed run, so that they agree.

    Raises:
        OptionError: If no recipe has the name.
    """
    found = [
        recipe_path(argument) if before == "--recipe" else argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    if "--resume" not in found:
        return found
    runs = [after for before, after in itertools.pairwise(found) if before == "--run"]
    runs += [argument.removeprefix("--run=") for argument in found if argument.startswith("--run=")]
    recipes = [path for run in runs if (path := Path(run) / training.RECIPE).is_file()]
    return [part for path in recipes for part in ("--recipe", str(path))] + found


def recipe_path(name: str) -> str:
    """The file of a recipe, which may be one of ours by its name alone."""
    if Path(name).suffix or Path(name).exists():
        return name
    known = {path.stem: str(path) for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in known:
        raise OptionError("recipe", f"a YAML file, or {one_of(name, known)}", name)
    return known[name]


def run(arguments: Namespace) -> None:
    """Runs `train`."""
    recipe = training.find_hosts(training.Recipe.of(arguments))
    data.read_spec(recipe.data, recipe.data_options())
    # Runs of earlier versions are not to end for an option that never did anything.
    if not recipe.resume and recipe.region != training.Recipe().region and recipe.roi_classes is None:
        raise OptionError("region", "`roi_classes`, around which it lies", recipe.region)
    if recipe.run is not None:
        inputs = [*data.files_of(recipe.data), *([recipe.init_from] if recipe.init_from else [])]
        check_no_input([recipe.run], inputs)
    if recipe.is_several:
        train_several(recipe)
    else:
        train_one(recipe)


def train_several(recipe: training.Recipe) -> None:
    """Trains on all folds and with all seeds, and prints a table of the scores."""
    launcher = [sys.argv[0]] if Path(sys.argv[0]).name == "train.py" else ["-m", "maskzoo", "train"]
    folder, rows = training.train_folds(recipe, [sys.executable, *launcher])
    print(f"\n{fold_table(rows)}\n")
    logger.info("%s; try: maskzoo runs %s", folder / "scores.csv", shlex.quote(str(folder)))


def fold_table(rows: list[dict[str, Any]]) -> str:  # numbers and names
    """The scores of every training as aligned text."""
    titles = {"best": "best Dice", "best_epoch": "in epoch", "last": "last Dice", "images": "whole images"}
    cells = [[titles.get(name, name) for name in rows[0]]]
    for row in rows:
        values = [row.get(name, "") for name in rows[0]]
        cells.append([f"{value:.4f}" if isinstance(value, float) else str(value) for value in values])
    return text_table(cells, left=())


def train_one(recipe: training.Recipe) -> None:
    """Trains, then scores the model on the images that were held out."""
    with training.folder_of_host(recipe) as folder:
        dataset = fit(recipe, folder)
    if recipe.host:
        return
    if dataset.validation:
        evaluate_held_out(recipe, folder, dataset)
        return
    write_json(folder / "scores.json", {"images": []})
    logger.info("nothing was held out: the model of the last epoch is kept; curves: %s", folder / "curves.png")
    logger.info("try: %s", predict_command(folder, dataset))


def fit(recipe: training.Recipe, folder: Path) -> Dataset:
    """Trains into a run folder, which is removed again if nothing came of it."""
    try:
        load_keras("tensorflow")
        return training.train(recipe, folder)
    except KeyboardInterrupt:
        if training.discard_unfinished(folder):
            raise
        raise KeyboardInterrupt(f"; continue with --run {recipe.run or folder} --resume") from None
    except BaseException:
        training.discard_unfinished(folder)
        raise


def evaluate_held_out(recipe: training.Recipe, folder: Path, dataset: Dataset) -> None:
    """Scores the best epoch on the held-out images, and says what to do next."""
    # Imported late: it brings TensorFlow, which a wrong option must not wait for.
    from .. import evaluation, inference

    trained = inference.load_run(folder)
    if recipe.fold is not None:
        store_probabilities(trained, dataset.validation, folder / training.OUT_OF_FOLD)
    chosen = training.read_choice(folder)
    scores = replace(evaluation.evaluate(trained, dataset.validation), chosen=chosen)
    scores.write(folder / "scores.json")
    images = counted(len(dataset.validation), "held-out region" if dataset.regions else "held-out image")
    print(f"\nbest epoch on {images}, predicted whole:\n{score_table(scores.as_mapping())}\n")
    dice = sum(scores.dice) / len(scores.dice)
    where = f"all pixels of {images}"
    logger.info("Dice %.3f over %s; pictures: %s, %s", dice, where, folder / "samples.png", folder / "curves.png")
    logger.info("try: %s", predict_command(folder, dataset))


def store_probabilities(trained: Run, cases: Sequence[Case], folder: Path) -> None:
    """Stores 8-bit probabilities of images that the run was not trained on, one band per class."""
    from .. import inference

    folder.mkdir(exist_ok=True)
    model = trained.path / trained.model_file
    for case in cases:
        output = folder / f"{case.name}{OUTPUT_SUFFIX[len(case.image.shape)]}"
        if not output.exists() or output.stat().st_mtime < model.stat().st_mtime:
            inference.predict_image(
                trained,
                case.image,
                output,
                inference.OutputOptions(probabilities="uint8"),
                inference.TileOptions(seam_tolerance=0),
                progress=inference.ProgressOptions(restart=True),
            )


def predict_command(folder: Path, dataset: Dataset) -> str:
    """The predict command for a held-out image of the run; for any if none was held out."""
    case = (dataset.validation or dataset.train)[0]
    image = case.path or example_image(folder, case)
    output = folder / f"{data.file_stem(image)}-mask{OUTPUT_SUFFIX[dataset.spatial_dims]}"
    program = "python predict.py" if Path(sys.argv[0]).name == "train.py" else "maskzoo predict"
    return f"{program} {shlex.join([str(folder), str(image), str(output)])}"


def example_image(folder: Path, case: Case) -> Path:
    """Writes a synthetic image into the run folder, so that there is one to predict on."""
    path = folder / f"{case.name}{OUTPUT_SUFFIX[len(case.image.shape)]}"
    window = data.Window((0,) * len(case.image.shape), case.image.shape)
    options = data.WriterOptions(bands=case.image.channels, dtype=case.image.dtype, colors=())
    with data.open_writer(path, case.image.shape, options) as writer:
        writer.write(window, case.image.read(window))
    return path
