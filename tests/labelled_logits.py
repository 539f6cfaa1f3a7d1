"""Random labels and logits of a task, and what a loss makes of them."""

import keras
import numpy as np
import tensorflow as tf


def logit(p):
    return np.log(p / (1 - p))


def sample(task, shape, seed=0, classes=3):
    """Random labels and logits of a task; shape is `(batch, *spatial)`."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(*shape, 1 if task == "binary" else classes))
    labels = rng.integers(0, classes, shape) if task == "multiclass" else rng.integers(0, 2, logits.shape)
    return labels.astype("float64"), logits


def value_and_gradient(loss, labels, logits):
    """The value of a loss, and its gradient by the logits."""
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return float(value), tf.cast(tape.gradient(value, logits), "float64").numpy()


def tiny_model():
    """A convolution of the same weights at every call."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))


def image_and_labels(batch=8):
    """An image for `tiny_model`, and a mask that it can learn."""
    image = np.random.default_rng(0).normal(size=(batch, 8, 8, 1)).astype("float32")
    return image, (image > 0).astype("uint8")


def mirrored():
    """A strategy of two devices. It reduces without collectives, whose keys would collide within one process."""
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)
