"""Scores as text and as rows of a file: a table per measure, a row per class, per run or per image."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .tables import score, text_table

JSONScores = dict[str, Any]  # what `evaluation.evaluate` returns: JSON values
# What the columns are called, by the scores that they show.
SHORT = {
    "presence": {"auc": "AUC", "precision": "precision", "recall": "recall"},
    "surface": {
        "mean_hausdorff95": "HD95",
        "mean_average_surface_distance": "average distance",
        "mean_surface_dice": "surface Dice",
        "one_sided": "one side empty",
    },
    "membrane": {
        f"mean_{name}{part}": f"{title}{part.replace('_', ' ')}"
        for name, title in (("rand", "Rand"), ("information", "information"))
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


def score_table(scores: JSONScores) -> str:
    """The scores as aligned text, a table per measure with a row per class."""
    columns = {
        "Dice (all pixels)": scores["dice"],
        "Dice (mean over images)": scores["mean_dice"],
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


def member_table(scores: JSONScores) -> str:
    """Aligned text with a row per run, and one of all runs together: means over classes."""
    rows = {**scores["members"], "together": scores}
    titles = {"mean_dice": "Dice (mean over images)", "dice": "Dice (all pixels)", "iou": "IoU (all pixels)"}
    columns = {title: [statistics.mean(row[key]) for row in rows.values()] for key, title in titles.items()}
    return class_table(rows, columns, head="run")


def class_table(
    classes: Iterable[str], columns: Mapping[str, Sequence[float]], mean: bool = False, head: str = "class"
) -> str:
    """Aligned text with a row per class.

    Args:
        classes: The first cell of each row.
        columns: The values by title.
        mean: Add a row of the means, if there are several classes.
        head: Title of the first column.
    """
    lines = list(zip(classes, *columns.values(), strict=True))
    if mean and len(lines) > 1:
        lines.append(("mean", *(sum(values) / len(values) for values in columns.values())))
    return text_table([[head, *columns], *([name, *map(score, values)] for name, *values in lines)])


def image_rows(scores: JSONScores) -> list[dict[str, Any]]:  # numbers and text
    """A flat mapping per image, the one with the lowest mean Dice first.

    `dice` is the mean over classes; where there are several, every score has a column per class, such as `dice_liver`.
    """
    return sorted((image_row(image, scores["classes"]) for image in scores["images"]), key=lambda row: row["dice"])


def image_row(image: JSONScores, classes: Sequence[str]) -> dict[str, Any]:  # numbers and text
    """The scores of one image, without nesting."""
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


def finite(value: Any) -> Any:  # JSON values
    """The same values with `None` for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
