"""Small data sets, a tiny model with everything that a resumed training could forget, and a function that trains it."""

import csv

import cv2
import keras
import numpy as np
import pytest

from maskzoo import models, training

# Eight images of four patients.
NAMES = [f"{patient}{number}" for patient in "abcd" for number in range(2)]


@pytest.fixture(scope="session")
def grey_squares(tmp_path_factory):
    """Bright squares on dark noise: eight images of four patients, `a0` to `d1`, and a `set.yaml` that groups them."""
    root = tmp_path_factory.mktemp("grey")
    rng = np.random.default_rng(0)
    for name in NAMES:
        mask = np.zeros((48, 40), np.uint8)
        top, left = rng.integers(4, 20, 2)
        mask[top : top + 18, left : left + 18] = 255
        image = (rng.integers(0, 90, mask.shape) + (mask > 0) * 120).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            (root / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(root / kind / f"{name}.png"), pixels)
    (root / "set.yaml").write_text("path: .\ngroup: '^[a-d]'\n")
    return root


@pytest.fixture(scope="session")
def dropout_net():
    """The name of a registered model with dropout and a batch norm."""

    def dropout_net(input_shape=(None, None, 3), num_classes=1, width=4):
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(width, 3, padding="same", name="encoder_conv")(inputs)
        x = keras.layers.BatchNormalization(name="encoder_norm", momentum=0.9)(x)
        x = keras.layers.Dropout(0.3, name="dropout")(keras.layers.ReLU(name="relu")(x))
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="decoder_conv")(x)
        return keras.Model(inputs, keras.layers.Conv2D(num_classes, 1, dtype="float32", name="mask")(x))

    models.register_model(dropout_net)
    yield "dropout_net"
    del models.registry.MODELS["dropout_net"]


def rows_of(run):
    """The rows of a run's history, without what depends on the clock."""
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def train_tiny(squares, dropout_net):
    """A function that trains `dropout_net` in a folder, or resumes it there, and returns the rows of its history."""

    def train_tiny(run, **options):
        small = {"model": dropout_net, "patch": 16, "steps": 2, "batch_size": 4, "epochs": 2, "learning_rate": 0.01}
        recipe = training.Recipe(data=str(squares), run=str(run), **(small | options))
        training.train(recipe, training.create_run(recipe))
        return rows_of(run)

    return train_tiny


@pytest.fixture(scope="session")
def short_options():
    """Options of a training of two epochs that depends on more than weights and seed."""
    return {
        "ema": 0.9,
        "optimizer": "adamw",
        "clip_norm": 1.0,
        "hard_example_fraction": 0.5,
        "freeze_encoder_epochs": 1,
        "average_best": 2,
    }


@pytest.fixture(scope="session")
def short_run(train_tiny, short_options, tmp_path_factory):
    """The folder of an uninterrupted run with `short_options`. Not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "short"
    train_tiny(run, **short_options)
    return run


STAGES = [
    {"epochs": 1, "patch": 16, "loss": "bce", "loss_weights": {"bce": [[0, 1], [2, 0.5]]}, "schedule": "one_cycle"},
    {
        "epochs": 3,
        "patch": 24,
        "freeze_encoder_epochs": 2,
        "schedule": "plateau",
        "plateau_patience": 1,
        "hard_example_fraction": 0.5,
    },
    {"epochs": 2, "patch": 32, "batch_size": 2, "optimizer": "sgd", "ema": None, "windows": "all", "patience": 2},
]


@pytest.fixture(scope="session")
def all_options():
    """Options of a training of three stages in which every option is used that a resumed training must restore."""
    return {
        "stages": STAGES,
        "ema": 0.9,
        "optimizer": "adamw",
        "encoder_learning_rate": 1e-3,
        "clip_norm": 1.0,
        "average_best": 2,
        "accumulate": 2,
    }


@pytest.fixture(scope="session")
def staged_run(train_tiny, all_options, tmp_path_factory):
    """The folder of an uninterrupted run with `all_options`. Not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_tiny(run, **all_options)
    return run
