"""Proofs that several devices train as one would: the same loss, gradients, clipping, micro-batches, batch norms."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import keras
import numpy as np

from .. import data
from ..models import analysis
from . import strategy
from .keras_types import to_numpy
from .network import new_network, with_norms
from .recipe import Recipe
from .session import Session, new_trainer
from .step import Trainer
from .step_time import OneBatch
from .strategy import Strategy
from .windows import input_patch, training_windows, validation_windows

Status = Literal["ok", "advice", "wrong"]

# Sizes of the windows that are compared: what is proved does not depend on the size, but how long it takes does.
PROOF_PATCH = {2: 64, 3: 32}
# How far numbers may differ that are equal but for the order of their sums: by a thousandth, or by so many times what
# the order of the samples makes on one device, since deep networks with batch norms amplify rounding; never by more.
ROUNDING, TIMES, MOST_ROUNDING = 1e-3, 5, 0.1


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: What was checked.
        status: `ok`, `advice` (it works, and could be better) or `wrong` (several devices do not train as one).
        message: What was found, as a sentence.
    """

    name: str
    status: Status
    message: str


@dataclass(frozen=True, eq=False)
class Bench:
    """What the proofs are made on.

    Attributes:
        recipe: The recipe of the last stage, in float32.
        dataset: The data set.
        network: The recipe's network, with its first weights and without dropout, which differs from device to device.
        one: The strategy of one device.
        several: The strategy of several.
        batch: A training batch: images and labels.
        uneven: Validation windows whose last batch is filled up: one of several devices gets no sample that counts.
        single: The same windows, one at a time.
    """

    recipe: Recipe
    dataset: data.DataSet
    network: keras.Model
    one: Strategy
    several: Strategy
    batch: Sequence[np.ndarray]
    uneven: data.WindowDataset
    single: data.WindowDataset

    @property
    def replicas(self) -> int:
        """Number of several devices."""
        return self.several.num_replicas_in_sync


@dataclass(frozen=True, eq=False)
class Step:
    """What one step did.

    Attributes:
        loss: The loss that was reported.
        update: The sum of everything that was subtracted from each weight, as one long array: the clipped gradients.
        statistics: What layers keep of the batches that they saw, such as the means of batch norms.
    """

    loss: float
    update: np.ndarray
    statistics: np.ndarray


def strategies(devices: str) -> tuple[Strategy, Strategy]:
    """Returns the strategies of several devices and of one: of the GPUs of the recipe, else of logical processors.

    Args:
        devices: The option of the recipe.
    """
    # The processor can be split only before TensorFlow uses it.
    processors = devices if devices.startswith("cpu:") and devices != "cpu:1" else "cpu:2"
    strategy.split_processor(int(processors.removeprefix("cpu:")))
    if not devices.startswith("cpu:"):
        several = strategy.open_strategy(devices)
        if several.num_replicas_in_sync > 1:
            return several, strategy.open_strategy("gpu:1")
    return strategy.open_strategy(processors), strategy.open_strategy("cpu:1")


def make_bench(recipe: Recipe, dataset: data.DataSet, one: Strategy, several: Strategy) -> Bench:
    """Builds the network once and reads the batches of the proofs.

    Args:
        recipe: The recipe of a stage.
        dataset: The data set.
        one: The strategy of one device.
        several: The strategy of several.
    """
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(recipe.seed)
    parts = several.num_replicas_in_sync * max(2, recipe.accumulate)
    with one.scope():
        network = new_network(recipe, dataset)
    patch = [min(size, PROOF_PATCH[dataset.spatial_dims]) for size in input_patch(network, recipe.patch)]
    recipe = replace(
        recipe,
        patch=list(input_patch(network, patch)),
        batch_size=parts,
        mixed_precision="none",
        xla=False,
        hosts=None,
    )
    for layer in analysis.all_layers(network):
        if getattr(layer, "seed_generator", None) is not None and hasattr(layer, "rate"):
            layer.rate = 0.0
    if not dataset.validation:
        # What is proved does not depend on the images.
        dataset = replace(dataset, validation=dataset.train)
    shared = Session(network, dataset, several)
    windows = len(validation_windows(shared, recipe, workers=0).grid_windows)
    limit = parts + 1 if windows > parts else min(windows, parts - 1)
    return Bench(
        recipe,
        dataset,
        network,
        one,
        several,
        batch=training_windows(shared, recipe, workers=0)[0][:2],
        uneven=validation_windows(shared, recipe, limit, workers=0),
        single=validation_windows(Session(network, dataset, one), replace(recipe, batch_size=1), limit, workers=0),
    )


def trainer_on(
    bench: Bench, devices: Strategy, norm: str, accumulate: int = 1, clip_norm: float | None = None
) -> Trainer:
    """Returns a trainer whose step subtracts the gradients themselves from the weights.

    Args:
        bench: What the proofs are made on.
        devices: The strategy.
        norm: Kind of norms: see `with_norms`.
        accumulate: Number of micro-batches.
        clip_norm: Maximum norm of all gradients together, or `None`.
    """
    recipe = replace(bench.recipe, accumulate=accumulate, clip_norm=clip_norm)
    with devices.scope():
        trainer = new_trainer(Session(with_norms(bench.network, norm), bench.dataset, devices), recipe)
        trainer.compile(keras.optimizers.SGD(1.0), jit_compile=False, auto_scale_loss=False)
    return trainer


@lru_cache(maxsize=8)
def step(
    bench: Bench,
    devices: Strategy,
    norm: str = "sync",
    backwards: bool = False,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> Step:
    """Makes one step on the batch.

    Args:
        bench: What the proofs are made on.
        devices: The strategy.
        norm: Kind of norms: see `with_norms`.
        backwards: Whether the samples come in reverse order.
        accumulate: Number of micro-batches.
        clip_norm: Maximum norm of all gradients together, or `None`.
    """
    trainer = trainer_on(bench, devices, norm, accumulate, clip_norm)
    before = arrays(trainer.network.trainable_variables)
    batch = [array[::-1] for array in bench.batch] if backwards else bench.batch
    logged = trainer.fit(OneBatch(batch), epochs=1, verbose=0, shuffle=False).history
    network = trainer.network
    update = flat([b - a for b, a in zip(before, arrays(network.trainable_variables), strict=True)])
    kept = [v for v in network.non_trainable_variables if "seed" not in v.path]
    return Step(logged["loss"][-1], update, flat(arrays(kept)))


def arrays(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    """Returns the values of variables as float64."""
    return [np.asarray(to_numpy(variable), np.float64) for variable in variables]


def flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns all values of several arrays in one array of one axis."""
    return np.concatenate([part.ravel() for part in parts]) if parts else np.zeros(0)


def distance(some: np.ndarray, others: np.ndarray) -> float:
    """Returns the distance of two arrays, relative to the norm of the second."""
    return float(np.linalg.norm(some - others)) / max(float(np.linalg.norm(others)), 1e-12)


def rounding(bench: Bench, norm: str = "sync") -> float:
    """Returns how far a step may be from another that is equal but for the order of sums."""
    order = distance(step(bench, bench.one, norm, backwards=True).update, step(bench, bench.one, norm).update)
    return min(max(ROUNDING, TIMES * order), MOST_ROUNDING)


# Numbers of several devices, and of one.
Pair = tuple[np.ndarray | float, np.ndarray | float]


def compare(bench: Bench, name: str, what: str, pair: Pair, limit: float = ROUNDING) -> CheckResult:
    """Returns the result that numbers of several devices equal those of one up to rounding, or do not.

    Args:
        bench: What the proofs are made on.
        name: Name of the check.
        what: What is compared, as the subject of a sentence.
        pair: The numbers of several devices, and of one.
        limit: How far they may be apart, relative to the norm of the second.
    """
    several, one = (np.atleast_1d(values) for values in pair)
    apart, devices = distance(several, one), f"{bench.replicas} devices"
    if np.isfinite(several).all() and apart <= limit:
        return CheckResult(name, "ok", f"{what} on {devices} equals that on one: relative difference {apart:.0e}")
    return CheckResult(name, "wrong", f"{what} on {devices} differs from that on one: relative difference {apart:.2g}")


def losses_agree(bench: Bench) -> CheckResult:
    """Checks that the reported loss of several devices is that of one."""
    one, several = (step(bench, devices).loss for devices in (bench.one, bench.several))
    return compare(bench, "loss", f"the loss, {one:.4f},", (several, one))


def gradients_agree(bench: Bench) -> CheckResult:
    """Checks that the gradients of several devices are those of one."""
    one, several = (step(bench, devices).update for devices in (bench.one, bench.several))
    return compare(bench, "gradients", "the step", (several, one), rounding(bench))


def clipping_agrees(bench: Bench) -> CheckResult:
    """Checks that gradients are clipped after they are summed: the step has the length asked for, and its direction."""
    whole = step(bench, bench.one).update
    limit = float(np.linalg.norm(whole)) / 2
    clipped = step(bench, bench.several, clip_norm=limit).update
    return compare(bench, "clipping", "the step, clipped to half its length,", (clipped, whole / 2), rounding(bench))


def accumulation_agrees(bench: Bench) -> CheckResult:
    """Checks that micro-batches sum to the batch; with group norms, as batch norms see one micro-batch at a time."""
    parts = max(2, bench.recipe.accumulate)
    whole = step(bench, bench.one, norm="group").update
    added = step(bench, bench.several, norm="group", accumulate=parts).update
    what = f"the step in {parts} micro-batches"
    return compare(bench, "accumulation", what, (added, whole), rounding(bench, "group"))


def statistics_agree(bench: Bench) -> CheckResult:
    """Checks that batch norms with statistics over all devices keep the means and variances that one device keeps."""
    if not has_batch_norm(bench.network):
        return CheckResult("batch norm", "ok", "the model has none")
    one, several = (step(bench, devices).statistics for devices in (bench.one, bench.several))
    return compare(bench, "batch norm", "the set of statistics", (several, one))


def uneven_batches_agree(bench: Bench) -> CheckResult:
    """Checks that samples which fill up the last batch never count, also where a device gets no others."""
    one, several = (
        trainer_on(bench, devices, "sync").evaluate(windows, verbose=0, return_dict=True)
        for devices, windows in ((bench.one, bench.single), (bench.several, bench.uneven))
    )
    names = [name for name in one if name in several]
    several, one = (np.array([scores[name] for name in names]) for scores in (several, one))
    return compare(bench, "uneven batches", f"the validation of {len(bench.single)} windows", (several, one))


PROOFS: tuple[Callable[[Bench], CheckResult], ...] = (
    losses_agree,
    gradients_agree,
    clipping_agrees,
    accumulation_agrees,
    statistics_agree,
    uneven_batches_agree,
)


def has_batch_norm(network: keras.Model) -> bool:
    """Returns whether a network has batch norms."""
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in analysis.all_layers(network))
