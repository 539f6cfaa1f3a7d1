"""Losses by name: functions of a `Target` that return one value per sample, with the tasks that they are for."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from maskzoo.errors import OptionError

from .target import TASKS

# `f(target, *, options) -> (batch,)`: each loss has keyword options of its own.
LossFunction = Callable[..., Any]
AnyLoss = TypeVar("AnyLoss", bound=LossFunction)


class RegisteredLoss(NamedTuple):
    """A loss and the tasks that it is for.

    Attributes:
        function: `f(target, *, options) -> (batch,)`.
        tasks: Some of `TASKS`.
    """

    function: LossFunction
    tasks: tuple[str, ...]


LOSSES: dict[str, RegisteredLoss] = {}


def register_loss(*tasks: str) -> Callable[[AnyLoss], AnyLoss]:
    """Registers a function `f(target, *, options) -> (batch,)` under its own name, for the given tasks or for all."""

    def register(function: AnyLoss) -> AnyLoss:
        if function.__name__ in LOSSES:
            raise OptionError("loss", "a new name", f"{function.__name__!r} twice")
        LOSSES[function.__name__] = RegisteredLoss(function, tasks or TASKS)
        return function

    return register


def loss_options(function: LossFunction) -> dict[str, Any]:
    """Returns the options of a registered loss with their defaults: numbers, booleans, words or `None`."""
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
