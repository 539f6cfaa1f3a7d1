"""What training needs of TensorFlow itself: devices, replicas, gradients, and the errors of its input pipeline."""

import json
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from maskzoo import errors
from maskzoo.errors import ConnectionLost, OptionError, TrainingError

from .keras_types import Tensor

logger = logging.getLogger(__name__)

# Of a file that was read in TensorFlow's input pipeline: classes of errors whose message is for people.
READING_ERRORS = ("ImageError", "LabelError", "UnreadableFile", "MissingFile")


class Strategy(Protocol):
    """What is used of a `tf.distribute.Strategy` outside of this file."""

    @property
    def num_replicas_in_sync(self) -> int:
        """Number of devices that share a batch."""
        ...

    def scope(self) -> AbstractContextManager[object]:
        """A context in which variables are made for all of the devices."""
        ...


def open_strategy(devices: str = "auto") -> Strategy:
    """Returns the tf.distribute strategy for a value of the option `devices`.

    Args:
        devices: `auto` (every visible GPU, or the CPU), `gpu:N` (the first N GPUs) or `cpu:N` (N logical CPU devices,
            which share the processor: for trying out several replicas).

    Raises:
        OptionError: If the value has another form, or the machine has fewer devices.
    """
    if devices == "auto":
        kind, available = "GPU", len(tf.config.list_physical_devices("GPU"))
        count = available
    else:
        found = re.fullmatch(r"(cpu|gpu):([1-9]\d*)", devices)
        if not found:
            raise OptionError("devices", "auto, cpu:N or gpu:N", devices)
        kind, count = found[1].upper(), int(found[2])
        available = split_processor(count) if kind == "CPU" else len(tf.config.list_physical_devices("GPU"))
    if available < count:
        raise OptionError("devices", f"at most {kind.lower()}:{available} on this machine", devices)
    if count > 1:
        return mirrored(tuple(f"{kind}:{index}" for index in range(count)))
    return tf.distribute.OneDeviceStrategy(f"{kind}:0") if count and devices != "auto" else tf.distribute.get_strategy()


def open_none() -> Strategy:
    """Returns the default strategy for a backend with its own devices; TensorFlow leaves the GPUs' memory alone."""
    with suppress(RuntimeError):  # too late: they are in use already
        tf.config.set_visible_devices([], "GPU")
    return tf.distribute.get_strategy()


@lru_cache
def mirrored(devices: tuple[str, ...]) -> Strategy:
    """Returns the strategy of several devices; a second one in a process would mix up its sums with the first's."""
    return tf.distribute.MirroredStrategy(list(devices))


def open_hosts(hosts: Sequence[str], index: int, devices: str = "auto") -> Strategy:
    """Returns the strategy of several hosts that train one model, and waits until all of them are connected.

    Args:
        hosts: Addresses `NAME:PORT` of all hosts, the same on each; the first is the chief.
        index: Which of them this one is.
        devices: `auto` (every GPU of this host, or its processor) or `gpu:N` (its first N GPUs).

    Raises:
        OptionError: If the devices are none of these.
        ConnectionLost: If the hosts cannot connect to each other.
    """
    found = re.fullmatch(r"auto|gpu:([1-9]\d*)", devices)
    if not found:
        raise OptionError("devices", "auto or gpu:N with several hosts", devices)
    graphics = tf.config.list_physical_devices("GPU")
    if found[1]:
        if int(found[1]) > len(graphics):
            raise OptionError("devices", f"at most gpu:{len(graphics)} on this machine", devices)
        tf.config.set_visible_devices(graphics[: int(found[1])], "GPU")
    task = {"cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    logger.info("hosts      %d, this is number %d; waiting until all of them are connected", len(hosts), index)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        expected = f"{', '.join(hosts)} to connect to each other"
        raise ConnectionLost(f"hosts: expected {expected}; received {error.message}") from error


def shard_of_batch(strategy: Any) -> tuple[int, int]:  # a strategy, of which more is used here than others may
    """Returns which of equal parts of each batch this host trains on, and how many parts there are."""
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver else {}
    hosts = len(cluster.get("worker", ()))
    return (resolver.task_id, hosts) if hosts > 1 else (0, 1)


def on_replicas(function: Callable[[tuple[Tensor, ...]], object]) -> Callable[[Sequence[np.ndarray]], object]:
    """Compiles a function that runs on every replica of the current strategy, each with its part of a batch."""
    current = tf.distribute.get_strategy()

    @tf.autograph.experimental.do_not_convert
    def run_all(*batch: Tensor) -> object:
        return current.run(function, args=(batch,))

    run = tf.function(run_all, reduce_retracing=True)
    replicas_here = current.num_replicas_in_sync // shard_of_batch(current)[1]

    def run_parts(batch: Sequence[np.ndarray]) -> object:
        return run(*(values_of_replicas(current, array, replicas_here) for array in batch))

    return run_parts


def summed_on_hosts(numbers: np.ndarray) -> np.ndarray:
    """Returns an array of this host, summed over all replicas of all hosts."""
    current = tf.distribute.get_strategy()
    if shard_of_batch(current)[1] == 1:
        return numbers * current.num_replicas_in_sync

    @tf.autograph.experimental.do_not_convert
    def added() -> Tensor:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(numbers))

    return current.experimental_local_results(tf.function(lambda: current.run(added))())[0].numpy()


def values_of_replicas(current: Any, array: np.ndarray, number: int) -> Tensor:  # a strategy, see `shard_of_batch`
    """Splits an array into equal parts, one for each of a number of replicas of this host.

    Args:
        current: The tf.distribute strategy.
        array: An array whose first axis is split.
        number: Number of replicas.
    """
    if number == 1:
        return tf.convert_to_tensor(array)
    parts = iter(tf.split(array, number))
    return current.experimental_distribute_values_from_function(lambda context: next(parts))


@contextmanager
def lost_hosts() -> Iterator[None]:
    """A context that says what to do when another host has gone while this one waited for it.

    Raises:
        ConnectionLost: If it has.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        raise ConnectionLost(
            "hosts: expected all of them to train to the end; received no answer from one: start all of them again "
            "with `resume`, to continue after the last finished epoch"
        ) from error


def split_processor(count: int) -> int:
    """Splits the processor into logical devices, unless TensorFlow already uses it; returns how many there are."""
    processor = tf.config.list_physical_devices("CPU")[0]
    with suppress(RuntimeError):  # too late to split: use what is there
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    return len(tf.config.list_logical_devices("CPU"))


def graphics_memory(strategy: Any) -> int | None:  # a strategy, of which more is used here than others may
    """Returns the free bytes of the GPU of a strategy that has the least; `None` if it uses no GPU."""
    if strategy is tf.distribute.get_strategy():  # the default strategy: TensorFlow takes the first
        numbers = [0] if tf.config.list_physical_devices("GPU") else []
    else:
        devices = strategy.extended.worker_devices
        numbers = [int(found[1]) for device in devices if (found := re.search(r"GPU:(\d+)", device))]
    if not numbers:
        return None
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    free = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    return min(int(free[number]) for number in numbers) * 2**20


def replicas() -> int:
    """Returns the number of devices that share a batch, also while a step is traced on one of them."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gradients(function: Callable[[], Tensor], variables: Sequence[keras.Variable]) -> list[Tensor | None]:
    """Returns the gradients of a function's scalar value; `None` for variables that it does not depend on.

    Args:
        function: The function.
        variables: Keras variables.
    """
    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, [variable.value for variable in variables])


def summed(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Sums tensors over the replicas, on each of which it is called; `None` stays."""
    if replicas() == 1:
        return list(tensors)
    sums = iter(
        tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [tensor for tensor in tensors if tensor is not None]
        )
    )
    return [tensor if tensor is None else next(sums) for tensor in tensors]


def after(earlier: Sequence[Tensor | None], tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Returns tensors that are not used before some earlier ones have been computed; `None` stays."""
    with tf.control_dependencies([tensor for tensor in earlier if tensor is not None]):
        return tuple(tensor if tensor is None else tf.identity(tensor) for tensor in tensors)


def make_deterministic() -> None:
    """Makes every operation give the same result each time, also on a GPU, for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


@contextmanager
def reading_errors() -> Iterator[None]:
    """A context that raises as it was an error of ours that TensorFlow's input pipeline wrapped.

    Raises:
        MaskzooError: What was raised while a window was read.
    """
    names = "|".join((*READING_ERRORS, "OptionError", "ValueError", "OSError", "FileNotFoundError"))
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(rf"^(?:\w*: )*(?:maskzoo\.errors\.)?({names}): (.+)$", str(error), re.MULTILINE)
        if found is None:
            raise
        name, message = found.groups()
        parts = re.match(r"(.+?): expected (.+); received (.*)", message)
        if parts and name in READING_ERRORS:
            raise getattr(errors, name)(*parts.groups()) from error
        raise TrainingError(message) from error


def log_picture(folder: Path, name: str, path: Path, step: int) -> None:
    """Adds a PNG file to TensorBoard's log in a folder.

    Args:
        folder: The folder.
        name: Name of the picture there.
        path: The PNG file.
        step: Number of the epoch.
    """
    with tf.summary.create_file_writer(str(folder)).as_default():
        tf.summary.image(name, tf.io.decode_png(path.read_bytes(), channels=3)[None], step=step)
