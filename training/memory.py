"""The memory of a training step: what it takes, what a device has, and the largest batch and windows that fit."""

from collections.abc import Callable, Sequence

import keras

from maskzoo import machine

from ..models import analysis
from . import strategy
from .equivalence import CheckResult
from .recipe import Recipe
from .strategy import Strategy
from .windows import input_patch

GIGABYTE = 1024**3
# Python with TensorFlow and a traced step.
BASE_MEMORY = 1.5 * GIGABYTE
MOST = 1 << 14
# Windows are enlarged in steps of an eighth, up to 64 times their size.
EIGHTHS, MOST_EIGHTHS = 8, 512


def check_memory(recipe: Recipe, network: keras.Model, replicas: int, memory: float) -> CheckResult:
    """Checks whether a step fits the memory of a device, and finds the largest batch and the largest windows that do.

    Args:
        recipe: The recipe of a stage.
        network: Its functional model.
        replicas: Number of devices.
        memory: Bytes that a device may use.
    """
    patch = input_patch(network, recipe.patch)
    parts = replicas * recipe.accumulate

    def need(patch: Sequence[int], batch: int) -> float:
        return step_bytes(network, recipe, patch, -(-batch // parts))

    def enlarged(eighths: int) -> tuple[int, ...]:
        return analysis.nearest_size(network, [max(1, round(size * eighths / EIGHTHS)) for size in patch])

    batch = parts * largest(lambda many: need(patch, many * parts) <= memory)
    eighths = largest(lambda eighths: need(enlarged(eighths), recipe.batch_size) <= memory, most=MOST_EIGHTHS)
    window = enlarged(eighths)
    needed = need(patch, recipe.batch_size)
    seen = f"a step takes about {needed / GIGABYTE:.2g} of {memory / GIGABYTE:.3g} GB"
    if needed <= memory:
        sizes = " x ".join(map(str, window))
        limits = f"the largest batch of these windows is {batch}, the largest windows in this batch are {sizes}"
        return CheckResult("memory", "ok", f"{seen}; {limits}")
    changes = [f"`batch_size` {batch}" if batch else "smaller `patch`"]
    if eighths and len(set(window)) == 1:
        changes.append(f"`patch` {window[0]}")
    if batch:
        most = -(-recipe.batch_size // replicas)
        changes.append(f"`accumulate` {min(most, recipe.accumulate * -(-recipe.batch_size // batch))}")
    return CheckResult("memory", "advice", f"{seen}; try {', or '.join(changes)}")


def step_bytes(network: keras.Model, recipe: Recipe, patch: Sequence[int], windows: int) -> float:
    """Returns the memory that a training step takes on a device: activations, and what there is of each weight.

    Args:
        network: The functional model.
        recipe: The recipe of a stage.
        patch: Size of the windows.
        windows: Number of windows that are computed at once.
    """
    channels = network.inputs[0].shape[-1]
    activations = windows * analysis.training_activation_bytes(network, (*patch, channels))
    # Weights, gradients, what the optimizer keeps of each, averages.
    copies = 2 + (1 if recipe.optimizer == "sgd" else 2) + bool(recipe.ema)
    width = 0.5 if recipe.mixed_precision != "none" else 1.0
    return BASE_MEMORY + width * activations + 4 * copies * analysis.parameters(network)[0]


def largest(holds: Callable[[int], bool], most: int = MOST) -> int:
    """Returns the largest number up to `most` for which something holds, given that it holds for all smaller ones.

    Args:
        holds: Whether it holds for a number from 1.
        most: The largest number that is tried.

    Returns:
        The number; 0 if it does not even hold for 1.
    """
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def free_memory(used: Strategy) -> float:
    """Returns the bytes that a device has free; devices that are one processor share its memory."""
    if graphics := strategy.graphics_memory(used):
        return graphics
    return machine.free_memory() / used.num_replicas_in_sync
