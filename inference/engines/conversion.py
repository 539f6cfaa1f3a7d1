"""Networks converted for other engines, kept beside the run that they belong to."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from maskzoo.errors import MissingPackage, OptionError
from maskzoo.files import file_checksum, written_atomically

from ... import data, models
from ...models import analysis
from ..run import Run

if TYPE_CHECKING:
    import tensorflow as tf

OPSET = 18
# Optimisers of tf2onnx 1.17 that break graphs. One rewrites products of arrays whose sizes are free; the other leaves
# an axis too many where a reshape comes last, now and then only, as the order of the steps changes from run to run.
UNSOUND = ("EinsumOptimizer", "ReshapeOptimizer")
# What the converted models call their input and their output.
IMAGE, SCORES = "image", "scores"
# Windows that 8-bit ranges are measured on.
CALIBRATION_WINDOWS = 32

# The last conversions for the tiles of some plan that stay beside a run.
KEPT_PARTS = 4
# What a conversion depends on beside the network.
CONVERTERS = ("maskzoo", "keras", "tensorflow", "tf2onnx", "openvino")


@dataclass(frozen=True)
class NetworkPart:
    """What of a network is computed for the tiles of a plan.

    Attributes:
        run: A run, or a bare model.
        size: Pixels that the network is given, per axis.
        part: The elements of its output that are the tile, per axis: the first, and the one behind the last.
    """

    run: Run | keras.Model
    size: tuple[int, ...]
    part: tuple[tuple[int, int], ...]

    @property
    def label(self) -> str:
        """Tells it from other parts in the name of a file."""
        first, tile = ([number(span) for span in self.part] for number in (lambda s: s[0], lambda s: s[1] - s[0]))
        return ".tile-" + "-".join("x".join(map(str, sizes)) for sizes in (tile, self.size, first))


Network = Run | keras.Model | NetworkPart
# Writes a converted network to a path.
Write = Callable[[Network, Path], None]


def network(run: Network) -> keras.Model:
    """Returns the Keras model from images to the logits of the mask, without other heads.

    Raises:
        OptionError: If it takes more than one image.
    """
    if isinstance(run, NetworkPart):
        return models.cropped(network(run.run), run.size, run.part)
    model = run.model if isinstance(run, Run) else run
    if len(model.inputs) != 1:
        raise OptionError("engine", f"keras for a model of {len(model.inputs)} images", model.name)
    mask = model.output["mask"] if isinstance(model.output, dict) else model.outputs[0]
    return model if model.output is mask else keras.Model(model.inputs, mask)


def check_backend(purpose: str) -> None:
    """Refuses what takes TensorFlow's graphs where Keras runs on another backend.

    Raises:
        OptionError: It does.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise OptionError("KERAS_BACKEND", f"tensorflow for {purpose}", backend)


def needed(package: str) -> ModuleType:
    """Imports a package of the extra `export`.

    Raises:
        MissingPackage: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise MissingPackage(package.partition(".")[0], "export") from None


@contextmanager
def converted(run: Network, suffix: str, write: Write) -> Iterator[Path]:
    """Gives the path of a converted network as a context: in the folder `engines` of a run; for now only otherwise.

    Args:
        run: A run, whose network is converted once, or a part of it; or a bare model.
        suffix: Suffix of the file.
        write: Converts the network.
    """
    if isinstance(run, Run) or (isinstance(run, NetworkPart) and isinstance(run.run, Run)):
        try:
            path = kept(run, suffix, write)
        except PermissionError:  # a run that may only be read
            pass
        else:
            yield path
            return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        write(run, path)
        yield path


def kept(run: Run | NetworkPart, suffix: str, write: Write) -> Path:
    """The path of a run's converted network, written unless it is there.

    Those of earlier epochs and of other versions are removed, and all but the last few parts.
    """
    whole = run if isinstance(run, Run) else run.run
    if not isinstance(whole, Run):
        raise TypeError("a bare model has no folder")
    label = run.label if isinstance(run, NetworkPart) else ""
    stem = Path(whole.model_file).stem
    same = f"{stem}-{conversion_identity(whole.path / whole.model_file)}"
    path = whole.path / "engines" / f"{same}{label}{suffix}"
    if path.exists():
        with suppress(OSError):  # a run that may only be read
            path.touch()
        return path
    path.parent.mkdir(exist_ok=True)
    with written_atomically(path) as unfinished:
        write(run, unfinished)
    for old in path.parent.glob(f"{stem}-*"):
        if not old.name.startswith(same):
            discard(old)
    parts = sorted(path.parent.glob(f"{same}.tile-*"), key=lambda part: (part == path, part.stat().st_mtime))
    for old in parts[:-KEPT_PARTS]:
        discard(old)
    return path


def conversion_identity(model: Path) -> str:
    """Twelve characters that change with a model's file, and with the version of what converts it."""
    found = [file_checksum(model)]
    for package in CONVERTERS:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return sha256("\n".join(found).encode()).hexdigest()[:12]


def discard(path: Path) -> None:
    """Removes a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# A `tf.function`, whose class TensorFlow does not name in public.
def traced(run: Network) -> tuple[tf.Module, Any]:
    """The network as a TensorFlow function of images of any size, behind the module that must outlive it."""
    import tensorflow as tf

    class Traced(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model = network(run)
            signature = tf.TensorSpec(model.inputs[0].shape, tf.float32, name=IMAGE)
            self.serve = tf.function(
                lambda image: {SCORES: model(image, training=False)}, input_signature=[signature], autograph=False
            )

    module = Traced()
    return module, module.serve


def write_saved_model(run: Network, path: Path) -> None:
    """Converts a network to a SavedModel."""
    import tensorflow as tf

    module, serve = traced(run)
    tf.saved_model.save(module, str(path), signatures=serve)


def write_onnx(run: Network, path: Path) -> None:
    """Converts a network to ONNX."""
    module, serve = traced(run)
    to_onnx(serve, path)
    del module


def write_openvino(run: Network, path: Path) -> None:
    """Converts a network to a folder with a model of OpenVINO, straight from TensorFlow's graph."""
    ov = needed("openvino")
    module, serve = traced(run)
    path.mkdir()
    ov.save_model(ov.convert_model(serve.get_concrete_function()), str(path / "model.xml"), compress_to_fp16=False)
    del module


# A `tf.function`, whose class TensorFlow does not name in public.
def to_onnx(function: Any, path: Path) -> None:
    """Converts a TensorFlow function with an input signature; the ONNX model's sizes are as free as the signature's."""
    converter = needed("tf2onnx")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    needed("tf2onnx.convert")
    with without_unsound_optimizers(converter.optimizer), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter.convert.from_function(
            function, input_signature=function.input_signature, opset=OPSET, output_path=str(path)
        )


@contextmanager
def without_unsound_optimizers(optimizers: ModuleType) -> Iterator[None]:
    """Has the optimisers that break graphs return them as they are, as a context."""
    classes = [getattr(optimizers, name) for name in UNSOUND]
    originals = [one.optimize for one in classes]
    for one in classes:
        one.optimize = lambda self, graph, iteration: graph
    try:
        yield
    finally:
        for one, original in zip(classes, originals, strict=True):
            one.optimize = original


def write_int8(run: Network, path: Path) -> None:
    """Converts to 8-bit integers, whose ranges are those that occur on windows of the training images.

    Raises:
        OptionError: If there are no images to read, as with a bare model.
    """
    quantization = needed("onnxruntime.quantization")
    fold = needed("onnxruntime.quantization.shape_inference").quant_pre_process
    if not isinstance(run, Run):
        raise OptionError("precision", "a run with training images for int8", "a model without")
    windows = iter([{IMAGE: images} for images in training_windows(run)])

    class Windows(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(windows, None)

    with tempfile.TemporaryDirectory() as folder:
        source, folded = Path(folder, "float32.onnx"), Path(folder, "folded.onnx")
        write_onnx(run, source)
        # Batch norms go into the convolutions: rounded by themselves they cost most of what 8 bits lose.
        fold(str(source), str(folded), skip_symbolic_shape=True)
        quantization.quantize_static(folded, path, Windows(), per_channel=True)


def training_windows(run: Run, number: int = CALIBRATION_WINDOWS) -> list[np.ndarray]:
    """Normalised windows of the images that a run was trained on, each `(1, *size, channels)`."""
    # `labelled_cases` opens the images that were held out; here they are those of the training.
    cases = data.labelled_cases(run.data.as_mapping() | {"validation": list(run.data.train)})
    size = analysis.nearest_size(run.model, run.data.patch)
    rng, windows = np.random.default_rng(0), []
    for index in range(number):
        read = data.Normalizer.from_dict(run.data.normalization)(cases[index % len(cases)].image)
        shape = read.source.shape
        offset = [int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(shape, size, strict=True)]
        windows.append(read(data.Window(tuple(offset), tuple(size)))[None])
    return windows
