"""The formats of bundles: how each is written from a graph, and opened again to be compared."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from ..inference.engines.conversion import needed, to_onnx
from .graph import BundleGraph

# From raw images `(batch, *size, channels)` to their masks and their probabilities.
BundleCall = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class BundleFormat(Protocol):
    """One format of bundles.

    Attributes:
        any_size: Whether a model takes images of any size; else it takes one image of one size.
    """

    any_size: bool

    def write(self, graph: BundleGraph, folder: Path) -> None:
        """Writes a graph into a folder that does not exist yet."""
        ...

    def open(self, folder: Path) -> BundleCall:
        """Opens what `write` wrote."""
        ...


class SavedModelFormat:
    """TensorFlow's own, with a signature each for the mask and the probabilities."""

    any_size = True

    def write(self, graph: BundleGraph, folder: Path) -> None:
        signatures = {"serving_default": graph.segment, "probabilities": graph.score}
        tf.saved_model.save(graph, str(folder), signatures=signatures)

    def open(self, folder: Path) -> BundleCall:
        loaded = tf.saved_model.load(str(folder))

        def call(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pixels = tf.constant(images)
            mask = loaded.signatures["serving_default"](images=pixels)["mask"]
            return mask.numpy(), loaded.signatures["probabilities"](images=pixels)["probabilities"].numpy()

        return call


class OnnxFormat:
    """ONNX, for ONNX Runtime."""

    any_size = True
    file = "model.onnx"

    def write(self, graph: BundleGraph, folder: Path) -> None:
        folder.mkdir()
        to_onnx(graph.both, folder / self.file)

    def open(self, folder: Path) -> BundleCall:
        runtime = needed("onnxruntime")
        session = runtime.InferenceSession(str(folder / self.file), providers=["CPUExecutionProvider"])

        def call(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            mask, probabilities = session.run(["mask", "probabilities"], {"images": images})
            return mask, probabilities

        return call


class OpenVinoFormat:
    """OpenVINO's intermediate representation."""

    any_size = True
    file = "model.xml"

    def write(self, graph: BundleGraph, folder: Path) -> None:
        openvino = needed("openvino")
        OnnxFormat().write(graph, folder)
        source = folder / OnnxFormat.file
        openvino.save_model(openvino.convert_model(str(source)), str(folder / self.file), compress_to_fp16=False)
        source.unlink()

    def open(self, folder: Path) -> BundleCall:
        core = needed("openvino").Core()
        compiled = core.compile_model(folder / self.file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def call(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            outputs = compiled({"images": images})
            return outputs["mask"], outputs["probabilities"]

        return call


class LiteRTFormat:
    """LiteRT, for phones and other small machines."""

    any_size = False
    file = "model.tflite"

    def write(self, graph: BundleGraph, folder: Path) -> None:
        # Without the object that holds the variables they become constants; LiteRT would look for them in vain.
        content = tf.lite.TFLiteConverter.from_concrete_functions([graph.both.get_concrete_function()]).convert()
        folder.mkdir()
        (folder / self.file).write_bytes(content)

    def open(self, folder: Path) -> BundleCall:
        with warnings.catch_warnings():
            # The interpreter will move to a package of its own.
            warnings.simplefilter("ignore")
            interpreter = tf.lite.Interpreter(str(folder / self.file))
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        # The mask is the output of whole numbers.
        outputs = sorted(interpreter.get_output_details(), key=lambda output: output["dtype"] != np.uint8)

        def call(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            interpreter.set_tensor(given["index"], images)
            interpreter.invoke()
            mask, probabilities = (interpreter.get_tensor(output["index"]) for output in outputs)
            return mask, probabilities

        return call


FORMATS: dict[str, BundleFormat] = {
    "saved_model": SavedModelFormat(),
    "onnx": OnnxFormat(),
    "openvino": OpenVinoFormat(),
    "litert": LiteRTFormat(),
}
