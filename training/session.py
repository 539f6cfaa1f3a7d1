"""What all stages of a training share, and what a trainer is made of: network, loss, metrics."""

from dataclasses import dataclass
from functools import cached_property

import keras

from .. import data, losses
from ..metrics import Dice, IoU
from ..models import analysis
from .attention import attention_strides
from .jax_step import JaxTrainer
from .lockstep import LockstepTrainer
from .network import regions_of
from .recipe import Recipe
from .step import Objective, Trainer
from .strategy import Strategy

DEFAULT_LOSS = {"binary": "bce+dice", "multilabel": "bce+dice", "multiclass": "cross_entropy+dice"}


@dataclass(frozen=True, eq=False)
class Session:
    """What is trained, on what, and where.

    Attributes:
        network: The functional model.
        dataset: The data set.
        strategy: The devices.
    """

    network: keras.Model
    dataset: data.DataSet
    strategy: Strategy

    @cached_property
    def geometry(self) -> analysis.Geometry:
        """How the sizes of the network's input and output are related."""
        return analysis.geometry(self.network)


def build_loss(recipe: Recipe, dataset: data.DataSet) -> losses.SegmentationLoss:
    """Returns the loss of the recipe, or the default one of the task."""
    return losses.build_loss(
        recipe.loss or DEFAULT_LOSS[dataset.task],
        class_weights=recipe.class_weights,
        task=dataset.task,
        ignore_index=dataset.ignore_index,
    )


def new_objective(recipe: Recipe, dataset: data.DataSet, network: keras.Model) -> Objective:
    """Returns what is minimised: the loss of every output of a network with its weight."""
    loss = build_loss(recipe, dataset)
    label_weight = 1.0 if recipe.label_head is None else recipe.label_head
    return Objective(loss, recipe.output_weights, label_weight, attention_strides(network))


def new_trainer(session: Session, recipe: Recipe, objective: Objective | None = None) -> Trainer:
    """Returns a trainer with the metrics of the task; to be called inside the scope of the strategy.

    Args:
        session: What is trained, on what.
        recipe: The recipe of the stage.
        objective: What is minimised; by default that of the recipe.
    """
    dataset = session.dataset
    options = {"task": dataset.task, "ignore_index": dataset.ignore_index, "num_classes": dataset.num_classes}
    # A class that no label shows would be 1 as long as it is never predicted, and choose the model that knows it least.
    options["only_present"] = True
    scores = [Dice(**options, name="dice"), IoU(**options, name="iou")]
    kind = LockstepTrainer if recipe.hosts else JaxTrainer if keras.backend.backend() == "jax" else Trainer
    return kind(
        session.network,
        objective or new_objective(recipe, dataset, session.network),
        scores,
        accumulate=recipe.accumulate,
        clip_norm=recipe.clip_norm,
        regions=regions_of(recipe, dataset),
    )
