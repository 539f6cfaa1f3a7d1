"""Is this training right on this machine? Several devices are proved to equal one, memory and reading are measured."""

import statistics
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

from .. import data
from ..models import analysis
from . import optimisation, strategy
from .fit import build_loss, check_devices, default_spatial_dims, new_trainer, window_options
from .fit import input_patch as allowed_patch
from .network import new_network, with_norms
from .step import Objective

OK, ADVICE, WRONG = "ok", "advice", "wrong"
# Windows of the proofs: what they prove does not depend on the size, how long they take does.
PROOF_PATCH = {2: 64, 3: 32}
# How far numbers may differ that are equal but for the order of their sums: by a thousandth, or by so many times what
# the order of the samples makes on one device, since deep networks with batch norms blow rounding up; never by more.
ROUNDING, TIMES, MOST_ROUNDING = 1e-3, 5, 0.1
GIGABYTE = 1024**3
# Python with TensorFlow and a traced step.
BASE_MEMORY = 1.5 * GIGABYTE
STEPS = 3
SECONDS = 3
MOST = 1 << 14


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing.

    Attributes:
        name: What it is.
        state: `ok`, `advice` (it works, and could be better) or `wrong` (several devices do not equal one).
        text: What was seen, as a sentence.
    """

    name: str
    state: str
    text: str


@dataclass(frozen=True, eq=False)
class Bench:
    """What the proofs are made on.

    Attributes:
        recipe: The recipe of the last stage, in float32.
        dataset: The `data.DataSet`.
        network: The recipe's network, with its first weights and without dropout, which no two devices draw alike.
        one: The strategy of one device.
        several: The strategy of several.
        batch: A training batch `(images, labels)`.
        uneven: Validation windows whose last batch is filled up: a device of several gets no sample that counts.
        alone: The same windows, one at a time.
    """

    recipe: object
    dataset: object
    network: object
    one: object
    several: object
    batch: tuple
    uneven: object
    alone: object

    @property
    def replicas(self):
        return self.several.num_replicas_in_sync


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        loss: The loss that was reported.
        update: The sum of all that was taken from each weight, as one long array: the gradients, clipped.
        statistics: What layers keep of the batches that they saw, such as the means of batch norms.
    """

    loss: float
    update: np.ndarray
    statistics: np.ndarray


class OneBatch(keras.utils.PyDataset):
    """A single batch, some times, in copies: TensorFlow may write into arrays that it is given."""

    def __init__(self, batch, times=1):
        super().__init__()
        self.batch, self.times = batch, times

    def __len__(self):
        return self.times

    def __getitem__(self, index):
        return tuple(array.copy() for array in self.batch)


def examine(recipe, memory=None):
    """Yields what is found out about a recipe on this machine.

    Args:
        recipe: A `Recipe`.
        memory: Bytes that a device may use; by default what it has free.

    Raises:
        ValueError: If the data, the model and the options do not fit each other, or the backend is another.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"KERAS_BACKEND: expected tensorflow for these checks; received {keras.backend.backend()}")
    several, one = strategies(recipe.devices)
    spec = data.read_spec(recipe.data, recipe.data_options())
    dataset = data.load_data(
        spec, spatial_dims=data.spatial_dims_of(spec) or default_spatial_dims(recipe), seed=recipe.seed
    )
    stage = recipe.each_stage()[-1]
    used = strategy.open_strategy(recipe.devices)
    check_devices(recipe, recipe.each_stage(), used.num_replicas_in_sync)
    bench = make_bench(stage, dataset, one, several)
    for check in PROOFS:
        yield check(bench)
    yield from norms(bench, used)
    network = bench.network
    finding = fitting(stage, network, used.num_replicas_in_sync, free_memory(used) if memory is None else memory)
    yield finding
    if finding.state == OK:
        yield reading(stage, dataset, used)


def strategies(devices):
    """The strategies of several devices and of one: of the GPUs that are asked for, else of logical processors."""
    # The processor can be split only before TensorFlow touches it.
    processors = devices if devices.startswith("cpu:") and devices != "cpu:1" else "cpu:2"
    strategy.split_processor(int(processors.removeprefix("cpu:")))
    if not devices.startswith("cpu:"):
        several = strategy.open_strategy(devices)
        if several.num_replicas_in_sync > 1:
            return several, strategy.open_strategy("gpu:1")
    return strategy.open_strategy(processors), strategy.open_strategy("cpu:1")


def make_bench(recipe, dataset, one, several):
    """Builds the network once and reads the batches of the proofs."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(recipe.seed)
    parts = several.num_replicas_in_sync * max(2, recipe.accumulate)
    spatial_dims = dataset.spatial_dims
    with one.scope():
        network = new_network(recipe, dataset)
    asked = allowed_patch(network, recipe.patch)
    patch = [min(size, PROOF_PATCH[spatial_dims]) for size in asked]
    recipe = replace(
        recipe,
        patch=list(allowed_patch(network, patch)),
        batch_size=parts,
        mixed_precision="none",
        xla=False,
        hosts=None,
    )
    for layer in network._flatten_layers():
        if getattr(layer, "seed_generator", None) is not None and hasattr(layer, "rate"):
            layer.rate = 0.0
    common = window_options(recipe, network, analysis.geometry(network), several, workers=0)
    training = data.WindowDataset(dataset.train, options=recipe.window_options(), **common)
    windows = len(data.WindowDataset(dataset.validation, shuffle=False, **common).grid_windows)
    limit = parts + 1 if windows > parts else min(windows, parts - 1)
    uneven = data.WindowDataset(dataset.validation, shuffle=False, limit=limit, **common)
    options = window_options(replace(recipe, batch_size=1), network, analysis.geometry(network), one, workers=0)
    alone = data.WindowDataset(dataset.validation, shuffle=False, limit=limit, **options)
    return Bench(recipe, dataset, network, one, several, training[0][:2], uneven, alone)


def trainer_on(bench, devices, norm, accumulate=1, clip_norm=None):
    """A trainer whose step takes the gradients themselves from the weights."""
    recipe = replace(bench.recipe, accumulate=accumulate, clip_norm=clip_norm)
    with devices.scope():
        network = with_norms(bench.network, norm)
        objective = Objective(build_loss(recipe, bench.dataset), recipe.output_weights, recipe.label_head or 1.0)
        trainer = new_trainer(recipe, network, objective, bench.dataset)
        trainer.compile(keras.optimizers.SGD(1.0), jit_compile=False, auto_scale_loss=False)
    return trainer


@lru_cache(maxsize=8)
def step(bench, devices, norm="sync", backwards=False, **options):
    """Makes one step on the batch, its samples in order or backwards; returns a `Step`."""
    trainer = trainer_on(bench, devices, norm, **options)
    before = arrays(trainer.network.trainable_variables)
    batch = [array[::-1] for array in bench.batch] if backwards else bench.batch
    seen = trainer.fit(OneBatch(batch), epochs=1, verbose=0, shuffle=False).history
    network = trainer.network
    update = flat([b - a for b, a in zip(before, arrays(network.trainable_variables), strict=True)])
    kept = [v for v in network.non_trainable_variables if "seed" not in v.path]
    return Step(seen["loss"][-1], update, flat(arrays(kept)))


def arrays(variables):
    return [np.asarray(ops.convert_to_numpy(variable), np.float64) for variable in variables]


def flat(parts):
    return np.concatenate([part.ravel() for part in parts]) if parts else np.zeros(0)


def distance(some, others):
    """How far two arrays are apart, relative to the length of the second."""
    return float(np.linalg.norm(some - others)) / max(float(np.linalg.norm(others)), 1e-12)


def rounding(bench, norm="sync"):
    """How far a step may be from another that is equal but for the order of sums."""
    order = distance(step(bench, bench.one, norm, backwards=True).update, step(bench, bench.one, norm).update)
    return min(max(ROUNDING, TIMES * order), MOST_ROUNDING)


def compared(name, several, one, what, replicas, limit=ROUNDING):
    """The finding that two arrays are equal to rounding, or are not."""
    several, one = np.atleast_1d(several), np.atleast_1d(one)
    apart = distance(several, one)
    if np.isfinite(several).all() and apart <= limit:
        return Finding(name, OK, f"{what} on {replicas} devices as on one: {apart:.0e} apart")
    return Finding(name, WRONG, f"{what} on {replicas} devices is not that on one: {apart:.2g} of it apart")


def losses_agree(bench):
    """The reported loss of several devices is that of one."""
    one, several = (step(bench, devices) for devices in (bench.one, bench.several))
    return compared("loss", several.loss, one.loss, f"the loss, {one.loss:.4f},", bench.replicas)


def gradients_agree(bench):
    """The gradients of several devices are those of one."""
    one, several = (step(bench, devices).update for devices in (bench.one, bench.several))
    return compared("gradients", several, one, "the step", bench.replicas, rounding(bench))


def clipping_agrees(bench):
    """Gradients are clipped after they were added up: the step is as long as asked, and goes the same way."""
    whole = step(bench, bench.one).update
    limit = float(np.linalg.norm(whole)) / 2
    clipped = step(bench, bench.several, clip_norm=limit).update
    return compared("clipping", clipped, whole / 2, "half the step, clipped,", bench.replicas, rounding(bench))


def accumulation_agrees(bench):
    """Micro-batches add up to the batch; with group norms, since batch norms see micro-batches one at a time."""
    parts = max(2, bench.recipe.accumulate)
    whole = step(bench, bench.one, norm="group").update
    added = step(bench, bench.several, norm="group", accumulate=parts).update
    return compared(
        "accumulation", added, whole, f"the step in {parts} micro-batches", bench.replicas, rounding(bench, "group")
    )


def statistics_agree(bench):
    """Batch norms with statistics over all devices keep the means and variances that one device keeps."""
    if not has_batch_norm(bench.network):
        return Finding("batch norm", OK, "there is none")
    one, several = (step(bench, devices).statistics for devices in (bench.one, bench.several))
    return compared("batch norm", several, one, "the statistics", bench.replicas)


def uneven_batches_agree(bench):
    """Samples that fill up the last batch count nowhere: not on one device, nor where a device has no others."""
    one, several = (
        trainer_on(bench, devices, "sync").evaluate(windows, verbose=0, return_dict=True)
        for devices, windows in ((bench.one, bench.alone), (bench.several, bench.uneven))
    )
    names = [name for name in one if name in several]
    values = [np.array([scores[name] for name in names]) for scores in (several, one)]
    return compared("uneven batches", *values, f"the validation of {len(bench.alone)} windows", bench.replicas)


PROOFS = (
    losses_agree,
    gradients_agree,
    clipping_agrees,
    accumulation_agrees,
    statistics_agree,
    uneven_batches_agree,
)


def has_batch_norm(network):
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers())


def norms(bench, used):
    """Advice on batch norms that see less than a batch."""
    recipe, replicas = bench.recipe, used.num_replicas_in_sync
    if not has_batch_norm(bench.network):
        return
    if recipe.accumulate > 1:
        yield Finding(
            "batch norm", ADVICE, f"sees one of {recipe.accumulate} micro-batches at a time: --norm group sees none"
        )
    elif replicas > 1 and recipe.norm == "batch":
        yield Finding("batch norm", ADVICE, f"each of {replicas} devices keeps statistics of its own: --norm sync")


def fitting(recipe, network, replicas, memory):
    """Whether a step fits the memory of a device, and the largest batch and the largest windows that do."""
    patch = allowed_patch(network, recipe.patch)
    parts = replicas * recipe.accumulate

    def need(patch, batch):
        return step_bytes(network, recipe, patch, -(-batch // parts))

    def sized(scale):
        return analysis.nearest_size(network, [max(1, round(size * scale)) for size in patch])

    batch = parts * largest(lambda many: need(patch, many * parts) <= memory)
    scale = largest(lambda eighths: need(sized(eighths / 8), recipe.batch_size) <= memory, most=512)
    window = " x ".join(map(str, sized(scale / 8)))
    seen = f"a step takes about {need(patch, recipe.batch_size) / GIGABYTE:.2g} of {memory / GIGABYTE:.3g} GB"
    largest_batch = f"the largest batch of these windows is {batch}"
    if need(patch, recipe.batch_size) <= memory:
        return Finding("memory", OK, f"{seen}; {largest_batch}, the largest windows in this batch are {window}")
    change = f"--batch-size {batch}" if batch else "smaller --patch"
    if scale:
        change += f", or --patch {' '.join(window.split(' x ')[:1])}" if len(set(sized(scale / 8))) == 1 else ""
    more = -(-recipe.batch_size // replicas)
    if batch:
        change += f", or --accumulate {min(more, recipe.accumulate * -(-recipe.batch_size // batch))}"
    return Finding("memory", ADVICE, f"{seen}: {change}")


def step_bytes(network, recipe, patch, windows):
    """The memory that a training step takes on a device: activations, and what there is of each weight.

    Args:
        network: The functional model.
        recipe: A `Recipe`.
        patch: Size of the windows.
        windows: Windows that are computed at once.
    """
    channels = network.inputs[0].shape[-1]
    activations = windows * analysis.training_activation_bytes(network, (*patch, channels))
    # Weights, gradients, what the optimizer keeps of each, averages.
    copies = 2 + (1 if recipe.optimizer == "sgd" else 2) + bool(recipe.ema)
    width = 0.5 if recipe.mixed_precision != "none" else 1.0
    return BASE_MEMORY + width * activations + 4 * copies * analysis.parameters(network)[0]


def largest(holds, most=MOST):
    """The largest number up to `most` that something holds for, which holds for all below it too; 0 for none."""
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def free_memory(used):
    """The bytes that a device has free; devices that are one processor share its memory."""
    if graphics := strategy.graphics_memory(used):
        return graphics
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdecimal():
        free = min(free, int(limit.read_text()) - int(limit.with_name("memory.current").read_text()))
    return free / used.num_replicas_in_sync


class Times(keras.callbacks.Callback):
    """Notes when each batch was done."""

    def on_train_begin(self, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def reading(recipe, dataset, used):
    """Whether windows are read as fast as they are trained on."""
    precision = recipe.mixed_precision
    keras.config.set_dtype_policy("float32" if precision == "none" else f"mixed_{precision}")
    with used.scope():
        network = new_network(recipe, dataset)
        objective = Objective(build_loss(recipe, dataset), recipe.output_weights, recipe.label_head or 1.0)
        trainer = new_trainer(replace(recipe, hosts=None), network, objective, dataset)
        optimizer = optimisation.make_optimizer(recipe, network.trainable_variables)
        trainer.compile(optimizer, jit_compile=recipe.xla, auto_scale_loss=False)
    common = window_options(recipe, network, analysis.geometry(network), used)
    training = data.WindowDataset(dataset.train, options=replace(recipe.window_options(), steps=MOST), **common)
    batches, start = 0, None
    while start is None or time.perf_counter() - start < SECONDS:
        batch = training[batches]
        # The first batch waits for files to be opened.
        start, batches = start or time.perf_counter(), batches + 1
    read = recipe.batch_size * (batches - 1) / (time.perf_counter() - start)
    times = Times()
    trainer.fit(OneBatch(batch, STEPS + 1), epochs=1, verbose=0, shuffle=False, callbacks=[times])
    trained = recipe.batch_size / statistics.median(np.diff(times.ends))
    seen = f"{read:.0f} windows a second are read, {trained:.0f} trained on"
    if read >= trained:
        return Finding("data", OK, seen)
    return Finding(
        "data", ADVICE, f"{seen}: the devices wait; lighter --augment, or files of smaller blocks, are read faster"
    )
