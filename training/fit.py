"""One training run: data, model, loss and devices put together, and fitted."""

import sys

import keras

from maskzoo import data, losses, models
from maskzoo.metrics import Dice, IoU  # by name: a saved model that is loaded here refers to them
from maskzoo.models import analysis

from .callbacks import Pictures, RunRecorder, read_history
from .run_folder import LAST, manifest, write_json, write_recipe
from .strategy import open_strategy, reading_errors

MONITOR = "val_dice"
DEFAULT_PATCH = {2: 256, 3: 32}
DEFAULT_LOSS = {"binary": "bce+dice", "multilabel": "bce+dice", "multiclass": "cross_entropy+dice"}
WARM_UP_STEPS = 50


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
    strategy = open_strategy(recipe.devices)
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise ValueError(f"--batch-size: expected a multiple of the {replicas} devices; received {recipe.batch_size}")
    keras.utils.set_random_seed(recipe.seed)
    precision = recipe.mixed_precision
    keras.config.set_dtype_policy("float32" if precision == "none" else f"mixed_{precision}")
    spec = data.read_spec(recipe.data, **recipe.data_options())
    dataset = data.load_data(spec, rank=data.rank_of(spec) or models.rank_of(recipe.model), seed=recipe.seed)
    with strategy.scope():
        model = checkpoint(run) or new_model(recipe, dataset)
    geometry, patch = analysis.geometry(model), input_patch(model, recipe.patch)
    write_recipe(recipe, run)
    describe(model, geometry, patch, dataset, replicas, run)
    write_json(run / "data.json", {**dataset.as_mapping(), "patch": list(patch)})
    write_json(run / "decision.json", {"thresholds": [0.5] * dataset.num_classes})
    write_json(run / "manifest.json", manifest(recipe, dataset))

    window = tuple(p - c for p, c in zip(patch, geometry.crop, strict=True))
    halo = tuple((o, c - o) for o, c in zip(geometry.offset, geometry.crop, strict=True))
    common = {"patch": window, "batch_size": recipe.batch_size, "halo": halo, "seed": recipe.seed, "replicas": replicas}
    training = data.WindowDataset(
        dataset.train, steps=recipe.steps, augment=recipe.augment, balance=recipe.balance, workers=1, **common
    )
    validation = data.WindowDataset(dataset.validation, shuffle=False, workers=1, **common)

    with strategy.scope():
        if model.compiled:
            model.optimizer.learning_rate = schedule(recipe)
        else:
            compile_model(model, recipe, dataset, replicas)
    epochs_done = int(model.optimizer.iterations.value.numpy()) // recipe.steps
    training.epoch = epochs_done
    images, labels, *_ = validation[0]
    callbacks = [
        *([losses.WeightSchedule(model.loss, recipe.loss_weights)] if recipe.loss_weights else []),
        RunRecorder(run, MONITOR, epochs_done),
        Pictures(run, (images[:4], labels[:4]), dataset, geometry.offset),
        keras.callbacks.TensorBoard(str(run / "logs"), write_graph=False),
    ]
    with reading_errors():
        model.fit(
            training,
            validation_data=validation,
            epochs=recipe.epochs,
            initial_epoch=epochs_done,
            callbacks=callbacks,
            shuffle=False,  # the data set shuffles by its own seed
            # A bar in a terminal; a line per epoch in a file, which a bar would fill with its redrawings.
            verbose=1 if sys.stdout.isatty() else 2,
        )
    return dataset


def new_model(recipe, dataset):
    """Builds the recipe's model with free spatial sizes.

    Raises:
        ValueError: If it has several inputs or outputs, for which there are no images or labels.
    """
    input_shape = (*(None,) * dataset.rank, dataset.channels)
    model = models.build_model(recipe.model, input_shape, dataset.num_classes, **recipe.option)
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) > 1:
            raise ValueError(
                f"--model: expected one with a single {what}; received {recipe.model}, with {len(tensors)}"
            )
    return model


def checkpoint(run):
    """The model, optimizer and all, of the run's last checkpoint; `None` where no epoch was finished."""
    path = run / LAST
    return keras.saving.load_model(path) if path.is_file() and read_history(run) else None


def compile_model(model, recipe, dataset, replicas):
    """Gives the model its optimizer, loss and metrics; call it inside the strategy's scope."""
    shared = {"task": dataset.task, "ignore_index": dataset.ignore_index}
    counted = {**shared, "num_classes": dataset.num_classes}
    name = recipe.loss or DEFAULT_LOSS[dataset.task]
    loss = losses.build_loss(name, class_weights=recipe.class_weights, **shared)
    # The samples that fill up the last validation batch weigh nothing, also in the mean.
    loss.reduction = "mean_with_sample_weight"
    model.compile(
        optimizer=keras.optimizers.Adam(schedule(recipe)),
        loss=loss,
        weighted_metrics=[Dice(**counted, name="dice"), IoU(**counted, name="iou")],
        # XLA does not compile a step that several replicas share.
        jit_compile="auto" if replicas == 1 else False,
    )


def schedule(recipe):
    """The learning rate by step: a linear warm-up to the recipe's rate, then a cosine down to zero."""
    total = recipe.epochs * recipe.steps
    warm_up = min(WARM_UP_STEPS, total // 10)
    if not warm_up:
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, total)
    return keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 10, total - warm_up, warmup_target=recipe.learning_rate, warmup_steps=warm_up
    )


def input_patch(model, asked):
    """The window size that the model is given: the asked one, or the rank's default, rounded up to an allowed size."""
    rank = len(model.inputs[0].shape) - 2
    asked = DEFAULT_PATCH[rank] if asked is None else asked
    asked = (asked,) * rank if isinstance(asked, int) else tuple(asked)
    if len(asked) != rank or min(asked) < 1:
        raise ValueError(f"--patch: expected one positive size, or one for each of {rank} axes; received {list(asked)}")
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
