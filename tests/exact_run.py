"""Run folders whose model returns its input: what it predicts is what the images hold."""

import dataclasses
import json

import keras
import nibabel
import numpy as np
import rasterio
from scipy import ndimage

from maskzoo import data

# Logits that are sure.
YES, NO = 4.0, -4.0
CELL = data.LabelScheme("binary", ("cell",), ((0,), (1,)), ignore=(255,))


def write_image(path, array, **georeference):
    """Writes `(*shape, channels)` as the suffix says."""
    if path.suffix == ".nii":
        image = nibabel.Nifti1Image(array[..., 0], georeference.get("affine"))
        image.header.set_xyzt_units(georeference.get("unit", "mm"))
        nibabel.save(image, path)
    elif path.suffix == ".tif":
        profile = {"height": array.shape[0], "width": array.shape[1], "count": array.shape[2], "dtype": array.dtype}
        with rasterio.open(path, "w", "GTiff", **profile, **georeference) as file:
            file.write(np.moveaxis(array, -1, 0))
    else:
        np.save(path, array)


def exact_run(root, pairs, scheme=CELL, suffix=".npy", **georeference):
    """A run whose model returns its input, with `(logits, label)` pairs as its held-out images and labels."""
    for name in ("run", "data/images", "data/labels"):
        (root / name).mkdir(parents=True)
    for number, (logits, label) in enumerate(pairs):
        write_image(root / "data/images" / f"{number}{suffix}", np.asarray(logits, np.float32), **georeference)
        write_image(root / "data/labels" / f"{number}{suffix}", np.asarray(label, np.uint8), **georeference)
    spatial_dims, channels = logits.ndim - 1, logits.shape[-1]
    image = keras.Input((None,) * spatial_dims + (channels,))
    keras.Model(image, keras.layers.Activation("linear", dtype="float32")(image)).save(root / "run/best.keras")
    description = {
        "task": scheme.task,
        "class_names": scheme.class_names,
        "ignore_index": scheme.ignore_index,
        "rank": spatial_dims,
        "channels": channels,
        "patch": [32] * spatial_dims,
        "normalization": data.Normalizer("none", channels).as_dict(),
        "labels": scheme.as_dict(),
        "spec": dataclasses.asdict(data.DataSpec(path=str(root / "data"))),
        "seed": 0,
        "validation": [str(number) for number in range(len(pairs))],
    }
    (root / "run/data.json").write_text(json.dumps(description))
    (root / "run/decision.json").write_text(json.dumps({"thresholds": [0.5] * scheme.num_classes}))
    return root / "run"


def logits_of(mask):
    """Logits `(*shape, 1)` of a mask that they are sure of."""
    return np.where(np.asarray(mask)[..., None] > 0, YES, NO)


def sure_run(root, pairs, **options):
    """An exact run of one class, from `(predicted mask, true mask)` pairs."""
    return exact_run(root, [(logits_of(guess), np.asarray(truth)[..., None]) for guess, truth in pairs], **options)


def row_of(length, *filled):
    """A mask `(1, length)` of 1 in some places."""
    mask = np.zeros((1, length), int)
    mask[0, list(filled)] = 1
    return mask


def blobs(shape, seed):
    """Two masks that are alike."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    moved = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return field > 0.05, moved > 0.05
