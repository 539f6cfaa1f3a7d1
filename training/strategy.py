"""What training needs of TensorFlow itself: devices, replicas, gradients, and the errors of its input pipeline."""

import json
import os
import re
import subprocess
from contextlib import contextmanager, suppress
from functools import lru_cache

import tensorflow as tf


def open_strategy(devices="auto"):
    """Returns the tf.distribute strategy for a `--devices` value.

    Args:
        devices: `auto` (every visible GPU, or the CPU), `gpu:N` (the first N GPUs) or `cpu:N` (N logical CPU devices,
            which share the processor: for trying out several replicas).

    Raises:
        ValueError: If the value has another form, or the machine has fewer devices.
    """
    if devices == "auto":
        kind, available = "GPU", len(tf.config.list_physical_devices("GPU"))
        count = available
    else:
        found = re.fullmatch(r"(cpu|gpu):([1-9]\d*)", devices)
        if not found:
            raise ValueError(f"--devices: expected auto, cpu:N or gpu:N; received {devices!r}")
        kind, count = found[1].upper(), int(found[2])
        available = split_processor(count) if kind == "CPU" else len(tf.config.list_physical_devices("GPU"))
    if available < count:
        raise ValueError(f"--devices: expected at most {kind.lower()}:{available} on this machine; received {devices}")
    if count > 1:
        return mirrored(tuple(f"{kind}:{index}" for index in range(count)))
    return tf.distribute.OneDeviceStrategy(f"{kind}:0") if count and devices != "auto" else tf.distribute.get_strategy()


def open_none():
    """Returns the strategy of no devices, for a backend that has its own: TensorFlow takes no memory of the GPUs."""
    with suppress(RuntimeError):  # too late: it has taken it
        tf.config.set_visible_devices([], "GPU")
    return tf.distribute.get_strategy()


@lru_cache
def mirrored(devices):
    """The strategy of several devices; in one process a second one would mix up its sums with those of the first."""
    return tf.distribute.MirroredStrategy(list(devices))


def open_hosts(hosts, index, devices="auto"):
    """Returns the strategy of several hosts that train one model, and waits until all of them are there.

    Args:
        hosts: Addresses `NAME:PORT` of all hosts, the same on each; the first is the chief.
        index: Which of them this one is.
        devices: `auto` (every GPU of this host, or its processor) or `gpu:N` (its first N GPUs).

    Raises:
        ValueError: If the devices are none of these.
        OSError: If the hosts do not find each other.
    """
    found = re.fullmatch(r"auto|gpu:([1-9]\d*)", devices)
    if not found:
        raise ValueError(f"--devices: expected auto or gpu:N with several hosts; received {devices}")
    graphics = tf.config.list_physical_devices("GPU")
    if found[1]:
        if int(found[1]) > len(graphics):
            raise ValueError(f"--devices: expected at most gpu:{len(graphics)} on this machine; received {devices}")
        tf.config.set_visible_devices(graphics[: int(found[1])], "GPU")
    task = {"cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    print(f"hosts      {len(hosts)}, this one is number {index}; waits until all of them answer", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise OSError(f"--hosts: expected {', '.join(hosts)} to find each other; received {error.message}") from error


def share_of_batch(strategy):
    """Which of equal parts of each batch this host trains on, and how many there are."""
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver else {}
    hosts = len(cluster.get("worker", ()))
    return (resolver.task_id, hosts) if hosts > 1 else (0, 1)


def on_replicas(function):
    """A compiled function that runs another on every replica of the current strategy, each with its part of a batch."""
    current = tf.distribute.get_strategy()

    @tf.autograph.experimental.do_not_convert
    def run_all(*batch):
        return current.run(function, args=(batch,))

    run = tf.function(run_all, reduce_retracing=True)
    replicas_here = current.num_replicas_in_sync // share_of_batch(current)[1]

    def run_parts(batch):
        return run(*(values_of_replicas(current, array, replicas_here) for array in batch))

    return run_parts


def summed_on_hosts(numbers):
    """An array of this host, added up over all replicas of all hosts."""
    current = tf.distribute.get_strategy()
    if share_of_batch(current)[1] == 1:
        return numbers * current.num_replicas_in_sync

    @tf.autograph.experimental.do_not_convert
    def added():
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(numbers))

    return current.experimental_local_results(tf.function(lambda: current.run(added))())[0].numpy()


def values_of_replicas(current, array, number):
    """An array cut into equal parts, one for each of a number of replicas of this host."""
    if number == 1:
        return tf.convert_to_tensor(array)
    parts = iter(tf.split(array, number))
    return current.experimental_distribute_values_from_function(lambda context: next(parts))


@contextmanager
def lost_hosts():
    """Raises as an `OSError` that another host has gone while this one waited for it.

    Raises:
        ConnectionError: With what to do.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        raise ConnectionError(
            "hosts: expected all of them to train to the end; received no answer from one: start all of them again "
            "with --resume, which goes on behind the last epoch"
        ) from error


def split_processor(count):
    """Splits the processor into logical devices, unless TensorFlow has touched it; returns how many there are."""
    processor = tf.config.list_physical_devices("CPU")[0]
    with suppress(RuntimeError):  # too late to split: what is there must do
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    return len(tf.config.list_logical_devices("CPU"))


def graphics_memory(strategy):
    """The bytes that the least of the GPUs of a strategy has free; `None` where it uses none."""
    if strategy is tf.distribute.get_strategy():  # no strategy at all: TensorFlow takes the first
        numbers = [0] if tf.config.list_physical_devices("GPU") else []
    else:
        devices = strategy.extended.worker_devices
        numbers = [int(found[1]) for device in devices if (found := re.search(r"GPU:(\d+)", device))]
    if not numbers:
        return None
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    free = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    return min(int(free[number]) for number in numbers) * 2**20


def replicas():
    """The number of devices that share a batch, also while a step is traced on one of them."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gradients(function, variables):
    """The gradients of a function's scalar value by some variables; `None` for those that it does not depend on."""
    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, [variable.value for variable in variables])


def summed(tensors):
    """Tensors added up over the replicas, called on each of them; `None` stays."""
    if replicas() == 1:
        return tensors
    sums = iter(
        tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [tensor for tensor in tensors if tensor is not None]
        )
    )
    return [tensor if tensor is None else next(sums) for tensor in tensors]


def after(earlier, tensors):
    """Tensors that are not computed with before some others are done; `None` stays."""
    with tf.control_dependencies([tensor for tensor in earlier if tensor is not None]):
        return tuple(tensor if tensor is None else tf.identity(tensor) for tensor in tensors)


def make_deterministic():
    """Makes every operation give the same result each time, also on a GPU; for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


@contextmanager
def reading_errors():
    """Raises as it was an error of ours that TensorFlow's input pipeline wrapped while a window was read.

    Raises:
        ValueError: With the message of the `ValueError` or `OSError` that was raised while reading.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"^(?:\w*: )*(ValueError|OSError|FileNotFoundError): (.+)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise ValueError(found[2]) from error


def log_picture(folder, name, path, step):
    """Adds a PNG file to TensorBoard's log in a folder."""
    with tf.summary.create_file_writer(str(folder)).as_default():
        tf.summary.image(name, tf.io.decode_png(path.read_bytes(), channels=3)[None], step=step)
