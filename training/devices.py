"""The devices of a recipe: opened, and refused where they cannot share its batches."""

from collections.abc import Sequence

import keras

from maskzoo.errors import OptionError

from .jax_step import open_device
from .recipe import Recipe
from .strategy import Strategy, open_hosts, open_none, open_strategy


def open_devices(recipe: Recipe) -> Strategy:
    """Returns the strategy of the recipe's devices and hosts; the default one on the jax backend, which has its own.

    Raises:
        OptionError: If the backend cannot train, or the devices are not there.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        open_device(recipe)
        return open_none()
    if backend != "tensorflow":
        raise OptionError("KERAS_BACKEND", "tensorflow, or jax, to train", backend)
    if recipe.hosts:
        return open_hosts(recipe.hosts.split(","), recipe.host or 0, recipe.devices)
    return open_strategy(recipe.devices)


def check_devices(recipe: Recipe, stages: Sequence[Recipe], replicas: int) -> None:
    """Refuses batches that the devices cannot share, and what several devices cannot do.

    Args:
        recipe: The recipe.
        stages: The recipes of its stages.
        replicas: Number of devices.

    Raises:
        OptionError: If a batch size or an option does not fit the devices.
    """
    for stage in stages:
        if stage.batch_size % (replicas * stage.accumulate):
            devices = "1 device" if replicas == 1 else f"the {replicas} devices"
            parts = f" with {stage.accumulate} micro-batches each" if stage.accumulate > 1 else ""
            raise OptionError("batch_size", f"a multiple of {devices}{parts}", stage.batch_size)
    if recipe.xla and replicas > 1:
        raise OptionError("xla", "a single device", replicas)
