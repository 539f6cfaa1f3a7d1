"""Trains a segmentation model and writes a run folder that `predict`, `evaluate` and `export` understand.

examples:
  python train.py --model vnet3d
      trains on volumes that it makes itself, in a few minutes
  python train.py --model unet_padded --data FOLDER
      trains on FOLDER/images with FOLDER/masks, files of the same names
  python train.py --recipe recipes/membrane.yaml --data FOLDER
      takes every option from a recipe; the command line wins over it; --recipe membrane means the same
  python train.py --run runs/vnet3d-synthetic --resume
      goes on with a run that was stopped
  python train.py --model unet --data FOLDER --folds 5 --seeds 3 --run runs/unet
      fifteen trainings, one after the other, and a table of their scores; --resume goes on with those that are missing
"""

import itertools
import shlex
import sys
from pathlib import Path

from .. import data, training
from . import load_keras, nearest
from .predict import OUTPUT_SUFFIX

# Beside this room, in a checkout as in an installed package.
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def add_arguments(parser):
    parser.add_argument("--recipe", action="config", help="YAML file with any of the options below as keys")
    parser.add_dataclass_options(training.Recipe)


def complete(arguments):
    """Finds recipes by name, and puts a run's own before the options of a resumed run, so that it goes on as it began.

    Raises:
        ValueError: If no recipe has the name.
    """
    arguments = [
        recipe_path(argument) if before == "--recipe" else argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    if "--resume" not in arguments:
        return arguments
    runs = [after for before, after in itertools.pairwise(arguments) if before == "--run"]
    runs += [argument.removeprefix("--run=") for argument in arguments if argument.startswith("--run=")]
    recipes = [path for run in runs if (path := Path(run) / training.RECIPE).is_file()]
    return [part for path in recipes for part in ("--recipe", str(path))] + arguments


def recipe_path(name):
    """The file of a recipe: of one of ours by its name alone."""
    if Path(name).suffix or Path(name).exists():
        return name
    known = {path.stem: str(path) for path in sorted(RECIPES.glob("*.yaml"))}
    if name not in known:
        raise ValueError(f"--recipe: expected a YAML file, or {nearest(name, known)}; received {name}")
    return known[name]


def run(arguments):
    recipe = training.Recipe.of(arguments)
    data.read_spec(recipe.data, **recipe.data_options())
    if recipe.is_several:
        train_several(recipe)
    else:
        train_one(recipe)


def train_several(recipe):
    """Trains on all folds and with all seeds, and prints a table of the scores."""
    launcher = [sys.argv[0]] if Path(sys.argv[0]).name == "train.py" else ["-m", "maskzoo", "train"]
    folder, rows = training.train_folds(recipe, [sys.executable, *launcher])
    print(f"\n{fold_table(rows)}\n\n{folder / 'scores.csv'}; try: maskzoo runs {shlex.quote(str(folder))}")


def fold_table(rows):
    """The scores of every training as aligned text."""
    titles = {"best": "best Dice", "best_epoch": "in epoch", "last": "last Dice", "images": "whole images"}
    cells = [[titles.get(name, name) for name in rows[0]]]
    for row in rows:
        values = [row.get(name, "") for name in rows[0]]
        cells.append([f"{value:.4f}" if isinstance(value, float) else str(value) for value in values])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)).rstrip() for line in cells)


def train_one(recipe):
    """Trains, then scores the model on the images that were held out."""
    with training.folder_of_host(recipe) as folder:
        dataset = fit(recipe, folder)
    if not recipe.host:
        score(recipe, folder, dataset)


def fit(recipe, folder):
    """Trains into a run folder, which is removed again if nothing came of it."""
    # From here on the run is not finished.
    (folder / "scores.json").unlink(missing_ok=True)
    try:
        load_keras("tensorflow")
        return training.train(recipe, folder)
    except KeyboardInterrupt:
        if training.discard_unfinished(folder):
            raise
        raise KeyboardInterrupt(f"; go on with --run {recipe.run or folder} --resume") from None
    except BaseException:
        training.discard_unfinished(folder)
        raise


def score(recipe, folder, dataset):
    """Scores the best epoch on the held-out images, and says how to go on."""
    # Imported late: it brings TensorFlow, which a wrong option must not wait for.
    from .. import evaluation, inference
    from .evaluate import score_table

    trained = inference.load_run(folder)
    if recipe.fold is not None:
        store_probabilities(trained, dataset.validation, folder / training.OUT_OF_FOLD)
    scores = evaluation.evaluate(trained, dataset.validation)
    training.write_json(folder / "scores.json", scores)
    print(f"\nbest epoch on the {len(dataset.validation)} held-out images, predicted whole:")
    print(score_table(scores))
    dice = sum(scores["mean_dice"]) / len(scores["mean_dice"])
    print(f"\nDice {dice:.3f}; pictures: {folder / 'samples.png'}, {folder / 'curves.png'}")
    print(f"try: {predict_command(folder, dataset)}")


def store_probabilities(trained, cases, folder):
    """Stores 8-bit probabilities of images that the run has not seen, a band per class."""
    from .. import inference

    folder.mkdir(exist_ok=True)
    model = trained.path / trained.model_file
    for case in cases:
        output = folder / f"{case.name}{OUTPUT_SUFFIX[len(case.image.shape)]}"
        if not output.exists() or output.stat().st_mtime < model.stat().st_mtime:
            inference.predict_image(trained, case.image, output, probabilities="uint8", restart=True)


def predict_command(folder, dataset):
    """The predict command for a held-out image of the run."""
    case = dataset.validation[0]
    image = case.path or example_image(folder, case)
    output = folder / f"{data.file_stem(image)}-mask{OUTPUT_SUFFIX[dataset.spatial_dims]}"
    program = "python predict.py" if Path(sys.argv[0]).name == "train.py" else "maskzoo predict"
    return f"{program} {shlex.join([str(folder), str(image), str(output)])}"


def example_image(folder, case):
    """Writes a synthetic image into the run folder, so that there is one to predict on."""
    path = folder / f"{case.name}{OUTPUT_SUFFIX[len(case.image.shape)]}"
    window = data.Window((0,) * len(case.image.shape), case.image.shape)
    with data.open_sink(path, case.image.shape, bands=case.image.channels, dtype=case.image.dtype, colors=()) as sink:
        sink.write(window, case.image.read(window))
    return path
