"""A network run by Keras, TensorFlow, ONNX Runtime or OpenVINO: each a function from images to logits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np

from maskzoo.errors import OptionError

from ..options import PRECISIONS
from .conversion import (
    IMAGE,
    SCORES,
    Network,
    NetworkPart,
    converted,
    needed,
    network,
    write_int8,
    write_onnx,
    write_openvino,
    write_saved_model,
)

# From float32 images `(batch, *size, channels)` to float32 logits `(batch, *size, classes)`.
Answer = Callable[[np.ndarray], np.ndarray]


def open_keras(run: Network, precision: str) -> Answer:
    """Keras itself."""
    model = network(run)
    return lambda images: model.predict_on_batch(images)


def open_saved_model(run: Network, precision: str) -> Answer:
    """TensorFlow, on a graph without Keras."""
    import tensorflow as tf

    with converted(run, ".saved_model", write_saved_model) as folder:
        # Its functions die with it.
        loaded = tf.saved_model.load(str(folder))
    return lambda images: loaded.serve(tf.constant(images))[SCORES].numpy()


def open_onnx(run: Network, precision: str) -> Answer:
    """ONNX Runtime on the processor."""
    ort = needed("onnxruntime")
    needed("tf2onnx")
    suffix, write = (".onnx", write_onnx) if precision == "float32" else (".int8.onnx", write_int8)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with converted(run, suffix, write) as path:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([SCORES], {IMAGE: images})[0]


def open_openvino(run: Network, precision: str) -> Answer:
    """OpenVINO on the processor.

    Raises:
        OptionError: If it is to compute in bfloat16, which the processor does not have.
    """
    ov = needed("openvino")
    needed("tf2onnx")
    if precision == "bfloat16" and not has_bfloat16():
        raise OptionError("precision", "a processor with bfloat16 arithmetic", "one without")
    if isinstance(run, NetworkPart):
        with converted(run, ".openvino", write_openvino) as path:
            # Its weights would be mapped from a file that others may remove.
            model = ov.Core().read_model((path / "model.xml").read_bytes(), (path / "model.bin").read_bytes())
    else:
        suffix, write = (".int8.onnx", write_int8) if precision == "int8" else (".onnx", write_onnx)
        with converted(run, suffix, write) as path:
            model = ov.convert_model(str(path))
    core, compiled = ov.Core(), {}
    # Without the hint a processor that has bfloat16 uses it unasked.
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16"}.get(precision, "f32")}

    def predict(images: np.ndarray) -> np.ndarray:
        if images.shape not in compiled:
            # Faster than compiled for any size; a plan has one, and another where its last batch ends.
            fixed = model.clone()
            fixed.reshape(list(images.shape))
            if len(compiled) == 2:
                compiled.clear()
            compiled[images.shape] = core.compile_model(fixed, "CPU", hints)
        return compiled[images.shape](images)[0]

    return predict


OPENERS: dict[str, Callable[[Network, str], Answer]] = {
    "keras": open_keras,
    "saved_model": open_saved_model,
    "onnx": open_onnx,
    "openvino": open_openvino,
}
OFFERED = {
    "keras": ("float32",),
    "saved_model": ("float32",),
    "onnx": ("float32", "int8"),
    "openvino": PRECISIONS,
}


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return find_spec(package) is not None


@cache
def has_bfloat16() -> bool:
    """Whether OpenVINO knows this processor to have bfloat16 arithmetic."""
    return "BF16" in needed("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
