"""Scores a trained run on labelled images: per class, over all pixels, as means over images, and for each image.

Dice, IoU, precision and recall are always there; an empty prediction of an empty truth counts 1. --metrics adds more,
from names joined by commas:

  presence      is a class in an image at all, told from its predicted pixels: AUC, precision, recall
  calibration   do the probabilities mean what they say: expected calibration error
  surface       95 % Hausdorff and average distance of the borders in the images' unit, surface Dice
  membrane      foreground-restricted Rand and information scores of the segments that a membrane class encloses
  objects       F1 of the connected parts over ten IoU thresholds, and panoptic quality

Overlap, presence and calibration are counted tile by tile, in images of any size. Surface, membrane and objects gather
the whole label map of an image as uint8 and need about 70 bytes of memory per pixel; an image for which --memory does
not suffice is refused before anything is predicted.

examples:
  maskzoo evaluate runs/membrane
      the images that were held out when the run was trained
  maskzoo evaluate runs/membrane --data FOLDER --csv scores.csv
      every image of another data set, and a file with a row per image, the worst first
  maskzoo evaluate runs/unet runs/fpn --tta flips
      an ensemble of two runs that held out the same images, with test-time augmentation
  maskzoo evaluate runs/membrane/fold* --members --data FOLDER
      five folds together, and each alone, on images that none of them was trained on
  maskzoo evaluate runs/nuclei --engine openvino --precision int8
      what a faster engine costs, to compare with the scores without one
  maskzoo evaluate runs/hippocampus --metrics surface,objects --tolerance 2
      distances in millimetres, as the volumes' headers say
"""

import csv
import json
import math
import statistics
import sys
from functools import partial

from .. import data, evaluation
from . import nearest
from .compare import write_whole
from .predict import add_tiling_options, tiling_options
from .predict_options import (
    add_answer_options,
    add_engine_options,
    check_answer_options,
    check_engine_options,
    load_answer,
    tell_decision,
    with_engine,
)

MEASURES = ("overlap", "presence", "calibration", "surface", "membrane", "objects")
SHORT = {
    "presence": {"auc": "AUC", "precision": "precision", "recall": "recall"},
    "surface": {
        "mean_hausdorff95": "HD95",
        "mean_average_surface_distance": "average distance",
        "mean_surface_dice": "surface Dice",
        "one_sided": "one side empty",
    },
    "membrane": {
        f"mean_{score}{part}": f"{title}{part.replace('_', ' ')}"
        for score, title in (("rand", "Rand"), ("information", "information"))
        for part in ("", "_split", "_merge")
    },
    "objects": {
        "f1_50": "F1 at 0.5",
        "f1_75": "F1 at 0.75",
        "f1": "F1 over 0.5..0.95",
        "panoptic_quality": "panoptic quality",
        "true_objects": "objects",
        "predicted_objects": "predicted",
        "mean_f1": "F1 (mean over images)",
    },
}


def add_arguments(parser):
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="run folders that train wrote, RUN:last for the last epoch; several answer together",
    )
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="folder or YAML of a labelled data set; by default the run's held-out images",
    )
    parser.add_argument(
        "--metrics",
        type=str,
        default="overlap",
        help=f"what to score, joined by commas: {','.join(MEASURES)}; overlap is always among them",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        help="distance between borders that counts as agreement in the surface Dice, in the images' unit",
    )
    parser.add_argument(
        "--members", action="store_true", default=False, help="score each run alone too, beside all of them together"
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, with the scores of each image")
    parser.add_argument("--csv", type=str | None, default=None, help="also write a row per image, the worst first")
    add_answer_options(parser)
    add_engine_options(parser)
    add_tiling_options(parser)


def run(arguments):
    tiling_options(arguments)  # refuses mistakes
    measures = parse_measures(arguments.metrics)
    if not 0 <= arguments.tolerance < math.inf:
        raise ValueError(f"--tolerance: expected a distance of at least 0; received {arguments.tolerance}")
    check_engine_options(arguments)
    folders = check_answer_options(arguments)
    if arguments.data is not None:
        data.check_path(arguments.data)
    if arguments.csv is not None:
        data.check_writable(arguments.csv)
    trained, cleaning, gate = load_answer(arguments, folders)
    check_held_out(trained, arguments.data)
    tell_decision(trained, cleaning, gate, same_images=arguments.data is None)
    cases = data.labelled_cases(trained.data.as_mapping(), arguments.data)
    measured = {"measures": measures, "tolerance": arguments.tolerance}
    scores = answer_scores(arguments, (trained, cleaning, gate), cases, measured)
    if arguments.members:
        scores["members"] = member_scores(arguments, folders, cases, measured)
    if arguments.csv is not None:
        write_whole(arguments.csv, lambda path: write_rows(path, image_rows(scores)))
    if arguments.json:
        print(json.dumps(finite(scores), indent=2))
    else:
        print(f"{len(cases)} image{'s'[: len(cases) > 1]}")
        print(score_table(scores))
        if arguments.members:
            print(f"\n{member_table(scores)}")


def answer_scores(arguments, answer, cases, measured):
    """The scores of what `load_answer` returned, by the engine that is asked for."""
    options = tiling_options(arguments)
    trained, cleaning, gate = answer
    tell = partial(print, file=sys.stderr)
    trained = with_engine(arguments, trained, gate, cases[0].image, tell=tell, **options)
    return evaluation.evaluate(trained, cases, cleaning=cleaning, gate=gate, **measured, **options)


def member_scores(arguments, folders, cases, measured):
    """The scores of each run alone, by its folder, with its own decision."""
    alone = type(arguments)(**{**vars(arguments), "weights": None})
    return {str(folder): answer_scores(alone, load_answer(alone, [folder]), cases, measured) for folder in folders}


def check_held_out(trained, path):
    """Refuses runs that did not hold out the same images, where it is those that they would be scored on."""
    members = getattr(trained, "runs", [trained])
    if path is None and any(set(run.data.validation) != set(trained.data.validation) for run in members):
        raise ValueError("--data: expected images that none of the runs was trained on, for runs of several folds")


def parse_measures(text):
    """The measures named in `surface,objects`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"--metrics: expected {nearest(name, MEASURES)}; received {name!r}")
    return names


def score_table(scores):
    """The scores as aligned text, a table per measure with a row per class."""
    columns = {
        "Dice (mean over images)": scores["mean_dice"],
        "Dice (all pixels)": scores["dice"],
        "IoU (all pixels)": scores["iou"],
        "precision": scores["precision"],
        "recall": scores["recall"],
    }
    tables = [class_table(scores["classes"], columns, mean=True)]
    titles = {
        "presence": "presence in an image, from predicted pixels",
        "surface": "surface, mean over images; distances in {unit}, tolerance {tolerance:g}",
        "membrane": "segments between membranes, mean over images",
        "objects": "objects, of all images together",
    }
    for name, title in titles.items():
        if name in scores:
            columns = {short: scores[name][key] for key, short in SHORT[name].items()}
            tables.append(f"{title.format(**scores[name])}\n{class_table(scores['classes'], columns)}")
    if "calibration" in scores:
        error = scores["calibration"]["expected_calibration_error"]
        tables.append(f"expected calibration error, all pixels: {error:.4f}")
    return "\n\n".join(tables)


def member_table(scores):
    """Aligned text with a row per run, and one of all together: means over classes."""
    rows = {**scores["members"], "together": scores}
    titles = {"mean_dice": "Dice (mean over images)", "dice": "Dice (all pixels)", "iou": "IoU (all pixels)"}
    columns = {title: [statistics.mean(row[key]) for row in rows.values()] for key, title in titles.items()}
    return class_table(rows, columns, head="run")


def class_table(classes, columns, mean=False, head="class"):
    """Aligned text with a row per class, and one of their means if there are several and it is asked for."""
    lines = list(zip(classes, *columns.values(), strict=True))
    if mean and len(classes) > 1:
        lines.append(("mean", *(sum(values) / len(values) for values in columns.values())))
    cells = [[head, *columns], *([name, *map(shown, values)] for name, *values in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(texts, widths[1:], strict=True))])
        for name, *texts in cells
    )


def shown(value):
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if math.isfinite(value) else "-"


def image_rows(scores):
    """A flat dict per image, that of the lowest mean Dice first.

    `dice` is the mean over classes; where there are several, every score has a column per class, such as `dice_liver`.
    """
    return sorted((image_row(image, scores["classes"]) for image in scores["images"]), key=lambda row: row["dice"])


def image_row(image, classes):
    row = {"name": image["name"], "dice": sum(image["dice"]) / len(classes)}
    parts = [image, *(part for part in image.values() if isinstance(part, dict))]
    for key, value in ((key, value) for part in parts for key, value in part.items()):
        if key == "spacing":
            row[key] = " x ".join(f"{size:g}" for size in value)
        elif isinstance(value, list):
            row |= {f"{key}_{name}" if len(classes) > 1 else key: v for name, v in zip(classes, value, strict=True)}
        elif not isinstance(value, dict):
            row[key] = value
    return row


def write_rows(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def finite(value):
    """The same with `None` for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
