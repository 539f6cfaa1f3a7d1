"""Scores of a trained run on labelled images, predicted whole and seamlessly as `predict` would."""

import numpy as np
from tqdm import tqdm

from maskzoo import metrics

from .predictor import plan_image, reader
from .tiling import predict_tiles


def evaluate(run, cases, **plan_options):
    """Scores a run on labelled cases.

    Args:
        run: A `Run`.
        cases: Labelled cases of a `data.DataSet` with the run's task and classes.
        **plan_options: `tile` and `memory` of `inference.plan_image`.

    Returns:
        A dict: `classes` (names), `dice` and `iou` pooled over all pixels, `mean_dice` over images, and `images`, one
        `{"name", "dice"}` per case. The background of a multiclass task is left out.
    """
    task, names, ignore = run.data["task"], run.data["class_names"], run.data["ignore_index"]
    first = 1 if task == "multiclass" else 0
    counts = []
    for case in tqdm(cases, unit="image", desc="evaluating", disable=None):
        read = reader(run, case.image)
        plan = plan_image(run, case.image, **plan_options)
        total = np.zeros((len(names), 3), np.int64)
        for window, logits in predict_tiles(run.model, read, plan):
            predicted = metrics.predicted_labels(logits, task, run.thresholds)
            total += metrics.confusion_counts(case.read_label(window), predicted, len(names), ignore, task=task)
        counts.append(total[first:])
    pooled = np.sum(counts, axis=0)
    per_image = np.array([metrics.dice_from_counts(c) for c in counts])
    return {
        "classes": names[first:],
        "dice": metrics.dice_from_counts(pooled).tolist(),
        "iou": metrics.iou_from_counts(pooled).tolist(),
        "mean_dice": per_image.mean(axis=0).tolist(),
        "images": [{"name": case.name, "dice": dice.tolist()} for case, dice in zip(cases, per_image, strict=True)],
    }
