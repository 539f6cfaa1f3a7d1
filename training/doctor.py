"""Checks of a training on this machine: whether several devices train as one, whether memory and reading suffice."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import keras

from maskzoo.errors import OptionError
from maskzoo.machine import ONEDNN, processor_features

from .. import data
from . import optimisation, strategy
from .devices import check_devices
from .equivalence import PROOFS, Bench, CheckResult, has_batch_norm, make_bench, strategies
from .fit import open_data, set_precision
from .memory import check_memory, free_memory
from .network import new_network
from .recipe import Recipe
from .session import Session, new_trainer
from .step_time import step_seconds
from .strategy import Strategy
from .windows import training_windows

# Training steps, and seconds of reading, that are timed.
STEPS = 3
SECONDS = 3.0
MANY_STEPS = 1 << 14


def examine(recipe: Recipe, memory: float | None = None) -> Iterator[CheckResult]:
    """Yields what is found about a recipe on this machine.

    Args:
        recipe: The recipe.
        memory: Bytes that a device may use; by default what it has free.

    Raises:
        MaskzooError: If the data, the model and the options do not fit each other, or the backend is another.
    """
    if keras.backend.backend() != "tensorflow":
        raise OptionError("KERAS_BACKEND", "tensorflow for these checks", keras.backend.backend())
    several, one = strategies(recipe.devices)
    dataset = open_data(recipe)
    stages = recipe.each_stage()
    used = strategy.open_strategy(recipe.devices)
    check_devices(recipe, stages, used.num_replicas_in_sync)
    bench = make_bench(stages[-1], dataset, one, several)
    for check in PROOFS:
        yield check(bench)
    yield from advise_on_norms(bench, used)
    yield check_onednn()
    available = free_memory(used) if memory is None else memory
    result = check_memory(stages[-1], bench.network, used.num_replicas_in_sync, available)
    yield result
    if result.status == "ok":
        yield check_reading(stages[-1], dataset, used)


def check_onednn() -> CheckResult:
    """Says whether TensorFlow computes by oneDNN, which is faster on processors that have the instructions."""
    chosen = os.environ.get(ONEDNN)
    if "avx2" not in processor_features():
        return CheckResult("oneDNN", "ok", "left as TensorFlow has it: this processor has no AVX2, or is not known")
    if chosen == "0":
        return CheckResult("oneDNN", "advice", f"off, by {ONEDNN}=0; with it steps are faster on this processor")
    return CheckResult("oneDNN", "ok", "on: this processor has AVX2")


def advise_on_norms(bench: Bench, used: Strategy) -> Iterator[CheckResult]:
    """Yields advice on batch norms that see less than a batch.

    Args:
        bench: What the proofs were made on.
        used: The strategy of the recipe.
    """
    recipe, replicas = bench.recipe, used.num_replicas_in_sync
    if not has_batch_norm(bench.network):
        return
    if recipe.accumulate > 1:
        message = f"sees one of {recipe.accumulate} micro-batches at a time; `norm` group does not depend on them"
        yield CheckResult("batch norm", "advice", message)
    elif replicas > 1 and recipe.norm == "batch":
        message = f"each of {replicas} devices keeps its own statistics; `norm` sync shares them"
        yield CheckResult("batch norm", "advice", message)


def check_reading(recipe: Recipe, dataset: data.DataSet, used: Strategy) -> CheckResult:
    """Checks whether windows are read as fast as they are trained on.

    Args:
        recipe: The recipe of a stage.
        dataset: The data set.
        used: The strategy of the recipe.
    """
    set_precision(recipe)
    recipe = replace(recipe, hosts=None)
    with used.scope():
        session = Session(new_network(recipe, dataset), dataset, used)
        trainer = new_trainer(session, recipe)
        float16 = recipe.mixed_precision == "float16"
        optimizer = optimisation.make_optimizer(recipe, session.network.trainable_variables, scale_loss=float16)
        trainer.compile(optimizer, jit_compile=recipe.xla, auto_scale_loss=False)
    training = training_windows(session, replace(recipe, steps=MANY_STEPS))
    # The first batch waits for files to be opened.
    batch, batches, start = training[0], 1, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        batch, batches = training[batches], batches + 1
    read = recipe.batch_size * (batches - 1) / (time.perf_counter() - start)
    trained = recipe.batch_size / step_seconds(trainer, batch, STEPS)
    seen = f"{read:.0f} windows are read per second, {trained:.0f} trained on"
    if read >= trained:
        return CheckResult("data", "ok", seen)
    advice = "the devices wait for data: use a lighter `augment`, or files with smaller blocks"
    return CheckResult("data", "advice", f"{seen}; {advice}")
