"""A trained run as a SavedModel with free spatial sizes, written only if it answers as the Keras model does."""

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..inference.engines import check_backend
from ..models import analysis

TOLERANCE = 1e-4


def export_saved_model(run, output):
    """Exports a run's model and compares it with the Keras model at two sizes.

    Args:
        run: A `Run`.
        output: Folder to write; it must not exist. It appears under its name only after the comparison held.

    Returns:
        List of `(spatial size, largest difference of logits)`.

    Raises:
        FileExistsError: If the output is there already.
        ValueError: If the exported model's logits differ from the Keras model's by more than 1e-4 of their range, or
            the backend of Keras is another than TensorFlow.
    """
    check_backend("export")
    output = Path(output)
    if output.exists():
        raise FileExistsError(f"output: expected a folder that does not exist yet; received {output}")
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        run.model.export(unfinished, format="tf_saved_model", verbose=False)
        report = list(compare(run.model, unfinished))
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def compare(model, folder):
    """Yields the largest difference between a Keras model and its SavedModel at each of two allowed sizes."""
    exported = tf.saved_model.load(str(folder))
    rng = np.random.default_rng(0)
    spatial_dims, channels = len(model.inputs[0].shape) - 2, model.inputs[0].shape[-1]
    for smallest in {2: (64, 160), 3: (16, 40)}[spatial_dims]:
        size = analysis.nearest_size(model, tuple(smallest + 8 * axis for axis in range(spatial_dims)))
        images = rng.normal(size=(1, *size, channels)).astype(np.float32)
        expected = model.predict_on_batch(images)
        received = exported.serve(images)
        pairs = zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True)
        largest = max(float(np.max(np.abs(a - b))) for a, b in pairs)
        allowed = TOLERANCE * max(1.0, max(float(np.ptp(a)) for a in tf.nest.flatten(expected)))
        if not largest <= allowed:
            raise ValueError(
                f"export: expected logits within {allowed:.1e} of the Keras model at {size}; "
                f"received a difference of {largest:.1e}"
            )
        yield size, largest
