"""A trained network run by something faster than Keras: converted once, kept beside the run, compared before use."""

import copy
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .. import data, metrics
from ..models import analysis
from .predict_image import fingerprint, plan_image, reader
from .tile_plan import read_batch

ENGINES = ("keras", "saved_model", "onnx", "openvino")
PRECISIONS = ("float32", "bfloat16", "int8")
# Largest difference of probabilities that `auto` puts up with: float32 stays far below, bfloat16 may not.
TOLERANCE = 1e-3
REPEATS = 3
OPSET = 18
# Optimisers of tf2onnx 1.17 that break graphs. One rewrites products of arrays whose sizes are free; the other leaves
# an axis too many where a reshape comes last, now and then only, as the order of the steps changes from run to run.
UNSOUND = ("einsum_optimizer", "reshape_optimizer")
# What the converted models call their input and their output.
IMAGE, SCORES = "image", "scores"
# Windows that 8-bit ranges are measured on.
CALIBRATION_WINDOWS = 32


@dataclass(frozen=True)
class Engine:
    """What runs a network.

    Attributes:
        name: One of `ENGINES`.
        precision: One of `PRECISIONS`.
        predict: Function from float32 images `(batch, *size, channels)` to float32 logits `(batch, *size, classes)`.
    """

    name: str
    precision: str
    predict: Callable

    def __str__(self):
        return f"{self.name} {self.precision}"


def open_engine(run, name="keras", precision="float32", *, images=None, tolerance=TOLERANCE, tell=print):
    """Makes an engine of a run.

    Args:
        run: A `Run`, beside whose model the converted one is kept; or a Keras model, converted anew every time.
        name: One of `ENGINES`, or `auto`: every engine that is installed is timed on `images`, and the fastest is taken
            whose probabilities differ from those of Keras by at most `tolerance`.
        precision: One of `PRECISIONS`; `bfloat16` needs OpenVINO, `int8` ONNX Runtime or OpenVINO and a run whose
            training images are still there.
        images: For `auto`: float32 images `(batch, *size, channels)` of the size that will be predicted.
        tolerance: For `auto`: see there.
        tell: For `auto`: takes a line about each engine.

    Raises:
        ValueError: If the engine is unknown, does not know the precision, needs a package that is not installed, or
            converts a model of another backend than TensorFlow's.
    """
    if name not in ("auto", *ENGINES):
        raise ValueError(f"--engine: expected one of auto, {', '.join(ENGINES)}; received {name!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision: expected one of {', '.join(PRECISIONS)}; received {precision!r}")
    if name != "keras":
        check_backend(f"--engine {name}")
    if name == "auto":
        return fastest_engine(run, images, tolerance, tell)
    if precision not in OFFERED[name]:
        raise ValueError(
            f"--precision: expected {' or '.join(OFFERED[name])} for the engine {name}; received {precision}"
        )
    return Engine(name, precision, OPENERS[name](run, precision))


def check_backend(purpose):
    """Refuses what takes TensorFlow's graphs where Keras runs on another backend."""
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(f"KERAS_BACKEND: expected tensorflow for {purpose}; received {backend}")


def with_engine(run, name, precision, source, *, tell=print, **plan_options):
    """A run, or an ensemble, whose networks an engine runs.

    Args:
        run: A `Run`, or an `Ensemble`.
        name: See `open_engine`.
        precision: See `open_engine`.
        source: For `auto`: an open source, on whose tiles the engines are measured.
        tell: Takes a line about each engine that is measured.
        **plan_options: Options of `plan_image`.

    Raises:
        ValueError: See `open_engine`.
    """
    if hasattr(run, "runs"):
        changed = copy.copy(run)
        changed.runs = [with_engine(one, name, precision, source, tell=tell, **plan_options) for one in run.runs]
        return changed
    images = None
    if name == "auto":
        plan = plan_image(run, source, **plan_options)
        windows = data.window_grid([n + o for n, o in zip(plan.shape, plan.overlap, strict=True)], plan.tile)
        first = max(0, len(windows) // 2 - plan.batch)
        images = read_batch(reader(run, source), windows[first : first + plan.batch], plan)
    return replace(run, engine=open_engine(run, name, precision, images=images, tell=tell))


def fastest_engine(run, images, tolerance, tell):
    """Times the engines on some images and returns the fastest that agrees with Keras."""
    model, task = network(run), "multilabel" if is_model(run) else run.data.task
    keras_engine = open_engine(model)
    expected = metrics.probabilities(keras_engine.predict(images), task)
    fastest, least = None, np.inf
    for name, precision in (("keras", "float32"), *candidates()):
        try:
            engine = keras_engine if name == "keras" else open_engine(run, name, precision)
            seconds, logits = timed(engine, images)
        except Exception as error:  # whatever a converter trips over: the others are still there
            tell(f"engine {name} {precision}: not used; received {first_line(error)}")
            continue
        difference = float(np.abs(metrics.probabilities(logits, task) - expected).max())
        agrees = difference <= tolerance
        tell(
            f"engine {engine}: {1000 * seconds / len(images):.0f} ms per tile, largest difference {difference:.1e}"
            f"{'' if agrees else f', above {tolerance:.0e}: not used'}"
        )
        if agrees and seconds < least:
            fastest, least = engine, seconds
    tell(f"engine {fastest}: taken")
    return fastest


def candidates():
    """The engines beside Keras that are installed here and fast enough to be worth a try."""
    found = [("saved_model", "float32")]
    if installed("tf2onnx") and installed("onnxruntime"):
        found.append(("onnx", "float32"))
    if installed("tf2onnx") and installed("openvino"):
        found.append(("openvino", "float32"))
        if has_bfloat16():
            found.append(("openvino", "bfloat16"))
    return found


def timed(engine, images):
    """The least of some durations in seconds, and the logits."""
    logits, seconds = engine.predict(images), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        engine.predict(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds), logits


def open_keras(run, precision):
    model = network(run)
    return lambda images: model.predict_on_batch(images)


def open_saved_model(run, precision):
    import tensorflow as tf

    with converted(run, ".saved_model", write_saved_model) as folder:
        # Its functions die with it.
        loaded = tf.saved_model.load(str(folder))
    return lambda images: loaded.serve(tf.constant(images))[SCORES].numpy()


def open_onnx(run, precision):
    ort = needed("onnxruntime")
    needed("tf2onnx")
    suffix, write = (".onnx", write_onnx) if precision == "float32" else (".int8.onnx", write_int8)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with converted(run, suffix, write) as path:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([SCORES], {IMAGE: images})[0]


def open_openvino(run, precision):
    ov = needed("openvino")
    needed("tf2onnx")
    if precision == "bfloat16" and not has_bfloat16():
        raise ValueError("--precision: expected a processor with bfloat16 arithmetic; received one without")
    suffix, write = (".int8.onnx", write_int8) if precision == "int8" else (".onnx", write_onnx)
    with converted(run, suffix, write) as path:
        model = ov.convert_model(str(path))
    core, compiled = ov.Core(), {}
    # Without the hint a processor that has bfloat16 uses it unasked.
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16"}.get(precision, "f32")}

    def predict(images):
        if images.shape not in compiled:
            # Faster than compiled for any size; a plan has one, and another where its last batch ends.
            fixed = model.clone()
            fixed.reshape(list(images.shape))
            if len(compiled) == 2:
                compiled.clear()
            compiled[images.shape] = core.compile_model(fixed, "CPU", hints)
        return compiled[images.shape](images)[0]

    return predict


OPENERS = {"keras": open_keras, "saved_model": open_saved_model, "onnx": open_onnx, "openvino": open_openvino}
OFFERED = {
    "keras": ("float32",),
    "saved_model": ("float32",),
    "onnx": ("float32", "int8"),
    "openvino": PRECISIONS,
}


@contextmanager
def converted(run, suffix, write):
    """The path of a converted model: in the folder `engines` of a run, written if it is not there; or for now only."""
    if not is_model(run):
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


def kept(run, suffix, write):
    """The path of a run's converted model, written unless it is there; those of earlier epochs go."""
    stem = Path(run.model_file).stem
    path = run.path / "engines" / f"{stem}-{fingerprint(run.path / run.model_file)[:12]}{suffix}"
    if path.exists():
        return path
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}{path.name}")
    try:
        write(run, unfinished)
        unfinished.rename(path)
    finally:
        discard(unfinished)
    for old in path.parent.glob(f"{stem}-*"):
        if not old.name.startswith(path.name.removesuffix(suffix)):
            discard(old)
    return path


def discard(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def traced(run):
    """The network as a TensorFlow function of images of any size, and what must outlive it."""
    import tensorflow as tf

    model = network(run)
    holder = tf.Module()
    holder.model = model
    signature = tf.TensorSpec(model.inputs[0].shape, tf.float32, name=IMAGE)
    holder.serve = tf.function(
        lambda image: {SCORES: model(image, training=False)}, input_signature=[signature], autograph=False
    )
    return holder


def write_saved_model(run, path):
    import tensorflow as tf

    holder = traced(run)
    tf.saved_model.save(holder, str(path), signatures=holder.serve)


def write_onnx(run, path):
    to_onnx(traced(run).serve, path)


def to_onnx(function, path):
    """Converts a TensorFlow function with an input signature; the ONNX model's sizes are as free as the signature's."""
    converter = needed("tf2onnx")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    needed("tf2onnx.convert")
    optimizers = converter.optimizer._optimizers
    kept = dict(optimizers)
    for name in UNSOUND:
        del optimizers[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter.convert.from_function(
                function, input_signature=function.input_signature, opset=OPSET, output_path=str(path)
            )
    finally:
        optimizers.clear()
        optimizers.update(kept)


def write_int8(run, path):
    """Converts to 8-bit integers, whose ranges are those that occur on windows of the training images."""
    quantization = needed("onnxruntime.quantization")
    fold = needed("onnxruntime.quantization.shape_inference").quant_pre_process
    windows = iter([{IMAGE: images} for images in training_windows(run)])

    class Windows(quantization.CalibrationDataReader):
        def get_next(self):
            return next(windows, None)

    with tempfile.TemporaryDirectory() as folder:
        source, folded = Path(folder, "float32.onnx"), Path(folder, "folded.onnx")
        write_onnx(run, source)
        # Batch norms go into the convolutions: rounded by themselves they cost most of what 8 bits lose.
        fold(str(source), str(folded), skip_symbolic_shape=True)
        quantization.quantize_static(folded, path, Windows(), per_channel=True)


def training_windows(run, number=CALIBRATION_WINDOWS):
    """Normalised windows of the images that a run was trained on, each `(1, *size, channels)`.

    Raises:
        ValueError: If there are no images to read, as with a bare model.
    """
    if is_model(run):
        raise ValueError("--precision: expected a run with training images for int8; received a model without")
    # Told to hold out what it was trained on, it opens that.
    cases = data.labelled_cases(run.data.as_mapping() | {"validation": list(run.data.train)})
    size = analysis.nearest_size(run.model, run.data.patch)
    rng, windows = np.random.default_rng(0), []
    for index in range(number):
        read = data.Normalizer.from_dict(run.data.normalization)(cases[index % len(cases)].image)
        shape = read.source.shape
        offset = [int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(shape, size, strict=True)]
        windows.append(read(data.Window(offset, size))[None])
    return windows


def network(run):
    """The Keras model from images to the logits of the mask, without other heads.

    Raises:
        ValueError: If it takes more than one image.
    """
    import keras

    model = run if is_model(run) else run.model
    if len(model.inputs) != 1:
        raise ValueError(
            f"--engine: expected a model of one image; received {model.name}, which takes {len(model.inputs)}"
        )
    mask = model.output["mask"] if isinstance(model.output, dict) else model.outputs[0]
    return model if model.output is mask else keras.Model(model.inputs, mask)


def is_model(run):
    return hasattr(run, "predict_on_batch")


def needed(package):
    """Imports a package of the extra `export`.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise ValueError(
            f"expected the package {package.partition('.')[0]}; received an installation without it: "
            f'pip install "maskzoo[export]"'
        ) from None


def installed(package):
    return find_spec(package) is not None


def has_bfloat16():
    """Whether OpenVINO knows this processor to have bfloat16 arithmetic."""
    return "BF16" in needed("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def first_line(error):
    return next(iter(str(error).splitlines()), "") or type(error).__name__
