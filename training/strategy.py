"""What training needs of TensorFlow itself: devices, replicas, gradients, and the errors of its input pipeline."""

import re
from contextlib import contextmanager, suppress

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
        return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)])
    return tf.distribute.OneDeviceStrategy(f"{kind}:0") if count and devices != "auto" else tf.distribute.get_strategy()


def split_processor(count):
    """Splits the processor into logical devices, unless TensorFlow has touched it; returns how many there are."""
    processor = tf.config.list_physical_devices("CPU")[0]
    with suppress(RuntimeError):  # too late to split: what is there must do
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    return len(tf.config.list_logical_devices("CPU"))


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
