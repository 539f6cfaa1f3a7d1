"""Weights of encoders from files of Keras: the `.h5` that keras.applications downloads, and `.weights.h5`."""

import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import tree

from maskzoo.errors import MissingFile, OptionError, WeightsError, readable

from ..finite import broken_weights
from .channels import copy_weights

# Layers of keras.applications in front of the network, which our encoders do without.
PREPROCESSING = ("normalization", "rescaling")


def is_published(path: object) -> bool:
    """Returns whether weights are a file as keras.applications publishes them: `.h5`, but not `.weights.h5`."""
    return str(path).endswith(".h5") and not str(path).endswith(".weights.h5")


def load_keras(encoder: keras.Model, path: str | os.PathLike[str], *, expected: str) -> None:
    """Loads a `.weights.h5` file of the same encoder, or of one for three channels, or refuses `path`.

    Args:
        encoder: The encoder.
        path: The file.
        expected: What `encoder_weights` may be, for the message.

    Raises:
        OptionError: The path has another suffix.
        MissingFile: There is no such file.
        WeightsError: The file holds other weights, or some that are not finite.
    """
    if not str(path).endswith(".weights.h5"):
        raise OptionError(f"encoder_weights of {encoder.name}", expected, path)
    if not Path(path).is_file():
        raise MissingFile(path, f"a file with the weights of {encoder.name}", "no such file")
    try:
        _load(encoder, path)
    except (ValueError, OSError, KeyError) as error:
        height, width, channels = encoder.inputs[0].shape[1:]
        if channels == 3 or not _for_colours(encoder, path, (height, width, 3)):
            reason = " ".join(str(error).split())
            raise WeightsError(path, f"the weights of {encoder.name}", f"others: {reason}") from error
    _check_finite(encoder, path)


def _check_finite(network: keras.Model, path: str | os.PathLike[str]) -> None:
    if (broken := broken_weights(network)) is not None:
        raise WeightsError(path, "finite weights", broken)


def _for_colours(encoder: keras.Model, path: str | os.PathLike[str], shape: tuple[int | None, ...]) -> bool:
    """Loads the weights of the same encoder for three channels, if the file holds these; returns whether it does."""
    image = keras.Input(shape)
    colours = keras.models.clone_model(encoder, input_tensors=tree.map_structure(lambda _: image, encoder.input))
    try:
        _load(colours, path)
    except (ValueError, OSError, KeyError):
        return False
    copy_weights(colours, encoder)
    return True


def _load(encoder: keras.Model, path: str | os.PathLike[str]) -> None:
    with warnings.catch_warnings():
        # Keras warns of every layer that the file of another model lacks, before it raises.
        warnings.simplefilter("ignore", UserWarning)
        encoder.load_weights(path)


def load_published(network: keras.Model, path: str | os.PathLike[str], name: str) -> None:
    """Loads a `.h5` file that keras.applications downloads, with or without its classifier.

    Layers are found by their names in the file or, where these were counted, by their order.

    Args:
        network: The network for three channels, without preprocessing.
        path: The file.
        name: The encoder's name, for the message.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file holds other weights, some that are not finite, or is none of this kind.
    """
    given = published_layers(path)
    own = [layer for layer in network.layers if layer.weights]
    known = dict(given)
    in_order = [weights for layer, weights in given if not layer.startswith(PREPROCESSING)]
    if all(layer.name in known for layer in own):
        pairs = [(layer, known[layer.name]) for layer in own]
    elif len(in_order) < len(own):
        received = f"{len(in_order)} layers with weights, {', '.join(list(known)[:3])}, ..."
        raise WeightsError(path, f"the {len(own)} layers of {name}", received)
    else:
        pairs = list(zip(own, in_order, strict=False))
    for layer, weights in pairs:
        expected, received = [tuple(w.shape) for w in layer.weights], [w.shape for w in weights]
        if expected != received:
            raise WeightsError(path, f"shapes {expected} for the layer {layer.name} of {name}", received)
    for layer, weights in pairs:
        layer.set_weights(weights)
    _check_finite(network, path)


def published_layers(path: str | os.PathLike[str]) -> list[tuple[str, list[np.ndarray]]]:
    """Returns the layers of a `.h5` file of Keras that have weights, in their order, and these.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is none of this kind.
    """
    if not Path(path).is_file():
        raise MissingFile(path, "a .h5 file of Keras", "no such file")
    with readable(path, "weights as keras.applications publishes them", WeightsError), h5py.File(path) as file:
        # Types of h5py cannot say which items are groups themselves.
        root: Any = file["model_weights"] if "layer_names" not in file.attrs and "model_weights" in file else file
        found: list[tuple[str, list[np.ndarray]]] = []
        for layer in map(_text, root.attrs["layer_names"]):
            weights = [np.asarray(root[layer][_text(weight)]) for weight in root[layer].attrs["weight_names"]]
            if weights:
                found.append((layer, weights))
        return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
