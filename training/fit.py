"""One training run: data, network and devices are put together, and fitted stage by stage."""

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras

from maskzoo.names import counted

from .. import data, losses, models
from ..data.sampling.places import require_names
from ..inference.run_files import read_run_data
from ..inference.run_folders import DATA_FILE
from ..models import analysis
from . import optimisation
from .averaging import AveragedWeights
from .checkpoints import State, full_disk_explained, load_last, restore_optimizer, restore_random
from .choice import Choice, measured_on
from .description import check_same_data, write_description
from .devices import check_devices, open_devices
from .early_checks import EarlyChecks, check_output_weights, check_without_scores
from .feedback import Feedback, FiniteLoss, log_epoch_time
from .history import History, finished_epochs
from .network import encoder_layers, new_network
from .pictures import Pictures
from .recipe import Recipe
from .recorder import RunRecorder, Throughput, lacks_kept
from .schedules import FrozenLayers, HardExamples, LearningRate
from .selection import average_best, carry_over
from .session import Session, build_loss, new_objective, new_trainer
from .step import Objective
from .step_time import step_seconds
from .strategy import lost_hosts, make_deterministic, reading_errors
from .tracking import Tracker, open_trackers
from .windows import grid_of_training_windows, input_patch, training_windows, validation_windows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One of the trainings that follow each other in a run.

    Attributes:
        number: Its number, from 1.
        recipe: Its recipe.
        first: The number of epochs before it.
    """

    number: int
    recipe: Recipe
    first: int


def train(recipe: Recipe, run: Path) -> data.DataSet:
    """Trains a model by a recipe and fills its run folder; continues from the folder's last checkpoint.

    Args:
        recipe: The recipe.
        run: Path of the run folder, made by `create_run`.

    Returns:
        The data set that was trained on, so that the caller can evaluate on its validation images.

    Raises:
        MaskzooError: If the data, the model and the options do not fit each other, or the loss becomes infinite.
    """
    strategy = open_devices(recipe)
    stages = recipe.each_stage()
    check_devices(recipe, stages, strategy.num_replicas_in_sync)
    if recipe.deterministic:
        make_deterministic()
    keras.utils.set_random_seed(recipe.seed)
    set_precision(recipe)
    dataset = open_data(recipe)
    with strategy.scope():
        last = load_last(run)
        network = last[0] if last else new_network(recipe, dataset)
    state = last[1] if last else None
    session = Session(network, dataset, strategy)
    check_stages(session, stages)
    if not dataset.validation:
        check_without_scores(recipe)
    history = History(run, finished_epochs(run, int(state["epochs"])) if state else [])
    choice = Choice.read(run) if state else Choice(run)
    if state:
        check_same_data(run, dataset)
        choice.forget_lost(history)
    describe(session, stages, run)
    with full_disk_explained(run), lost_hosts() if recipe.hosts else nullcontext():
        write_description(session, recipe, run)
        fit_stages(session, recipe, history, choice, state)
    return dataset


def fit_stages(session: Session, recipe: Recipe, history: History, choice: Choice, state: State | None) -> None:
    """Fits the stages of a recipe, or what is left of them, and averages the best epochs.

    Args:
        session: What is trained, on what.
        recipe: The recipe.
        history: The finished epochs.
        choice: What is chosen so far.
        state: The state of the checkpoint to continue from, or `None`.
    """
    stages = recipe.each_stage()
    trackers = open_trackers(None if recipe.host else recipe.track, history.run, recipe)
    try:
        for number, stage in enumerate(stages, 1):
            done = history.stage_scores(number)
            begun = state is not None and int(state["stage"]) == number
            over = optimisation.is_over(done, stage.epochs, stage.patience, stage.min_epochs)
            if over and not (begun and lacks_kept(history, choice, number, stage)):
                continue
            if len(stages) > 1 and not over:
                logger.info("stage      %d of %d, %s", number, len(stages), counted(stage.epochs, "epoch"))
            if not done:
                carry_over(session, stages, number, history, choice)
            fit_stage(session, Stage(number, stage, len(history) - len(done)), history, choice, state, trackers)
            state = None
    finally:
        for tracker in trackers:
            tracker.close()
    if recipe.average_best:
        average_best(session, stages[-1], len(stages), history, choice)


def set_precision(recipe: Recipe) -> None:
    """Sets the data type in which new layers compute."""
    precision = recipe.mixed_precision
    keras.config.set_dtype_policy("float32" if precision == "none" else f"mixed_{precision}")


def open_data(recipe: Recipe) -> data.DataSet:
    """Opens the recipe's data set; files that do not determine the number of spatial axes get the model's."""
    spec = data.read_spec(recipe.data, recipe.data_options())
    if recipe.resume and recipe.run is not None and (Path(recipe.run) / DATA_FILE).is_file():
        spec = data.resumed_spec(spec, recipe.data, read_run_data(Path(recipe.run)).spec)
    default = 3 if recipe.slices else models.spatial_dims_of(recipe.model)
    found = data.spatial_dims_of(spec)
    spatial_dims = found or default
    checks = EarlyChecks(recipe, spec, spatial_dims)
    checks.run()
    dataset = data.load_data(
        spec,
        spatial_dims=spatial_dims,
        seed=recipe.seed,
        receptive_field=checks.receptive_field,
    )
    for stage in recipe.each_stage():
        require_names(stage.balance or {}, dataset.class_names)
    data.require_every_class(dataset)
    return dataset


def check_stages(session: Session, stages: Sequence[Recipe]) -> None:
    """Refuses windows, losses and weights that do not fit the model, before the first stage rather than hours later."""
    for stage in stages:
        input_patch(session.network, stage.patch)
        check_output_weights(session.network, stage)
        loss = build_loss(stage, session.dataset)
        loss.check_classes(session.dataset.num_classes)
        losses.WeightSchedule(loss, stage.loss_weights or {})


def describe(session: Session, stages: Sequence[Recipe], run: Path) -> None:
    """Logs what is about to be trained, so that a wrong guess of ours is seen before the first epoch."""
    network, dataset, geometry = session.network, session.dataset, session.geometry
    total, _ = analysis.parameters(network)
    field = "the whole image" if geometry.is_global else " x ".join(map(str, geometry.receptive_field))
    replicas = session.strategy.num_replicas_in_sync
    images = counted(len(dataset.train), "region" if dataset.regions else "image")
    channels = "1 channel" if dataset.channels == 1 else f"{dataset.channels} channels"
    patch = " x ".join(map(str, input_patch(network, stages[-1].patch)))
    logger.info("model      %s, %s parameters, receptive field %s", network.name, f"{total:,}", field)
    logger.info(
        "data       %s for training, %d held out; %s: %s",
        images,
        len(dataset.validation),
        dataset.task,
        ", ".join(dataset.class_names),
    )
    logger.info("windows    %s with %s, %s", patch, channels, "1 device" if replicas == 1 else f"{replicas} devices")
    scales = sorted({scale for stage in stages for scale in stage.scales or ()}, reverse=True)
    if scales and max(scales) < 1:
        # Not an error: the images that are predicted may be finer than those that are trained on.
        logger.warning("scales     %s in training, but validation and prediction show images at scale 1", scales)
    elif scales:
        logger.info("scales     %s in training; 1 in validation, as in prediction", ", ".join(map(str, scales)))
    logger.info("run        %s", run)


def fit_stage(
    session: Session,
    stage: Stage,
    history: History,
    choice: Choice,
    state: State | None,
    trackers: Sequence[Tracker],
) -> None:
    """Fits one stage, or what is left of it.

    Args:
        session: What is trained, on what.
        stage: The stage.
        history: The finished epochs, to which those of the stage are added.
        choice: What is chosen so far.
        state: The state of the checkpoint to continue from, or `None`.
        trackers: Callbacks that send the log elsewhere.
    """
    recipe = stage.recipe
    objective = new_objective(recipe, session.dataset, session.network)
    has_encoder = recipe.freeze_encoder_epochs or recipe.encoder_learning_rate
    encoder = encoder_layers(session.network, recipe) if has_encoder else []
    training = training_windows(session, recipe)
    # `fit` ends an epoch of the windows before its first one.
    training.epoch = len(history)
    validation = validation_windows(session, recipe) if session.dataset.validation else None
    with session.strategy.scope():
        trainer = new_trainer(session, recipe, objective)
        optimizer = optimisation.make_optimizer(
            recipe,
            session.network.trainable_variables,
            encoder_factor(encoder, recipe),
            scale_loss=recipe.mixed_precision == "float16",
        )
        trainer.compile(optimizer, jit_compile=recipe.xla, auto_scale_loss=False)
        if state:
            restore_random(session.network, state)
            if int(state["stage"]) == stage.number:
                restore_optimizer(trainer, state)
    recorder = RunRecorder(history, recipe, stage.number, choice, measured_on(validation) if validation else {})
    if state and int(state["stage"]) == stage.number:
        recorder.set_model(trainer)
        if lacks_kept(history, choice, stage.number, recipe):
            recorder.keep()
        if recorder.is_over:
            return
    # Frozen layers make another step. Replicas are equal at the beginning, not after the epochs of an earlier stage.
    is_equal = stage.number == 1 or state is not None or session.strategy.num_replicas_in_sync == 1
    estimated = is_equal and not recipe.freeze_encoder_epochs
    if estimated:
        with reading_errors():
            log_epoch_time(recipe.steps * step_seconds(trainer, training.read(0)))
    callbacks = [
        *schedules(stage, objective, history, encoder),
        *([HardExamples(training, grid_of_training_windows(session, recipe))] if recipe.hard_example_fraction else []),
        *([AveragedWeights()] if recipe.ema else []),
        FiniteLoss(recipe),
        recorder,
        Pictures(history.run, validation or grid_of_training_windows(session, recipe), session.dataset),
        Throughput(training, recipe.batch_size),
        Feedback(stage.first + recipe.epochs, recipe.steps, piped=not sys.stdout.isatty(), estimated=estimated),
        keras.callbacks.TensorBoard(str(history.run / "logs"), write_graph=False),
        *trackers,
    ]
    with reading_errors():
        trainer.fit(
            training,
            validation_data=validation,
            epochs=stage.first + recipe.epochs,
            initial_epoch=len(history),
            callbacks=callbacks,
            shuffle=False,  # the windows are shuffled by their own seed
            # A bar in a terminal; in a file, which a bar would fill with its redrawings, a line per epoch.
            verbose=0 if recipe.host or not logger.isEnabledFor(logging.WARNING) else 1 if sys.stdout.isatty() else 2,
        )


def schedules(
    stage: Stage, objective: Objective, history: History, encoder: Sequence[keras.Layer]
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that follow a schedule: loss weights, frozen layers, learning rate.

    Args:
        stage: The stage.
        objective: What is minimised.
        history: The finished epochs.
        encoder: The layers that may be frozen.
    """
    recipe, first = stage.recipe, stage.first
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.loss_weights:
        points = {
            term: [[epoch + first, weight] for epoch, weight in pairs] for term, pairs in recipe.loss_weights.items()
        }
        callbacks.append(losses.WeightSchedule(objective.loss, points))
    if recipe.freeze_encoder_epochs:
        callbacks.append(FrozenLayers(encoder, first, recipe.freeze_encoder_epochs))
    callbacks.append(LearningRate(recipe, first, recipe.steps, lambda: history.stage_scores(stage.number)))
    return callbacks


def encoder_factor(encoder: Sequence[keras.Layer], recipe: Recipe) -> optimisation.FactorOf | None:
    """Returns the function from a variable to the factor of its learning rate, if the encoder has a rate of its own."""
    if not recipe.encoder_learning_rate:
        return None
    ratio = recipe.encoder_learning_rate / recipe.learning_rate
    slow = {id(variable) for layer in encoder for variable in layer.trainable_variables}
    return lambda variable: ratio if id(variable) in slow else 1.0
