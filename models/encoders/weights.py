"""Weights of encoders: safetensors by their published names, Keras files, and kernels carried to other channels."""

import contextlib
import difflib
import json
import re
import urllib.error
import warnings
from pathlib import Path

import numpy as np
from keras import layers

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Keras's name of a variable -> the end of the published (PyTorch) name, and the axes that turn that tensor into ours.
PUBLISHED = {
    "kernel": (".weight", {4: (2, 3, 1, 0), 2: (1, 0)}),
    "gamma": (".weight", {}),
    "beta": (".bias", {}),
    "bias": (".bias", {}),
    "relative_position_bias_table": (".relative_position_bias_table", {}),
    "token": ("", {}),
}
DEPTHWISE = {"kernel": {4: (2, 3, 0, 1)}}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def finish_published(encoder, encoder_weights, freeze_encoder, *, prefix="", ignored="$.", optional="$."):
    """Loads the weights of an encoder whose layers carry published names, and freezes it when asked to.

    Args:
        encoder: A model whose layers are named as the published modules, `-` for `.`.
        encoder_weights: `None`, or the path of a `.safetensors` or a `.weights.h5` file.
        freeze_encoder: Whether training leaves the encoder as it is.
        prefix: Pattern of what some checkpoints put before every name.
        ignored: Pattern of published names that this encoder has no use for, such as the classifier.
        optional: Pattern of names that a published file may lack.
    """
    if encoder_weights is not None:
        if str(encoder_weights).endswith(".safetensors"):
            load_safetensors(encoder, encoder_weights, prefix=prefix, ignored=ignored, optional=optional)
        else:
            load_keras(encoder, encoder_weights, expected="None, or a .safetensors or .weights.h5 file")
    encoder.trainable = not freeze_encoder
    return encoder


def load_keras(encoder, path, *, expected):
    """Loads a `.weights.h5` file of the same encoder, or refuses `path`, saying what was expected."""
    if not str(path).endswith(".weights.h5"):
        raise ValueError(f"encoder_weights of {encoder.name}: expected {expected}; received {path}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a file with the weights of {encoder.name}; received no such file")
    try:
        with warnings.catch_warnings():
            # Keras warns of every layer that the file of another model lacks, before it raises.
            warnings.simplefilter("ignore", UserWarning)
            encoder.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected the weights of {encoder.name}; received others: {reason}") from error


def load_safetensors(encoder, path, *, prefix="", ignored="$.", optional="$."):
    """Loads published tensors into an encoder by name; see `finish_published` for the arguments.

    Raises:
        ValueError: A tensor is missing, superfluous or wrongly shaped; the message names it.
    """
    tensors = {re.sub(f"^({prefix})", "", name): tensor for name, tensor in read_safetensors(path).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not re.match(ignored, name)}
    values = []
    missing = []
    first = next(layer for layer in encoder.layers if layer.weights)
    for layer in encoder.layers:
        for variable in layer.weights:
            ending, orders = PUBLISHED[variable.name]
            if isinstance(layer, layers.DepthwiseConv2D):
                orders = DEPTHWISE.get(variable.name, orders)
            name = layer.name.replace("-", ".") + ending
            if name not in tensors:
                if not re.match(optional, name):
                    missing.append(name)
                continue
            tensor = tensors.pop(name)
            if tensor.ndim in orders:
                tensor = tensor.transpose(orders[tensor.ndim])
            if layer is first and variable.name == "kernel":
                tensor = carry_channels(tensor, variable.shape[2])
            if tensor.shape != tuple(variable.shape):
                raise ValueError(
                    f"{path}: expected tensor {name} to have {_published_shape(variable, orders)}; "
                    f"received {_shape(tensor, orders)}"
                )
            values.append((variable, tensor))
    if missing or tensors:
        raise ValueError(f"{path}: {_difference(missing, sorted(tensors))}")
    for variable, tensor in values:
        variable.assign(tensor)


def _published_shape(variable, orders):
    return _shape(np.empty(variable.shape, np.uint8), orders)


def _shape(tensor, orders):
    order = orders.get(tensor.ndim)
    return f"shape {tensor.transpose(np.argsort(order)).shape if order else tensor.shape}"


def _difference(missing, extra):
    if not missing:
        return f"expected no tensor beyond those of the encoder; received {_some(extra)}"
    nearest = difflib.get_close_matches(missing[0], extra, n=1, cutoff=0.0)
    return f"expected tensor {_some(missing)}; received none" + (f" (nearest: {nearest[0]})" if nearest else "")


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_safetensors(path):
    """Returns the float tensors of a `.safetensors` file by name: an 8-byte length, a JSON header, the raw values.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no safetensors file, or is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a safetensors file; received no such file")
    content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    length = int.from_bytes(content[:8].tobytes(), "little")
    try:
        header = json.loads(content[8 : 8 + length].tobytes())
        return {
            name: _tensor(content[8 + length :], entry)
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in DTYPES
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a safetensors file; received something else: {reason}") from error


def _tensor(values, entry):
    start, stop = entry["data_offsets"]
    tensor = np.frombuffer(values[start:stop].tobytes(), DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (tensor.astype("<u4") << 16).view("<f4")
    return tensor.astype("float32")


@contextlib.contextmanager
def downloading(name):
    """Turns whatever goes wrong while Keras downloads or opens published weights into one line."""
    try:
        yield
    except Exception as error:  # Keras raises plain exceptions for failed downloads
        if isinstance(error.__context__, urllib.error.HTTPError):
            error.__context__.close()  # Keras leaves the server's answer, and so the socket, open
        reason = " ".join(str(error).split())
        raise OSError(
            f"encoder_weights of {name}: expected ImageNet weights to download; received: {reason}"
        ) from error


def carry_channels(kernel, channels):
    """Carries a kernel `(*size, 3, filters)` for colour images to another number of input channels.

    Every channel gets the average of the three kernels, scaled so that a grey image repeated over the channels
    gives what it gave as a grey colour image.
    """
    if kernel.shape[-2] != 3 or channels == 3:
        return kernel
    return np.repeat(kernel.mean(axis=-2, keepdims=True) * (3 / channels), channels, axis=-2)


def copy_weights(published, encoder):
    """Copies weights between encoders whose layers have the same names, from 3 input channels to any number."""
    for layer in encoder.layers:
        if layer.weights:
            values = published.get_layer(layer.name).get_weights()
            layer.set_weights(
                [_carried(value, tuple(weight.shape)) for value, weight in zip(values, layer.weights, strict=True)]
            )


def _carried(value, shape):
    if value.shape == shape:
        return value
    if value.ndim == 1:
        return np.full(shape, value.mean())
    return carry_channels(value, shape[-2])


def reverse_channels(encoder):
    """Turns a first convolution that was trained on blue, green, red into one for red, green, blue."""
    first = next(layer for layer in encoder.layers if layer.weights)
    kernel, *others = first.get_weights()
    first.set_weights([kernel[..., ::-1, :], *others])


def published_range(image, image_range):
    """Takes an image standardised per channel to the range of values that published weights were trained on.

    Args:
        image: Image whose channels have about zero mean and unit variance, as ImageNet's have by its statistics.
        image_range: `"torch"`, standardised; `"tf"`, -1 to 1; `"raw"`, 0 to 255; `"caffe"`, 0 to 255 minus the mean.
    """
    if image_range == "torch":
        return image
    to_unit = np.stack([IMAGENET_STD, IMAGENET_MEAN])
    if image.shape[-1] != 3:
        to_unit = np.repeat(to_unit.mean(axis=1, keepdims=True), image.shape[-1], axis=1)
    scale, offset = {"tf": 2 * to_unit - [[0], [1]], "raw": 255 * to_unit, "caffe": 255 * to_unit * [[1], [0]]}[
        image_range
    ]
    return layers.Rescaling(scale.tolist(), offset.tolist(), name="published_range")(image)
