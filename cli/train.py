"""Trains a segmentation model and writes a run folder that `predict`, `evaluate` and `export` understand.

examples:
  python train.py --model vnet3d
      trains on volumes that it makes itself, in a few minutes
  python train.py --model unet_padded --data FOLDER
      trains on FOLDER/images with FOLDER/masks, files of the same names
  python train.py --recipe recipes/membrane.yaml --data FOLDER
      takes every option from a recipe; the command line wins over it
  python train.py --run runs/vnet3d-synthetic --resume
      goes on with a run that was stopped
"""

import itertools
import shlex
import sys
from pathlib import Path

from maskzoo import data, training

from . import load_keras
from .predict import OUTPUT_SUFFIX


def add_arguments(parser):
    parser.add_argument("--recipe", action="config", help="YAML file with any of the options below as keys")
    parser.add_dataclass_options(training.Recipe)


def complete(arguments):
    """Puts the run's own recipe before the options of a resumed run, so that it goes on as it began."""
    if "--resume" not in arguments:
        return arguments
    runs = [after for before, after in itertools.pairwise(arguments) if before == "--run"]
    runs += [argument.removeprefix("--run=") for argument in arguments if argument.startswith("--run=")]
    recipes = [path for run in runs if (path := Path(run) / training.RECIPE).is_file()]
    return [part for path in recipes for part in ("--recipe", str(path))] + arguments


def run(arguments):
    recipe = training.Recipe.of(arguments)
    data.read_spec(recipe.data, **recipe.data_options())
    folder = training.create_run(recipe)
    load_keras()
    try:
        dataset = training.train(recipe, folder)
    except KeyboardInterrupt:
        if training.discard_unfinished(folder):
            raise
        raise KeyboardInterrupt(f"; go on with --run {folder} --resume") from None
    except BaseException:
        training.discard_unfinished(folder)
        raise

    # Imported late: it brings TensorFlow, which a wrong option must not wait for.
    from maskzoo import inference

    from .evaluate import score_table

    scores = inference.evaluate(inference.load_run(folder), dataset.validation)
    training.write_json(folder / "scores.json", scores)
    print(f"\nbest epoch on the {len(dataset.validation)} held-out images, predicted whole:")
    print(score_table(scores))
    dice = sum(scores["mean_dice"]) / len(scores["mean_dice"])
    print(f"\nDice {dice:.3f}; pictures: {folder / 'samples.png'}, {folder / 'curves.png'}")
    print(f"try: {predict_command(folder, dataset)}")


def predict_command(folder, dataset):
    """The predict command for a held-out image of the run."""
    case = dataset.validation[0]
    image = case.path or example_image(folder, case)
    output = folder / f"{data.file_stem(image)}-mask{OUTPUT_SUFFIX[dataset.rank]}"
    program = "python predict.py" if Path(sys.argv[0]).name == "train.py" else "maskzoo predict"
    return f"{program} {shlex.join([str(folder), str(image), str(output)])}"


def example_image(folder, case):
    """Writes a synthetic image into the run folder, so that there is one to predict on."""
    path = folder / f"{case.name}{OUTPUT_SUFFIX[len(case.image.shape)]}"
    window = data.Window((0,) * len(case.image.shape), case.image.shape)
    with data.open_sink(path, case.image.shape, bands=case.image.channels, dtype=case.image.dtype, colors=()) as sink:
        sink.write(window, case.image.read(window))
    return path
