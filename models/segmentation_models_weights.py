"""Reads whole models that were trained with segmentation_models 1.0.1, under the names of our layers."""

import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import h5py
import keras
import numpy as np

from maskzoo.errors import MissingFile, WeightsError, readable

from .encoders.inception import stable_names

SUFFIXES = (".h5", ".keras")
# Any: types of h5py cannot say which items of a group are groups themselves.
Group = Any


def load_segmentation_models(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Gives a model all its weights from a file of segmentation_models.

    The model is `backbone_unet`, `fpn`, `linknet` or `pspnet` with the options that the file's was built with, over the
    encoder that segmentation_models calls alike: `resnet18`, `resnet34`, `vgg16`, `vgg19`, `mobilenet`, `inceptionv3`
    and `inceptionresnetv2`; for its `mobilenetv2` and `efficientnetb0` to `efficientnetb7`, ours whose names end in
    `_expanded`. Its FPN and PSPNet need the same options too. Its other ResNets are not those of keras.applications.

    Args:
        model: A functional model.
        path: A `.keras` or `.h5` file of the whole model or, `.h5`, of its weights.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is of another kind, or the model is built otherwise.
    """
    given = read_segmentation_models(path)
    own = {layer.name: layer for layer in model.layers if layer.weights}
    if missing := [name for name in own if name not in given]:
        raise WeightsError(path, f"weights for the layer {missing[0]} of {model.name}", "none")
    if extra := [name for name in given if name not in own]:
        raise WeightsError(path, f"no weights beyond those of {model.name}", f"some for {extra[0]}")
    for name, layer in own.items():
        expected, received = ([tuple(x.shape) for x in side] for side in (layer.weights, given[name]))
        if expected != received:
            raise WeightsError(path, f"shapes {expected} for the layer {name}", received)
    for name, layer in own.items():
        layer.set_weights(given[name])


def read_segmentation_models(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """Returns the weights of a model of segmentation_models by the names that our model gives to the same layers.

    Args:
        path: A `.keras` or `.h5` file of the whole model or, `.h5`, of its weights.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is of another kind.
    """
    weights = named_weights(path)
    if not is_segmentation_models(weights):
        raise WeightsError(path, "a model of segmentation_models", "a file without the layers of its decoders")
    names = translated(weights)
    return {names[name]: values for name, values in weights.items()}


def holds_segmentation_models(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file holds a model of segmentation_models, as far as it can be read."""
    try:
        return is_segmentation_models(named_weights(path, names_only=True))
    except (MissingFile, WeightsError):
        return False


def is_segmentation_models(names: Iterable[str]) -> bool:
    """Returns whether layers have the names of a U-Net, LinkNet, FPN or PSPNet of segmentation_models."""
    return not {"decoder_stage0a_conv", "decoder_stage0a_transpose", "fpn_stage_p5_conv", "psp_level1_conv"}.isdisjoint(
        names
    )


def translated(names: Iterable[str]) -> dict[str, str]:
    """Returns our names for the layers of one model of segmentation_models."""
    names = list(names)
    unnamed = stable_names(names)
    renamed = {name: name for name in names} | unnamed
    if "decoder_stage0c_conv" in names:
        renamed |= {name: _of_linknet(name) for name in names if name.startswith("decoder_")}
        # Its head has no name either; it is the last convolution that was made.
        heads = [name for name, ours in unnamed.items() if re.fullmatch(r"conv\d+", ours)]
        renamed |= dict.fromkeys(heads[-1:], "mask")
    else:
        transposed = "decoder_stage0a_transpose" in names
        renamed |= {name: _of_unet(name, transposed) for name in names if name.startswith("decoder_")}
    head = "mask_logits" if "psp_level1_conv" in names else "mask"
    patterns = (
        (r"center_block1_(\w+)", r"centera_\1"),
        (r"center_block2_(\w+)", r"centerb_\1"),
        (r"fpn_stage_p5_pre_conv", "top"),
        (r"fpn_stage_p(\d)_conv", lambda found: f"lateral{_stride(found[1])}"),
        (r"segm_stage(\d)([ab])_(\w+)", lambda found: f"level{_stride(found[1])}{found[2]}_{found[3]}"),
        (r"final_stage_(\w+)", r"final_\1"),
        (r"psp_level(\d)_(\w+)", r"pyramid\1_\2"),
        (r"aggregation_(\w+)", r"aggregate_\1"),
        (r"(final|head)_conv", head),
    )
    for name in names:
        for pattern, ours in patterns:
            if re.fullmatch(pattern, name):
                renamed[name] = re.sub(pattern, ours, name)
    return renamed


def _stride(level: str) -> int:
    """The stride of the encoder's features that enter a level of the pyramid: 16 at the coarsest, called 5."""
    return 2 ** (int(level) - 1)


def _of_unet(name: str, transposed: bool) -> str:
    if transposed:
        name = re.sub(r"(stage\d)a_bn", r"\1_up_bn", name)
    return re.sub(r"decoder_stage(\d)", r"decoder\1", name.replace("a_transpose", "_up"))


def _of_linknet(name: str) -> str:
    name = re.sub(r"decoder_stage(\d)", lambda found: f"decoder{16 >> int(found[1])}", name)
    return name.replace("_transpose", "_up")


def named_weights(path: str | os.PathLike[str], *, names_only: bool = False) -> dict[str, list[np.ndarray]]:
    """Returns the weights of the layers of a Keras file by the layers' names, without building the model.

    Args:
        path: A `.keras` file; a `.h5` file of a whole model or of weights, of Keras 2 or 3.
        names_only: Leaves the lists of weights empty.

    Raises:
        MissingFile: There is no such file.
        WeightsError: The file is damaged or of another kind, or does not name the layers, as files of Keras before 3.9.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WeightsError(path, f"a file that ends in {' or '.join(SUFFIXES)}", path.suffix or "no suffix")
    if not path.is_file():
        raise MissingFile(path, f"a {' or '.join(SUFFIXES)} file", "no such file")
    with readable(path, "weights of a Keras model, with the names of its layers", WeightsError):
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
                return _read(file, names_only)
        return _read(path, names_only)


def _read(source: Path | IO[bytes], names_only: bool) -> dict[str, list[np.ndarray]]:
    with h5py.File(source, "r") as file:
        root: Group = file
        if "layers" in root:
            return _weights_of_keras_3(root["layers"], names_only)
        return _weights_of_keras_2(root.get("model_weights", root), names_only)


def _weights_of_keras_3(layers: Group, names_only: bool) -> dict[str, list[np.ndarray]]:
    found = {}
    for key, group in layers.items():
        variables = group.get("vars", {})
        if len(variables):
            name = group["vars"].attrs.get("name", group.attrs.get("name"))
            if name is None:
                raise ValueError(f"layer {key} has no name")
            indices = () if names_only else range(len(variables))
            found[str(name)] = [np.asarray(variables[str(index)]) for index in indices]
    return found


def _weights_of_keras_2(layers: Group, names_only: bool) -> dict[str, list[np.ndarray]]:
    found = {}
    for name in _texts(layers, "layer_names"):
        weights = _texts(layers[name], "weight_names")
        if weights:
            found[name] = [] if names_only else [np.asarray(layers[name][weight]) for weight in weights]
    return found


def _texts(group: Group, attribute: str) -> list[str]:
    """Returns a list of texts among a group's attributes, which Keras cuts into parts where it is long."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    if not parts:
        raise KeyError(attribute)
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in part]
