"""An image of noise, and run folders around one random convolution, whose answers can be worked out by hand."""

import json
from pathlib import Path

import keras
import numpy as np
import rasterio

from maskzoo import data
from maskzoo.inference.run import Run
from maskzoo.inference.run_files import Decision, RunData

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 170, 3)).astype(np.uint8)
PROFILE = {"crs": "EPSG:32616", "transform": rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000)}


def write_image(path, pixels=PIXELS, **profile):
    """Writes a georeferenced RGB TIFF."""
    options = {"dtype": "uint8", "tiled": True, "blockxsize": 64, "blockysize": 64, **PROFILE, **profile}
    with rasterio.open(path, "w", "GTiff", pixels.shape[1], pixels.shape[0], 3, **options) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return path


def read_image(path):
    """The pixels of a TIFF, `(rows, columns, bands)`."""
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def visible(folder):
    """The names in a folder that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def make_run_folder(path, task, names):
    """Writes a run folder around one random convolution."""
    path.mkdir()
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(len(names), 3, padding="same", kernel_initializer="he_normal", name="mask")
    keras.Model(image, layer(image)).save(path / "best.keras")
    described = {"task": task, "class_names": names, "channels": 3, "rank": 2, "patch": [64, 64]}
    described["normalization"] = {"kind": "none", "channels": 3}
    (path / "data.json").write_text(json.dumps(described))
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5] * len(names)}))
    return path


def as_run(model, name="run", task="binary", normalization="none", decision=None):
    """A run of a model, as if it had been trained."""
    mask = model.output["mask"] if isinstance(model.output, dict) else model.outputs[0]
    classes, channels = mask.shape[-1], model.inputs[0].shape[-1]
    spatial_dims = len(model.inputs[0].shape) - 2
    described = RunData(
        task=task,
        class_names=tuple(f"class{number}" for number in range(classes)),
        channels=channels,
        spatial_dims=spatial_dims,
        patch=(32,) * spatial_dims,
        normalization=data.Normalizer(normalization, channels).as_dict(),
    )
    found = Decision.from_mapping({"thresholds": [0.5] * classes} | (decision or {}))
    return Run(Path(name), model, described, found.thresholds, found)


def global_model(spatial_dims=2):
    """A model that sees the whole image: it adds the mean of its input to every pixel."""
    image = keras.Input((*(None,) * spatial_dims, 1))
    pool = {2: keras.layers.GlobalAveragePooling2D, 3: keras.layers.GlobalAveragePooling3D}[spatial_dims]
    return keras.Model(image, keras.layers.Add()([image, pool(keepdims=True)(image)]))


def interrupt_after(patch, parts, error):
    """Lets an error come when some parts are finished."""
    from maskzoo.inference import journal

    write = journal.Journal.write

    def stopped(self, values):
        if self.done == parts:
            raise error
        write(self, values)

    patch.setattr(journal.Journal, "write", stopped)
