"""Scores a trained run on labelled images: Dice and IoU per class, over all pixels and as a mean over images.

examples:
  maskzoo evaluate runs/membrane
      the images that were held out when the run was trained
  maskzoo evaluate runs/membrane --data FOLDER
      every image of another data set
"""

import json

from maskzoo import data, inference

from .predict import add_tiling_options, tiling_options


def add_arguments(parser):
    parser.add_argument("run", type=str, help="run folder that train wrote")
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="folder or YAML of a labelled data set; by default the run's held-out images",
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, with the scores of each image")
    add_tiling_options(parser)


def run(arguments):
    options = tiling_options(arguments)
    folder = inference.check_run(arguments.run)
    if arguments.data is not None:
        data.check_path(arguments.data)
    trained = inference.load_run(folder)
    cases = data.labelled_cases(trained.data, arguments.data)
    scores = inference.evaluate(trained, cases, **options)
    if arguments.json:
        print(json.dumps(scores, indent=2))
    else:
        print(f"{len(cases)} images")
        print(score_table(scores))


def score_table(scores):
    """The scores as aligned text, a row per class."""
    rows = [("class", "Dice (mean over images)", "Dice (all pixels)", "IoU (all pixels)")]
    columns = zip(scores["classes"], scores["mean_dice"], scores["dice"], scores["iou"], strict=True)
    rows += [(name, *(f"{value:.4f}" for value in values)) for name, *values in columns]
    name_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *values in rows:
        cells = [value.rjust(width) for value, width in zip(values, widths, strict=True)]
        lines.append("  ".join([name.ljust(name_width), *cells]))
    return "\n".join(lines)
