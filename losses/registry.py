"""Losses by name: a function of a `Target` that returns one value per sample."""

import difflib
import inspect

TASKS = ("binary", "multilabel", "multiclass")

_LOSSES = {}


def register_loss(*tasks):
    """Registers a function `f(target, *, options) -> (batch,)` under its own name, for the given tasks or for all."""

    def register(function):
        if function.__name__ in _LOSSES:
            raise ValueError(f"loss: expected a new name; received {function.__name__!r} twice")
        _LOSSES[function.__name__] = (function, tasks or TASKS)
        return function

    return register


def list_losses():
    """Returns the sorted names of the losses that `build_loss` knows."""
    return sorted(_LOSSES)


def find_loss(name, task):
    """Returns the function of a loss, or raises when the name is unknown or the loss has no meaning for the task."""
    if name not in _LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(list_losses())}; received {name!r}{nearest(name, _LOSSES)}")
    function, tasks = _LOSSES[name]
    if task not in tasks:
        raise ValueError(f"loss {name}: expected task {' or '.join(tasks)}; received {task!r}")
    return function


def defaults(function):
    """Returns the options of a registered loss with their defaults."""
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def nearest(name, names):
    """Returns the words that point from a misspelt name to the nearest right one, or nothing."""
    close = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
