"""The network of a run: built, given its heads and norms, and started from the weights of another."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from .. import data, models
from .initial_weights import take_weights
from .keras_types import Tensor
from .recipe import Recipe
from .step import Regions

logger = logging.getLogger(__name__)

# Prefixes of the layers with which a builder without an `encoder` option contracts the image.
ENCODER_PREFIXES = ("encoder", "stem", "bottom", "bottleneck")
MOST_GROUPS = 32


@dataclass(frozen=True)
class ImageFacts:
    """What a network depends on of the data.

    Attributes:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: One name per output channel.
        channels: Channels of the images.
        spatial_dims: Number of their spatial axes.
    """

    task: str
    class_names: Sequence[str]
    channels: int
    spatial_dims: int

    @property
    def num_classes(self) -> int:
        """Number of output channels."""
        return len(self.class_names)


def new_network(recipe: Recipe, dataset: data.DataSet) -> keras.Model:
    """Builds the recipe's model with free spatial sizes, its heads and its norms, and gives it its first weights.

    Raises:
        OptionError: If it has several inputs, for which there are no images, no output named `mask` among several,
            or an output that is no logits.
    """
    network = assembled_network(recipe, dataset)
    if recipe.init_from:
        take_weights(network, recipe.init_from)
    return network


def assembled_network(recipe: Recipe, dataset: data.DataSet | ImageFacts, level: int = logging.INFO) -> keras.Model:
    """Builds the recipe's model: see `new_network`.

    Args:
        recipe: The recipe.
        dataset: The data, or what is known of them.
        level: Level at which it is logged that an activation is cut off.
    """
    spatial_dims = 2 if recipe.slices else dataset.spatial_dims
    input_shape = (*(None,) * spatial_dims, dataset.channels)
    if recipe.roi_classes:
        network = two_stage_network(recipe, dataset, input_shape)
    else:
        network = models.build_model(recipe.model, input_shape, dataset.num_classes, **recipe.option)
    if len(network.inputs) > 1 and not recipe.roi_classes:
        expected = "one with a single input, or `roi_classes` for its second one"
        raise OptionError("model", expected, f"{recipe.model}, which has {len(network.inputs)} inputs")
    if (logits := models.with_logits(network)) is not network:
        logger.log(level, "model      ends in an activation, which is cut off: outputs are logits")
        network = logits
    if recipe.auxiliary:
        try:
            network = models.add_auxiliary_heads(network, recipe.auxiliary, dataset.num_classes)
        except OptionError as error:
            raise OptionError("auxiliary", error.expected, error.received) from error
    if label_head_of(recipe) is not None and "label" not in network.output_names:
        kinds = dataset.num_classes - (dataset.task == "multiclass")
        network = models.add_label_head(network, kinds)
    if recipe.slices:
        network = models.inflate_25d(network, recipe.slices)
    if len(network.outputs) > 1 and not (isinstance(network.output, dict) and "mask" in network.output):
        received = f"{recipe.model}, which has {len(network.outputs)} outputs"
        raise OptionError("model", "one with an output named mask", received)
    return network if recipe.norm == "batch" else with_norms(network, recipe.norm)


def label_head_of(recipe: Recipe) -> float | None:
    """Returns the weight of the image-level output in the first stage that has one; `None` if none has."""
    return next((stage.label_head for stage in recipe.each_stage() if stage.label_head is not None), None)


def two_stage_network(
    recipe: Recipe, dataset: data.DataSet | ImageFacts, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """Builds a model with two inputs, for large classes and small ones.

    Raises:
        OptionError: If the recipe asks for what only models with one input have.
    """
    regions = regions_of(recipe, dataset)
    assert regions is not None  # since the recipe has `roi_classes`
    others = [name for name in ("slices", "auxiliary", "class_weights") if getattr(recipe, name)]
    if (weight := label_head_of(recipe)) is not None:
        raise OptionError("label_head", "none together with `roi_classes`", weight)
    if others:
        raise OptionError(others[0], "none together with `roi_classes`", getattr(recipe, others[0]))
    if "fine_classes" not in models.model_options(recipe.model):
        expected = "one with two inputs, such as fine_grained_unet, which `roi_classes` needs"
        raise OptionError("model", expected, recipe.model)
    large, fine = len(regions.large), len(regions.fine)
    return models.build_model(recipe.model, input_shape, large, fine_classes=fine, **recipe.option)


def regions_of(recipe: Recipe, dataset: data.DataSet | ImageFacts) -> Regions | None:
    """Returns how the classes are divided between the whole image and a region; `None` without `roi_classes`.

    Raises:
        OptionError: If these are not some, but not all, of the classes of a multilabel task in 2D.
    """
    if not recipe.roi_classes:
        return None
    names = dataset.class_names
    if dataset.task != "multilabel" or dataset.spatial_dims != 2:
        received = f"{dataset.task} in {dataset.spatial_dims}D"
        raise OptionError("task", "multilabel in 2D, which `roi_classes` needs", received)
    if not set(recipe.roi_classes) < set(names):
        raise OptionError("roi_classes", f"some of {', '.join(names)}, but not all", ", ".join(recipe.roi_classes))
    return Regions(
        large=[number for number, name in enumerate(names) if name not in recipe.roi_classes],
        fine=[number for number, name in enumerate(names) if name in recipe.roi_classes],
        region=recipe.region,
    )


def with_norms(network: keras.Model, norm: str) -> keras.Model:
    """Returns a copy of a network with other norms in place of batch norms.

    All weights are copied that have a place there: a group norm keeps scale and shift, not the statistics.

    Args:
        network: The network.
        norm: `sync`: batch norms with statistics over all devices; `group`: group norms.
    """

    def changed(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            return with_norms(layer, norm)
        if not isinstance(layer, layers.BatchNormalization):
            return layer.__class__.from_config(layer.get_config())
        config = layer.get_config()
        if norm == "sync":
            return layers.BatchNormalization.from_config(config | {"synchronized": True})
        names = ("name", "trainable", "dtype", "epsilon", "center", "scale")
        x: Any = layer.input  # a batch norm has one
        channels = x.shape[layer.axis]
        groups = math.gcd(channels, MOST_GROUPS)
        return layers.GroupNormalization(groups, axis=layer.axis, **{name: config[name] for name in names})

    # The arguments that the layer was called with in the graph.
    def called(layer: keras.Layer, *args: Any, mask: Tensor = None, **kwargs: Any) -> Tensor:
        return layer(*args, **kwargs)  # a group norm accepts no masks

    copy = keras.models.clone_model(network, clone_function=changed, call_function=called)
    for layer in (layer for layer in network.layers if layer.weights and not isinstance(layer, keras.Model)):
        weights, places = layer.get_weights(), copy.get_layer(layer.name).weights
        copy.get_layer(layer.name).set_weights(weights[: len(places)])
    return copy


def encoder_layers(network: keras.Model, recipe: Recipe) -> list[keras.Layer]:
    """Returns the trainable layers of a network's encoder, found by its `encoder` option or by their names.

    Raises:
        OptionError: If the encoder cannot be told from the rest of the network.
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
        expected = "one whose layers name an encoder, which `freeze_encoder_epochs` and `encoder_learning_rate` need"
        raise OptionError("model", expected, recipe.model)
    return found
