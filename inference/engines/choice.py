"""The engine that is asked for, or the fastest one that agrees with Keras."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import keras
import numpy as np

from maskzoo.errors import OptionError

from ... import data, metrics
from ..image_values import fitting_source
from ..options import ENGINES, PRECISIONS, EngineOptions, TileOptions, check_one_of
from ..predictor import Predictor, plan_image
from ..run import Run
from ..tiles import read_batch
from .conversion import check_backend, network
from .engine import Engine, OpenedEngine
from .parts import Parts
from .runners import OFFERED, OPENERS, has_bfloat16, installed

logger = logging.getLogger(__name__)

# Largest difference of probabilities that `auto` puts up with: float32 stays far below, bfloat16 may not.
TOLERANCE = 1e-3
REPEATS = 3


def open_engine(
    run: Run | keras.Model,
    name: str = "keras",
    precision: str = "float32",
    *,
    images: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> Engine:
    """Makes an engine of a run.

    Args:
        run: A `Run`, beside whose model the converted one is kept; or a Keras model, converted again every time.
        name: One of `options.ENGINES`, or `auto`: every engine that is installed is timed on `images`, and the fastest
            is taken whose probabilities differ from those of Keras by at most `tolerance`.
        precision: One of `options.PRECISIONS`; `bfloat16` needs OpenVINO, `int8` ONNX Runtime or OpenVINO and a run
            whose training images are still there.
        images: For `auto`: float32 images `(batch, *size, channels)` of the size that will be predicted.
        tolerance: For `auto`: see there.

    Raises:
        OptionError: If the engine is unknown, does not know the precision, or converts a model of another backend than
            TensorFlow's.
        MissingPackage: If the engine is not installed.
    """
    check_one_of("engine", name, ("auto", *ENGINES))
    check_one_of("precision", precision, PRECISIONS)
    if name != "keras":
        check_backend(f"the engine {name}")
    if name == "auto":
        if images is None:
            raise OptionError("images", "images to measure the engines on, for auto", images)
        return fastest_engine(run, images, tolerance)
    if precision not in OFFERED[name]:
        raise OptionError("precision", f"{' or '.join(OFFERED[name])} for the engine {name}", precision)
    return OpenedEngine(name, precision, OPENERS[name](run, precision), Parts(run, name, precision))


def with_engine(
    predictor: Predictor, engine: EngineOptions, source: data.Source | None, tiles: TileOptions
) -> Predictor:
    """Returns a run, or an ensemble, whose networks an engine runs.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        engine: Which engine.
        source: For `auto`: an open source, on whose tiles the engines are measured.
        tiles: How the source is cut into tiles.

    Raises:
        OptionError: See `open_engine`; or if a run has a random field behind its network, which only Keras runs.
        MissingPackage: See `open_engine`.
    """
    if engine == EngineOptions():
        return predictor
    return predictor.with_members([run_with_engine(run, engine, source, tiles) for run in predictor.members])


def run_with_engine(run: Run, engine: EngineOptions, source: data.Source | None, tiles: TileOptions) -> Run:
    """One run, whose network an engine runs: see `with_engine`."""
    if run.crf:
        raise OptionError("crf", "0 for another engine than keras", run.crf)
    images = None
    if engine.engine == "auto":
        if source is None:
            raise OptionError("source", "an image to measure the engines on, for auto", source)
        source = fitting_source(run, source)
        plan = plan_image(run, source, tiles)
        windows = data.window_grid([n + o for n, o in zip(plan.shape, plan.overlap, strict=True)], plan.tile)
        first = max(0, len(windows) // 2 - plan.batch)
        images = read_batch(run.reader(source), windows[first : first + plan.batch], plan)
    return replace(run, engine=open_engine(run, engine.engine, engine.precision, images=images))


def fastest_engine(run: Run | keras.Model, images: np.ndarray, tolerance: float) -> Engine:
    """Times the engines on some images and returns the fastest that agrees with Keras."""
    task = run.data.task if isinstance(run, Run) else "multilabel"
    keras_engine = open_engine(network(run))
    expected = metrics.probabilities(keras_engine.predict(images), task)
    fastest, least = keras_engine, np.inf
    for name, precision in (("keras", "float32"), *candidates()):
        try:
            engine = keras_engine if name == "keras" else open_engine(run, name, precision)
            seconds, logits = timed(engine, images)
        except Exception as error:  # whatever a converter trips over: the others are still there
            logger.info("engine %s %s: not used; received %s", name, precision, first_line(error))
            continue
        difference = float(np.abs(metrics.probabilities(logits, task) - expected).max())
        agrees = difference <= tolerance
        logger.info(
            "engine %s: %.0f ms per tile, largest difference %.1e%s",
            *(engine, 1000 * seconds / len(images), difference, "" if agrees else f", above {tolerance:.0e}: not used"),
        )
        if agrees and seconds < least:
            fastest, least = engine, seconds
    logger.info("engine %s: taken", fastest)
    return fastest


def candidates() -> list[tuple[str, str]]:
    """The engines beside Keras, with precision, that are installed here and fast enough to be worth a try."""
    found = [("saved_model", "float32")]
    if installed("tf2onnx") and installed("onnxruntime"):
        found.append(("onnx", "float32"))
    if installed("tf2onnx") and installed("openvino"):
        found.append(("openvino", "float32"))
        if has_bfloat16():
            found.append(("openvino", "bfloat16"))
    return found


def timed(engine: Engine, images: np.ndarray) -> tuple[float, np.ndarray]:
    """The least of some durations in seconds, and the logits."""
    logits, seconds = engine.predict(images), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        engine.predict(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds), logits


def first_line(error: Exception) -> str:
    """The first line of an error's message; its class where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
