"""One image of any size through a trained run, tile by tile, into a file that appears when it is whole."""

import numpy as np
from tqdm import tqdm

from maskzoo import data, metrics

from .tiling import plan_tiles, predict_tiles


def plan_image(run, source, **options):
    """Plans the tiles of an image for a run; `options` are those of `plan_tiles`.

    Raises:
        ValueError: If the image does not fit the run, or the run's model cannot be tiled within the memory.
    """
    reader(run, source)
    return plan_tiles(run.model, source.shape, source.channels, patch=run.data["patch"], **options)


def predict_image(run, source, output, *, probabilities=False, plan=None):
    """Segments one image and writes the result.

    Args:
        run: A `Run`.
        source: An open source of `data.open_source`.
        output: Path of the file to write; its suffix chooses the format (.tif, .nii.gz, .png, .npy).
        probabilities: Write a float32 band per class instead of class ids.
        plan: A `Plan` of `plan_image`, or `None` to make one.

    Raises:
        ValueError: If the image does not fit the run: other channels, other rank, NaN in its pixels.
        OSError: If the image cannot be read to its end, or the output cannot be written.
    """
    read = reader(run, source)
    plan = plan or plan_image(run, source)
    task, names = run.data["task"], run.data["class_names"]
    bands = len(names) if probabilities or task == "multilabel" else 1
    sink = data.open_sink(
        output,
        source.shape,
        bands=bands,
        dtype="float32" if probabilities else "uint8",
        like=source,
        class_names=names if bands > 1 else None,
    )
    progress = tqdm(total=plan.tiles, unit="tile", desc=source.name, disable=None)
    with sink, progress:
        for window, logits in predict_tiles(run.model, read, plan):
            if probabilities:
                scores = metrics.probabilities(logits, task)
            else:
                scores = metrics.predicted_labels(logits, task, run.thresholds).astype(np.uint8)
            sink.write(window, scores.reshape(*window.size, bands))
            progress.update()


def reader(run, source):
    """The function that reads one window of a source as the run's model was trained to see it.

    Raises:
        ValueError: If the source's rank or channels differ from those of the training images.
    """
    if len(source.shape) != run.data["rank"]:
        raise ValueError(
            f"{source.name}: expected an image of {run.data['rank']} spatial axes; received one of shape {source.shape}"
        )
    return data.Normalizer.from_dict(run.data["normalization"])(source)
