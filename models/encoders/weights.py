"""Weights of encoders by their published names: safetensors, files of PyTorch; ranges of images."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers
from safetensors import SafetensorError, safe_open

from maskzoo.errors import MissingFile, WeightsError
from maskzoo.names import nearest_name

from ..blocks import Tensor
from ..registry import EncoderWeights
from .addresses import download
from .channels import carry_channels
from .keras_files import load_keras
from .pickled_tensors import read_pickled

# Files that PyTorch saves.
PICKLED = (".pth", ".pt", ".bin")
TORCH_SUFFIXES = (".safetensors", *PICKLED)
# From tensors by the names of a file to tensors by the published names.
Rename = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
# NumPy has no bfloat16: safetensors returns the one of `ml_dtypes`, which comes with Keras.
FLOATS = ("F64", "F32", "F16", "BF16")
# Keras's name of a variable -> the end of the published (PyTorch) name, and the axes that turn that tensor into ours.
PUBLISHED: dict[str, tuple[str, dict[int, tuple[int, ...]]]] = {
    "kernel": (".weight", {4: (2, 3, 1, 0), 2: (1, 0)}),
    "gamma": (".weight", {}),
    "beta": (".bias", {}),
    "bias": (".bias", {}),
    "relative_position_bias_table": (".relative_position_bias_table", {}),
    "table": ("", {}),
    "token": ("", {}),
    "moving_mean": (".running_mean", {}),
    "moving_variance": (".running_var", {}),
}
DEPTHWISE: dict[str, dict[int, tuple[int, ...]]] = {"kernel": {4: (2, 3, 0, 1)}}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def finish_published(
    encoder: keras.Model,
    encoder_weights: EncoderWeights,
    freeze_encoder: bool,
    *,
    prefix: str = "",
    ignored: str = "$.",
    optional: str = "$.",
    renamed: Rename = dict,
) -> keras.Model:
    """Loads the weights of an encoder whose layers carry published names, and freezes it when asked to.

    Args:
        encoder: A model whose layers are named as the published modules, `-` for `.`.
        encoder_weights: `None`, `"imagenet"` (downloaded), or the path of a `.safetensors`, `.pth`, `.pt`, `.bin` or
            `.weights.h5` file.
        freeze_encoder: Whether training leaves the encoder as it is.
        prefix: Pattern of what some checkpoints put before every name.
        ignored: Pattern of published names that this encoder has no use for, such as the classifier.
        optional: Pattern of names that a published file may lack.
        renamed: Function that brings tensors of other code bases to the published names.
    """
    if encoder_weights == "imagenet":
        encoder_weights = download(encoder.name)
    if encoder_weights is not None:
        if is_torch_file(encoder_weights):
            load_tensors(encoder, encoder_weights, prefix=prefix, ignored=ignored, optional=optional, renamed=renamed)
        else:
            expected = f'None, "imagenet", or a .safetensors, {", ".join(PICKLED)} or .weights.h5 file'
            load_keras(encoder, encoder_weights, expected=expected)
    encoder.trainable = not freeze_encoder
    return encoder


def load_tensors(
    encoder: keras.Model,
    path: str | os.PathLike[str],
    *,
    prefix: str = "",
    ignored: str = "$.",
    optional: str = "$.",
    renamed: Rename = dict,
) -> None:
    """Loads published tensors into an encoder by name; see `finish_published` for the other arguments.

    Args:
        encoder: The encoder.
        path: A `.safetensors` file, or one that PyTorch saved.

    Raises:
        WeightsError: A tensor is missing, superfluous or wrongly shaped; the message names it.
    """

    def published(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {re.sub(f"^({prefix})", "", name): tensor for name, tensor in renamed(tensors).items()}
        return {name: tensor for name, tensor in found.items() if not re.match(ignored, name)}

    given = read_tensors(path)
    # Errors name tensors as the file does.
    told = {id(tensor): name for name, tensor in given.items()}
    names = {layer.name: layer.name.replace("-", ".") for layer in weighted_layers(encoder)}
    tensors = published(part_for(list(names.values()), given, published, path))
    assign_tensors(encoder, path, tensors, names, optional=optional, told=told)


def part_for(
    modules: Sequence[str], given: Mapping[str, np.ndarray], published: Rename, path: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    """Returns the tensors of an encoder in a file of a whole model, or of a training, by what follows their prefix.

    Args:
        modules: Published names of the encoder's modules.
        given: All tensors of the file by name.
        published: Brings tensors to the published names.
        path: The file, for messages.

    Raises:
        WeightsError: The file has several such encoders.
    """
    parts: dict[str, dict[str, np.ndarray]] = {"": dict(given)}
    for name, tensor in given.items():
        for dot in re.finditer(r"\.", name):
            parts.setdefault(name[: dot.end()], {})[name[dot.end() :]] = tensor
    wanted = set(modules)
    found: dict[str, int] = {}
    for start, tensors in parts.items():
        if not start or 2 * len(tensors) >= len(wanted):
            found[start] = len(wanted & {name.rpartition(".")[0] for name in published(tensors)})
    # Of prefixes of which one begins with the other the longer one: what lies beside it is no part of the encoder.
    best = [start for start, number in found.items() if number == max(found.values())]
    longest = max(best, key=len)
    others = [start for start in best if not longest.startswith(start)]
    if others and found[longest]:
        raise WeightsError(path, "the tensors of one encoder", f"those of several: {_some([longest, *others])}")
    return parts[longest if found[longest] else ""]


def assign_tensors(
    encoder: keras.Model,
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    *,
    optional: str = "$.",
    told: Mapping[int, str] | None = None,
) -> None:
    """Puts tensors into the layers of an encoder, all or none.

    Args:
        encoder: The encoder.
        path: Their file, for messages.
        tensors: The tensors by name.
        names: The names of the layers' modules.
        optional: Pattern of names that may be missing.
        told: What a tensor, known by its `id`, is called in messages, if not by its name.

    Raises:
        WeightsError: A tensor is missing, superfluous, wrongly shaped or not finite; the message names it.
    """
    left = dict(tensors)
    values: list[tuple[keras.Variable, np.ndarray]] = []
    missing: list[str] = []
    found = weighted_layers(encoder)
    for layer in found:
        for variable in layer.weights:
            is_scale = type(layer).__name__ == "LayerScale"
            ending, orders = ("", {}) if is_scale else PUBLISHED[variable.name]
            if isinstance(layer, layers.DepthwiseConv2D):
                orders = DEPTHWISE.get(variable.name, orders)
            name = names[layer.name] + ending
            if name not in left:
                if not re.match(optional, name):
                    missing.append(name)
                continue
            tensor = given = left.pop(name)
            if not np.isfinite(given).all():
                name = (told or {}).get(id(given), name)
                raise WeightsError(path, "finite weights", f"NaN or infinity in {name}")
            order = orders.get(tensor.ndim)
            if order:
                tensor = tensor.transpose(order)
            if layer is found[0] and variable.name == "kernel":
                tensor = carry_channels(tensor, variable.shape[2])
            if _without_ones(tensor.shape) == _without_ones(variable.shape):
                # Some keep dense layers as convolutions of size 1, and factors of channels as (channels, 1, 1).
                tensor = tensor.reshape(variable.shape)
            if tensor.shape != tuple(variable.shape):
                expected = _shape(variable.shape, orders.get(len(variable.shape)))
                name = (told or {}).get(id(given), name)
                raise WeightsError(path, f"tensor {name} to have {expected}", _shape(given.shape, None))
            values.append((variable, tensor))
    if missing:
        near = nearest_name(missing[0], left)
        raise WeightsError(path, f"tensor {_some(missing)}", "none" + (f" (nearest: {near})" if near else ""))
    if left:
        superfluous = sorted((told or {}).get(id(tensor), name) for name, tensor in left.items())
        raise WeightsError(path, "no tensor beyond those of the encoder", _some(superfluous))
    for variable, tensor in values:
        variable.assign(tensor)


def weighted_layers(encoder: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a model that have weights, in the order of its graph, and those inside of its layers."""
    found: list[keras.layers.Layer] = []
    for layer in encoder.layers:
        if layer.weights:
            found += weighted_layers(layer) if isinstance(layer, keras.Sequential) else [layer]
    return found


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the floating-point tensors of a `.safetensors` file, or of one that PyTorch saved, by name, as float32.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is of another kind.
    """
    return read_safetensors(path) if str(path).endswith(".safetensors") else read_pickled(Path(path))


def is_torch_file(path: object) -> bool:
    """Returns whether weights are a file of tensors with published names, by its suffix."""
    return str(path).endswith(TORCH_SUFFIXES)


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _shape(shape: Sequence[int], order: tuple[int, ...] | None) -> str:
    """Describes the shape of one of our tensors in the published order of axes."""
    published = tuple(shape[axis] for axis in np.argsort(order)) if order else tuple(shape)
    return f"shape {published}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the floating-point tensors of a `.safetensors` file by name, as float32.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is no safetensors file, or is cut short.
    """
    if not Path(path).is_file():
        raise MissingFile(path, "a safetensors file", "no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if file.get_slice(name).get_dtype() in FLOATS]  # noqa: SIM118
            return {name: file.get_tensor(name).astype("float32") for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(path, "a safetensors file", f"something else: {reason}") from error


def published_range(image: Tensor, image_range: str) -> Tensor:
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
