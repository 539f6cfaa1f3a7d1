"""Starting from the weights of another model: layers with the same names and shapes take them over."""

import logging
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from maskzoo.errors import MissingFile, OptionError, WeightsError

from .. import models
from ..models.heads import TRUNK
from .keras_types import load_model
from .run_folder import BEST

logger = logging.getLogger(__name__)


def take_weights(network: keras.Model, source: str | Path) -> None:
    """Copies the weights of every layer that another model has under the same name and with the same shapes.

    What was copied, and what was not, is logged.

    Args:
        network: The functional model to fill.
        source: A run folder, a `.keras` file, or a `.keras` or `.h5` file of segmentation_models.

    Raises:
        MissingFile: If there is no such file, or no best model in the folder.
        WeightsError: If the file is not a Keras model.
        OptionError: If no layer matches.
    """
    path = model_file(source)
    known = renamed(weights_by_layer(path), [layer.name for layer in network.layers if layer.weights])
    taken: list[str] = []
    left: list[str] = []
    for layer in (layer for layer in network.layers if layer.weights):
        if layer.name not in known:
            left.append(f"{layer.name} (not in the file)")
            continue
        there, here = ([tuple(w.shape) for w in side] for side in (known[layer.name], layer.weights))
        if there == here:
            layer.set_weights(known[layer.name])
            taken.append(layer.name)
        else:
            shapes = next((a, b) for a, b in zip([*there, None], [*here, None], strict=False) if a != b)
            left.append(f"{layer.name} ({shapes[0]} in the file, {shapes[1]} here)")
    if not taken:
        raise OptionError("init_from", "a model with layers of the same names and shapes", f"none in {path}")
    logger.info("init       %d of %d layers with weights from %s", len(taken), len(taken) + len(left), path)
    if left:
        logger.info("           not initialised: %s", ", ".join(left))
    if unused := sorted(known.keys() - {layer.name for layer in network.layers}):
        logger.info("           not used: %s", ", ".join(unused))


def model_file(source: str | Path) -> Path:
    """Returns the file of a model, of a run folder that of its best epoch.

    Raises:
        MissingFile: If there is none.
    """
    path = Path(source)
    path = path / BEST if path.is_dir() else path
    if not path.is_file():
        raise MissingFile(path, "a run folder or a .keras file for `init_from`", "none")
    return path


def renamed(known: dict[str, list[np.ndarray]], names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Returns weights by layer under the names of another network.

    The head of a trunk that has a side branch has a prefix, see `models.heads.TRUNK`, and without the branch has none.

    Args:
        known: Weights by the names in a file.
        names: The names of the other network's layers.
    """
    free = [name for name in names if name not in known]
    others = {name: name.removeprefix(TRUNK) if name.startswith(TRUNK) else TRUNK + name for name in free}
    taken = {other: name for name, other in others.items() if other in known and other not in names}
    return {taken.get(name, name): weights for name, weights in known.items()}


def weights_by_layer(path: Path) -> dict[str, list[np.ndarray]]:
    """Returns the weights in a model file by the names of layers; those of segmentation_models by the names of ours.

    Raises:
        WeightsError: If it is not a Keras model, or its weights are not finite.
    """
    if path.suffix == ".h5" or models.holds_segmentation_models(path):
        return models.read_segmentation_models(path)
    try:
        model = load_model(path)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(path, "a Keras model", "a file that Keras cannot load") from error
    if (broken := models.broken_weights(model)) is not None:
        raise WeightsError(path, "finite weights", broken)
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
