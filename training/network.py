"""The network of a run: built, given its heads and norms, and started from the weights of another."""

import math
from pathlib import Path

import keras
import numpy as np
from keras import layers

from maskzoo.errors import WeightsError

from .. import models
from .run_folder import BEST

# How the layers are called that a builder without an `encoder` option contracts the image with.
ENCODER_PREFIXES = ("encoder", "stem", "bottom", "bottleneck")
MOST_GROUPS = 32


def new_network(recipe, dataset):
    """Builds the recipe's model with free spatial sizes, its heads and its norms.

    Raises:
        ValueError: If it has several inputs, for which there are no images, or no output named `mask` among several.
    """
    spatial_dims = 2 if recipe.slices else dataset.spatial_dims
    input_shape = (*(None,) * spatial_dims, dataset.channels)
    if recipe.roi_classes:
        network = fine_network(recipe, dataset, input_shape)
    else:
        network = models.build_model(recipe.model, input_shape, dataset.num_classes, **recipe.option)
    if len(network.inputs) > 1 and not recipe.roi_classes:
        raise ValueError(
            f"--model: expected one with a single input, or --roi-classes for a region of it; "
            f"received {recipe.model}, with {len(network.inputs)}"
        )
    network = with_logits(network)
    if recipe.auxiliary:
        network = models.add_auxiliary_heads(network, recipe.auxiliary, dataset.num_classes)
    if recipe.label_head and "label" not in network.output_names:
        kinds = dataset.num_classes - (dataset.task == "multiclass")
        network = models.add_label_head(network, kinds)
    if recipe.slices:
        network = models.inflate_25d(network, recipe.slices)
    if len(network.outputs) > 1 and not (isinstance(network.output, dict) and "mask" in network.output):
        raise ValueError(
            f"--model: expected a dict of outputs with a mask among them; received {recipe.model}, with "
            f"{len(network.outputs)} outputs"
        )
    network = network if recipe.norm == "batch" else with_norms(network, recipe.norm)
    if recipe.init_from:
        print(take_weights(network, recipe.init_from))
    return network


def fine_network(recipe, dataset, input_shape):
    """Builds a model of two images for large classes and tiny ones.

    Raises:
        ValueError: If the recipe asks for what only models of one image have.
    """
    regions = regions_of(recipe, dataset)
    others = [name for name in ("slices", "auxiliary", "label_head", "class_weights") if getattr(recipe, name)]
    if others:
        raise ValueError(f"--roi-classes: expected no --{others[0].replace('_', '-')} beside it; received one")
    if "fine_classes" not in models.model_options(recipe.model):
        raise ValueError(
            f"--roi-classes: expected a model of two images, such as fine_grained_unet; received {recipe.model}"
        )
    large, fine = len(regions["large"]), len(regions["fine"])
    return models.build_model(recipe.model, input_shape, large, fine_classes=fine, **recipe.option)


def regions_of(recipe, dataset):
    """What `models.cut_regions` and `models.two_stage` are told: the numbers of large and tiny classes, and the region.

    Returns:
        A dict, or `None` where there are no tiny classes.

    Raises:
        ValueError: If the tiny classes are not some, and not all, of the classes of a multilabel task in 2D.
    """
    if not recipe.roi_classes:
        return None
    names = dataset.class_names
    if dataset.task != "multilabel" or dataset.spatial_dims != 2:
        raise ValueError(
            f"--roi-classes: expected a multilabel task in 2D; received {dataset.task} in {dataset.spatial_dims}D"
        )
    if not set(recipe.roi_classes) < set(names):
        raise ValueError(
            f"--roi-classes: expected some of {', '.join(names)}, but not all; received {', '.join(recipe.roi_classes)}"
        )
    return {
        "large": [number for number, name in enumerate(names) if name not in recipe.roi_classes],
        "fine": [number for number, name in enumerate(names) if name in recipe.roi_classes],
        "region": recipe.region,
    }


def with_logits(network):
    """A network whose outputs of values between 0 and 1, such as attention maps, are the logits of these."""
    if not isinstance(network.output, dict):
        return network

    def before_sigmoid(x):
        layer = models.analysis.layer_behind(x)
        is_sigmoid = isinstance(layer, layers.Activation) and layer.activation is keras.activations.sigmoid
        return layer.input if is_sigmoid else x

    outputs = {name: before_sigmoid(x) for name, x in network.output.items()}
    return keras.Model(network.input, outputs, name=network.name)


def with_norms(network, norm):
    """A copy of a network whose batch norms have statistics over all devices (`sync`) or are group norms (`group`).

    All weights are copied that have a place there: a group norm keeps scale and shift, not the statistics.
    """

    def changed(layer):
        if isinstance(layer, keras.Model):
            return with_norms(layer, norm)
        if not isinstance(layer, layers.BatchNormalization):
            return layer.__class__.from_config(layer.get_config())
        config = layer.get_config()
        if norm == "sync":
            return layers.BatchNormalization.from_config(config | {"synchronized": True})
        names = ("name", "trainable", "dtype", "epsilon", "center", "scale")
        channels = layer.input.shape[layer.axis]
        groups = math.gcd(channels, MOST_GROUPS)
        return layers.GroupNormalization(groups, axis=layer.axis, **{name: config[name] for name in names})

    def called(layer, *args, mask=None, **kwargs):
        return layer(*args, **kwargs)  # a group norm knows no masks

    copy = keras.models.clone_model(network, clone_function=changed, call_function=called)
    for layer in (layer for layer in network.layers if layer.weights and not isinstance(layer, keras.Model)):
        weights, places = layer.get_weights(), copy.get_layer(layer.name).weights
        copy.get_layer(layer.name).set_weights(weights[: len(places)])
    return copy


def encoder_layers(network, recipe):
    """The layers of a network's encoder that can be trained: those of its `encoder` option, or those called so.

    Raises:
        ValueError: If the network has no encoder that can be told from the rest.
    """
    options = {**models.model_options(recipe.model), **recipe.option}
    if isinstance(options.get("encoder"), str):
        encoder = models.build_encoder(options["encoder"], (None, None, 3))
        names = {layer.name for layer in encoder.layers}
        found = [layer for layer in network.layers if layer.name in names]
    else:
        found = [layer for layer in network.layers if layer.name.startswith(ENCODER_PREFIXES)]
    found = [layer for layer in found if layer.trainable_variables]
    if not found:
        raise ValueError(
            "--freeze-encoder-epochs, --encoder-learning-rate: expected a model with an encoder to train; received "
            f"{recipe.model}, whose layers are called otherwise"
        )
    return found


def take_weights(network, source):
    """Copies the weights of every layer that another model has under the same name and of the same shapes.

    Args:
        network: The functional model to fill.
        source: A run folder, a `.keras` file, or a `.keras` or `.h5` file of segmentation_models.

    Returns:
        A report of a few lines: how many layers were filled, and which were not.

    Raises:
        FileNotFoundError: If there is no such file, or no best model in the folder.
        ValueError: If no layer fits.
    """
    path = Path(source)
    path = path / BEST if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"--init-from: expected a run folder or a .keras file; received {source}")
    known = weights_by_layer(path)
    taken, left = [], []
    for layer in (layer for layer in network.layers if layer.weights):
        if layer.name not in known:
            left.append(f"{layer.name} (not there)")
            continue
        there, here = ([tuple(w.shape) for w in side] for side in (known[layer.name], layer.weights))
        if there == here:
            layer.set_weights(known[layer.name])
            taken.append(layer.name)
        else:
            shapes = next((a, b) for a, b in zip([*there, None], [*here, None], strict=False) if a != b)
            left.append(f"{layer.name} ({shapes[0]} there, {shapes[1]} here)")
    if not taken:
        raise ValueError(f"--init-from: expected layers of the same names and shapes in {path}; received none")
    unused = sorted(known.keys() - {layer.name for layer in network.layers})
    report = [f"start      {len(taken)} of {len(taken) + len(left)} layers with weights from {path}"]
    report += [f"           new here: {', '.join(left)}"] if left else []
    report += [f"           unused of it: {', '.join(unused)}"] if unused else []
    return "\n".join(report)


def weights_by_layer(path: Path) -> dict[str, list[np.ndarray]]:
    """Returns the weights of a model file by the names of layers; those of segmentation_models by the names of ours.

    Raises:
        WeightsError: The file is no Keras model that can be read.
    """
    if path.suffix == ".h5" or models.holds_segmentation_models(path):
        return models.read_segmentation_models(path)
    try:
        other = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(path, "a Keras model that can be read", " ".join(str(error).split())) from error
    return {layer.name: layer.get_weights() for layer in other.layers if layer.weights}
