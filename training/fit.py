"""One training run: data, network, loss and devices put together, and fitted stage by stage."""

import shutil
import sys

import keras

from .. import data, losses, models
from ..inference.run_files import Decision, RunData
from ..metrics import Dice, IoU
from ..models import analysis
from . import optimisation
from .callbacks import (
    AVERAGED,
    MONITOR,
    AveragedWeights,
    FrozenLayers,
    HardWindows,
    LearningRate,
    Pictures,
    RunRecorder,
    Throughput,
    TimedWindows,
    stage_scores,
    write_average,
)
from .checkpoints import load_last, restore_optimizer, restore_random
from .jax_step import JaxTrainer, open_device
from .lockstep import LockstepTrainer
from .network import encoder_layers, new_network, regions_of
from .run_folder import BEST, manifest, read_history, write_json, write_recipe
from .step import Objective, Trainer
from .strategy import make_deterministic, open_hosts, open_none, open_strategy, reading_errors, share_of_batch
from .tracking import open_trackers

DEFAULT_PATCH = {2: 256, 3: 32}
DEFAULT_LOSS = {"binary": "bce+dice", "multilabel": "bce+dice", "multiclass": "cross_entropy+dice"}
# Validation goes forward only, which is about a third of a step; reading its windows costs as much.
VALIDATION_SHARE = 2


def train(recipe, run):
    """Trains a model by a recipe and fills its run folder; goes on where the folder's last checkpoint stands.

    Args:
        recipe: A `Recipe`.
        run: Path of the run folder, made by `create_run`.

    Returns:
        The `data.DataSet` that was trained on, so that the caller can evaluate on its validation images.

    Raises:
        ValueError: If the data, the model and the options do not fit each other, or the loss stops being finite.
    """
    strategy = open_devices(recipe)
    replicas = strategy.num_replicas_in_sync
    stages = recipe.each_stage()
    check_devices(recipe, stages, replicas)
    if recipe.deterministic:
        make_deterministic()
    keras.utils.set_random_seed(recipe.seed)
    precision = recipe.mixed_precision
    keras.config.set_dtype_policy("float32" if precision == "none" else f"mixed_{precision}")
    spec = data.read_spec(recipe.data, recipe.data_options())
    dataset = data.load_data(
        spec, spatial_dims=data.spatial_dims_of(spec) or default_spatial_dims(recipe), seed=recipe.seed
    )
    with strategy.scope():
        network, state = load_last(run)
        network = network or new_network(recipe, dataset)
    rows = read_history(run)[: int(state["epochs"])] if state else []
    geometry, patch = analysis.geometry(network), input_patch(network, stages[-1].patch)
    for stage in stages:
        input_patch(network, stage.patch)
        losses.WeightSchedule(build_loss(stage, dataset), stage.loss_weights or {})
    write_recipe(recipe, run)
    describe(network, geometry, patch, dataset, replicas, run)
    regions = {"roi_classes": regions_of(recipe, dataset)} if recipe.roi_classes else {}
    RunData.from_mapping({**dataset.as_mapping(), "patch": patch, **regions}).write(run)
    Decision((0.5,) * dataset.num_classes).write(run)
    write_json(run / "manifest.json", manifest(recipe, dataset) | {"parameters": analysis.parameters(network)[0]})

    trackers = open_trackers(None if recipe.host else recipe.track, run, recipe)
    try:
        for number, stage in enumerate(stages, 1):
            done = stage_scores(rows, number)
            if optimisation.is_over(done, stage.epochs, stage.patience, stage.min_epochs):
                continue
            if len(stages) > 1:
                print(f"stage      {number} of {len(stages)}, {stage.epochs} epochs")
            fit_stage(stage, number, rows, network, dataset, geometry, run, strategy, state, trackers)
            state = None
    finally:
        for tracker in trackers:
            tracker.close()
    if recipe.average_best:
        average_best(recipe, stages[-1], rows, dataset, geometry, run, strategy)
    return dataset


def open_devices(recipe):
    """The strategy of the recipe's devices and hosts; that of no devices on the jax backend, which has its own.

    Raises:
        ValueError: If the backend cannot train, or the devices are not there.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        open_device(recipe)
        return open_none()
    if backend != "tensorflow":
        raise ValueError(f"KERAS_BACKEND: expected tensorflow, or jax, to train; received {backend}")
    if recipe.hosts:
        return open_hosts(recipe.hosts.split(","), recipe.host, recipe.devices)
    return open_strategy(recipe.devices)


def default_spatial_dims(recipe):
    """The number of spatial axes of data whose files leave it open."""
    return 3 if recipe.slices else models.spatial_dims_of(recipe.model)


def fit_stage(recipe, number, rows, network, dataset, geometry, run, strategy, state, trackers):
    """Fits one stage, or what is left of it.

    Args:
        recipe: The recipe of the stage.
        number: Its number, from 1.
        rows: Rows of the history so far, to which the stage's are added.
        network: The model.
        dataset: The `data.DataSet`.
        geometry: What `analysis.geometry` says of the model.
        run: The run folder.
        strategy: The devices.
        state: The state of the checkpoint to go on from, or `None`.
        trackers: Further callbacks.
    """
    first = len(rows) - len(stage_scores(rows, number))
    common = window_options(recipe, network, geometry, strategy)
    training = TimedWindows(dataset.train, options=recipe.window_options(), **common)
    # `fit` ends an epoch of the windows before its first one.
    training.epoch = len(rows)
    validation = validation_windows(recipe, dataset, common)
    encoder = encoder_layers(network, recipe) if recipe.freeze_encoder_epochs or recipe.encoder_learning_rate else []
    slow = {id(variable) for layer in encoder for variable in layer.trainable_variables}
    ratio = (recipe.encoder_learning_rate or recipe.learning_rate) / recipe.learning_rate
    with strategy.scope():
        objective = Objective(build_loss(recipe, dataset), recipe.output_weights, recipe.label_head or 1.0)
        trainer = new_trainer(recipe, network, objective, dataset)
        optimizer = optimisation.make_optimizer(
            recipe, network.trainable_variables, lambda variable: ratio if id(variable) in slow else 1.0
        )
        trainer.compile(optimizer, jit_compile=recipe.xla, auto_scale_loss=False)
        if state:
            restore_random(network, state)
            if int(state["stage"]) == number:
                restore_optimizer(trainer, state)
    recorder = RunRecorder(run, recipe, number, rows)
    points = {
        term: [[epoch + first, weight] for epoch, weight in pairs]
        for term, pairs in (recipe.loss_weights or {}).items()
    }
    hard = []
    if recipe.hard_example_fraction:
        # Of the windows of the grid, in their own order.
        grid = data.WindowDataset(dataset.train, options=recipe.window_options(), shuffle=False, **common)
        hard = [HardWindows(training, grid)]
    images, labels, *_ = validation[0]
    callbacks = [
        *([losses.WeightSchedule(objective.loss, points)] if points else []),
        *([FrozenLayers(encoder, first, recipe.freeze_encoder_epochs)] if recipe.freeze_encoder_epochs else []),
        LearningRate(recipe, first, len(training), recorder.scores),
        *hard,
        *([AveragedWeights()] if recipe.ema else []),
        recorder,
        Pictures(run, (images[:4], labels[:4]), dataset, geometry.offset),
        Throughput(training, recipe.batch_size),
        keras.callbacks.TensorBoard(str(run / "logs"), write_graph=False),
        *trackers,
    ]
    with reading_errors():
        trainer.fit(
            training,
            validation_data=validation,
            epochs=first + recipe.epochs,
            initial_epoch=len(rows),
            callbacks=callbacks,
            shuffle=False,  # the data set shuffles by its own seed
            # A bar in a terminal; a line per epoch in a file, which a bar would fill with its redrawings.
            verbose=0 if recipe.host else 1 if sys.stdout.isatty() else 2,
        )


def new_trainer(recipe, network, objective, dataset):
    """A `Trainer` with the metrics of the task; inside the scope of the strategy."""
    counted = {"task": dataset.task, "ignore_index": dataset.ignore_index, "num_classes": dataset.num_classes}
    scores = [Dice(**counted, name="dice"), IoU(**counted, name="iou")]
    kind = LockstepTrainer if recipe.hosts else JaxTrainer if keras.backend.backend() == "jax" else Trainer
    regions = regions_of(recipe, dataset)
    return kind(network, objective, scores, accumulate=recipe.accumulate, clip_norm=recipe.clip_norm, regions=regions)


def build_loss(recipe, dataset):
    """The loss of the recipe, or the task's own."""
    return losses.build_loss(
        recipe.loss or DEFAULT_LOSS[dataset.task],
        class_weights=recipe.class_weights,
        task=dataset.task,
        ignore_index=dataset.ignore_index,
    )


def window_options(recipe, network, geometry, strategy, workers=1):
    """What training and validation windows have in common."""
    patch = input_patch(network, recipe.patch)
    return {
        "patch": tuple(p - c for p, c in zip(patch, geometry.crop, strict=True)),
        "halo": tuple((o, c - o) for o, c in zip(geometry.offset, geometry.crop, strict=True)),
        "batch_size": recipe.batch_size,
        "loading": data.LoadingOptions(
            workers=workers, replicas=strategy.num_replicas_in_sync, shard=share_of_batch(strategy)
        ),
    }


def validation_windows(recipe, dataset, common):
    """The validation windows: all of the held-out images, or as many as do not hold up the training."""
    limit = recipe.validation_windows or VALIDATION_SHARE * recipe.steps * recipe.batch_size
    return data.WindowDataset(dataset.validation, shuffle=False, limit=limit, **common)


def average_best(recipe, stage, rows, dataset, geometry, run, strategy):
    """Averages the weights of the best epochs, and makes the result the run's best model where it is no worse."""
    with strategy.scope():
        network = write_average(run, rows, recipe.average_best)
        trainer = new_trainer(stage, network, Objective(build_loss(stage, dataset), label_weight=1.0), dataset)
        trainer.compile(jit_compile=False, auto_scale_loss=False)
    common = window_options(stage, network, geometry, strategy)
    with reading_errors():
        score = trainer.evaluate(validation_windows(stage, dataset, common), verbose=0, return_dict=True)["dice"]
    best = max(float(row[MONITOR]) for row in rows)
    print(
        f"average    of the {min(recipe.average_best, len(rows))} best epochs: Dice {score:.4f}; best epoch {best:.4f}"
    )
    if score >= best:
        unfinished = run / f".{BEST}.tmp"
        shutil.copyfile(run / AVERAGED, unfinished)
        unfinished.replace(run / BEST)


def check_devices(recipe, stages, replicas):
    """Refuses batches that the devices cannot share, and what several devices cannot do."""
    for stage in stages:
        parts = replicas * stage.accumulate
        if stage.batch_size % parts:
            cut = f" with {stage.accumulate} micro-batches each" if stage.accumulate > 1 else ""
            raise ValueError(
                f"--batch-size: expected a multiple of the {replicas} devices{cut}; received {stage.batch_size}"
            )
    if recipe.xla and replicas > 1:
        raise ValueError(f"--xla: expected a single device; received {replicas}")


def input_patch(model, asked):
    """The window size that the model is given: the asked one, or the rank's default, rounded up to an allowed size."""
    spatial_dims = len(model.inputs[0].shape) - 2
    asked = DEFAULT_PATCH[spatial_dims] if asked is None else asked
    asked = (asked,) * spatial_dims if isinstance(asked, int) else tuple(asked)
    if len(asked) != spatial_dims or min(asked) < 1:
        raise ValueError(
            f"--patch: expected one positive size, or one for each of {spatial_dims} axes; received {list(asked)}"
        )
    return analysis.nearest_size(model, asked)


def describe(model, geometry, patch, dataset, replicas, run):
    """Prints what is about to be trained, so that a wrong guess of ours is seen before the first epoch."""
    total, _ = analysis.parameters(model)
    sees = "the whole image" if geometry.is_global else " x ".join(map(str, geometry.receptive_field))
    print(f"model      {model.name}, {total:,} parameters, sees {sees}")
    print(
        f"data       {len(dataset.train)} images to train on, {len(dataset.validation)} held out; {dataset.task}: "
        f"{', '.join(dataset.class_names)}"
    )
    print(f"windows    {' x '.join(map(str, patch))} with {dataset.channels} channels, {replicas} device(s)")
    print(f"run        {run}")
