"""What can be known of a training without its images, and is refused before these are read and measured."""

import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import keras

from maskzoo.errors import MissingFile, OptionError
from maskzoo.names import one_of

from .. import data, losses, models
from ..data.augmentation.mixing import check_mix
from ..data.augmentation.transforms import Augmentation
from ..data.sampling.places import require_names
from ..models import analysis
from .initial_weights import model_file
from .network import ImageFacts, assembled_network, encoder_layers
from .options import Value
from .recipe import Recipe
from .run_folder import LAST
from .selection import trains_mask
from .session import DEFAULT_LOSS
from .step import Objective
from .windows import input_patch

# The smallest windows of a model may be so many times as long as the largest volume, which is mirrored to fill them.
MOST_MIRRORED = 2

Result = TypeVar("Result")


class EarlyChecks:
    """Refuses, before the images are read, what does not fit the model, the task or the axes.

    The model is built once more for that, for one channel and one class, if there is anything to learn from it.

    Args:
        recipe: The recipe.
        spec: The data set.
        spatial_dims: Number of spatial axes of its images.
    """

    def __init__(self, recipe: Recipe, spec: data.DataSpec, spatial_dims: int) -> None:
        self.recipe, self.spec, self.spatial_dims = recipe, spec, spatial_dims
        self.stages = recipe.each_stage()
        self._network: keras.Model | None = None

    @property
    def network(self) -> keras.Model:
        """The model, without weights from files."""
        if self._network is None:
            recipe = replace(self.recipe, option=without_weights(self.recipe.option))
            facts = ImageFacts("binary", ["any"], 1, self.spatial_dims)
            if recipe.roi_classes:
                names = list(self.spec.classes or [*recipe.roi_classes, "any"])
                facts = replace(facts, task=self.spec.task or "multilabel", class_names=names)
            self._network = apart(lambda: assembled_network(recipe, facts, logging.DEBUG))
        return self._network

    def run(self) -> None:
        """Makes all of them.

        Raises:
            OptionError: If an option does not fit the others.
            MissingFile: If a file with weights is missing.
        """
        self.check_files()
        for stage in self.stages:
            self.check_windows(stage)
            self.check_loss(stage)
            check_mask_is_trained(stage)
        is_held_out = self.spec.validation > 0 or self.spec.folds is not None or self.spec.sets is not None
        if not is_held_out:
            check_without_scores(self.recipe)
        if self.has_questions:
            for stage in self.stages:
                input_patch(self.network, stage.patch)
                check_output_weights(self.network, stage)
                if stage.freeze_encoder_epochs or stage.encoder_learning_rate:
                    apart(lambda stage=stage: encoder_layers(self.network, stage))
            self.check_size()

    @property
    def has_questions(self) -> bool:
        """Whether the model may be at fault: it has options, heads or other axes than its usual ones."""
        recipe = self.recipe
        asked = (recipe.option, recipe.auxiliary, recipe.roi_classes, recipe.slices)
        asked_of_stages = (
            (stage.output_weights, stage.label_head, stage.freeze_encoder_epochs, stage.encoder_learning_rate)
            for stage in self.stages
        )
        has_other_axes = self.spatial_dims != models.spatial_dims_of(recipe.model)
        return has_other_axes or any(asked) or any(part for parts in asked_of_stages for part in parts)

    @property
    def goes_on(self) -> bool:
        """Whether the weights are those of a checkpoint, not the first ones."""
        return self.recipe.resume and self.recipe.run is not None and Path(self.recipe.run, LAST).is_file()

    def check_files(self) -> None:
        """Refuses files with weights that are not there."""
        encoder, weights = self.recipe.option.get("encoder"), self.recipe.option.get("encoder_weights")
        if isinstance(weights, str) and Path(weights).suffix and not Path(weights).exists():
            raise MissingFile(weights, f"a file with the weights of {encoder}", "no such file")
        if self.recipe.init_from is not None and not self.goes_on:
            model_file(self.recipe.init_from)

    def check_windows(self, stage: Recipe) -> None:
        """Refuses windows and changes of windows that there are not for these axes, this task or these classes."""
        if isinstance(stage.patch, list | tuple) and len(stage.patch) != self.spatial_dims:
            expected = f"one positive size, or one for each of {self.spatial_dims} axes"
            raise OptionError("patch", expected, list(stage.patch))
        if stage.slices and self.spatial_dims != 3:
            raise OptionError("slices", "volumes, of which a model sees several slices", f"{self.spatial_dims}D images")
        check_mix(stage.mix_probabilities, self.spatial_dims)
        if stage.augment not in ("none", "flips"):
            Augmentation(stage.augment)
        if stage.mask_sigma and self.spec.task == "multiclass":
            raise OptionError("mask_sigma", "0 with multiclass masks", stage.mask_sigma)
        if self.spec.classes:
            require_names(stage.balance or {}, list(self.spec.classes))

    def check_loss(self, stage: Recipe) -> None:
        """Refuses losses that there are not, for the task if it is known, else for any."""
        errors = []
        tasks = [self.spec.task] if self.spec.task else list(DEFAULT_LOSS)
        for task in tasks:
            try:
                loss = losses.build_loss(stage.loss or DEFAULT_LOSS[task], class_weights=stage.class_weights, task=task)
                losses.WeightSchedule(loss, stage.loss_weights or {})
            except OptionError as error:
                errors.append(error)
        if len(errors) == len(tasks):
            raise errors[0]

    def check_size(self) -> None:
        """Refuses a model whose smallest windows are much larger than the volumes."""
        if self.spatial_dims != 3:
            return
        smallest = analysis.nearest_size(self.network, (1,) * 3)
        if max(smallest) <= min(input_patch(self.network, None)) and max(smallest) < 64:
            return
        largest = data.largest_shape(self.spec, 3)
        if any(size > MOST_MIRRORED * length for size, length in zip(smallest, largest, strict=True)):
            windows, volumes = (" x ".join(map(str, shape)) for shape in (smallest, largest))
            expected = f"one that takes windows of the size of these volumes, at most {volumes}"
            raise OptionError("model", expected, f"{self.recipe.model}, whose smallest windows are {windows}")

    def receptive_field(self) -> tuple[int, ...] | None:
        """Returns how many pixels per axis the model sees; `None` if it sees all of an image."""
        if self.recipe.roi_classes:
            return None  # the region around the large classes may be anywhere
        geometry = analysis.geometry(self.network)
        return None if geometry.is_global else geometry.receptive_field


def without_weights(option: Value) -> Value:
    """Returns options of a builder, and of builders that it names, without files of weights or downloads."""
    if not isinstance(option, dict):
        return option
    return {name: without_weights(value) for name, value in option.items() if name != "encoder_weights"}


def apart(function: Callable[[], Result]) -> Result:
    """Calls a function that builds layers, which change neither names nor first weights of those that are built later.

    Keras counts names in each thread; the seeds of its initializers come from Python's generator.
    """
    state = random.getstate()
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function).result()
    finally:
        random.setstate(state)


def check_output_weights(network: keras.Model, stage: Recipe) -> None:
    """Refuses weights of outputs that the network does not have, and a stage that trains no output.

    Raises:
        OptionError: If it is so.
    """
    several = isinstance(network.output, dict)
    masks = [name for name in network.output if name != "label"] if several else ["mask"]
    objective = Objective(losses.build_loss("dice"), stage.output_weights)
    for name in stage.output_weights or {}:
        if name == "label":
            raise OptionError("output_weights", "`label_head` for the weight of the image-level output", name)
        if name not in masks:
            raise OptionError("output_weights", one_of(name, masks), name)
    has_label = several and "label" in network.output
    if not any(objective.weight(name) for name in masks) and not (has_label and stage.label_head != 0):
        raise OptionError("output_weights", "an output with a weight above 0, or `label_head`", stage.output_weights)


def check_mask_is_trained(stage: Recipe) -> None:
    """Refuses options that go by the Dice of the mask in a stage that does not train it, where it means nothing.

    Raises:
        OptionError: If there is one.
    """
    if trains_mask(stage):
        return
    for name, is_used in (("patience", stage.patience), ("schedule", stage.schedule == "plateau")):
        if is_used:
            expected = "none that goes by the Dice of the mask in a stage that does not train it"
            raise OptionError(name, expected, getattr(stage, name))


def check_without_scores(recipe: Recipe) -> None:
    """Refuses options that go by the score of held-out images, where none are held out.

    Raises:
        OptionError: If there is one.
    """
    stages = recipe.each_stage()
    for name, is_used in (
        ("patience", any(stage.patience for stage in stages)),
        ("schedule", any(stage.schedule == "plateau" for stage in stages)),
        ("average_best", recipe.average_best is not None),
    ):
        if is_used:
            raise OptionError(name, "none that needs held-out images, with `validation` 0", getattr(recipe, name))
