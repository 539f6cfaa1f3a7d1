"""The terms of a loss that is written as text, such as `0.5*bce + nonempty(dice(smooth=0))`."""

import ast
import functools
import numbers
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from . import boundary, pixel, region  # noqa: F401 (each registers its losses)
from .registry import LOSSES, LossFunction, loss_options
from .target import Target, Tensor, nonempty


class Term(NamedTuple):
    """One term of a sum of losses.

    Attributes:
        text: The term as it is written, without its weight.
        weight: The product of the numbers before it.
        function: From a `Target` to one value per sample.
    """

    text: str
    weight: float
    function: Callable[[Target], Tensor]


def list_losses() -> list[str]:
    """Returns the sorted names of the losses that `build_loss` knows."""
    return sorted(LOSSES)


def find_loss(name: str, task: str) -> LossFunction:
    """Returns the function of a loss.

    Raises:
        OptionError: The name is unknown, or the loss has no meaning for the task.
    """
    if name not in LOSSES:
        raise OptionError("loss", one_of(name, list_losses()), name)
    function, tasks = LOSSES[name]
    if task not in tasks:
        fitting = ", ".join(other for other in list_losses() if task in LOSSES[other].tasks)
        raise OptionError("loss", f"one of {fitting} for task {task}", f"{name}, which is for {' and '.join(tasks)}")
    return function


# The values of options are what `ast.literal_eval` and YAML give: numbers, booleans and words.
def parse_terms(spec: str, task: str, options: Mapping[str, Any]) -> list[Term]:
    """Reads a sum of losses.

    Args:
        spec: The text.
        task: `binary`, `multilabel` or `multiclass`.
        options: Options for every term that has them; those in the text come first.

    Raises:
        OptionError: A name, an option or its value is wrong, or the text is not a sum of losses.
    """
    accepted: set[str] = set()
    try:
        leaves = list(_leaves(ast.parse(spec.strip(), mode="eval").body))
        terms = [Term(ast.unparse(leaf), weight, _bind(leaf, task, options, accepted)) for leaf, weight in leaves]
    except (SyntaxError, AttributeError):
        expected = "names and weighted sums such as '0.5*bce+0.5*dice(smooth=1)'"
        raise OptionError("loss", expected, repr(spec)) from None
    texts = [term.text for term in terms]
    if len(set(texts)) < len(texts):
        raise OptionError("loss", "each term once", repr(spec))
    for name in options:
        _check_option(spec, name, accepted)
    return terms


def _leaves(node: ast.expr, weight: float = 1.0) -> Iterator[tuple[ast.expr, float]]:
    """Yields each term of a sum with the product of the numbers before it."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            yield from _leaves(left, weight)
            yield from _leaves(right, weight)
        case ast.BinOp(ast.Constant(float() | int() as factor), ast.Mult(), right):
            yield from _leaves(right, weight * factor)
        case ast.Name() | ast.Call():
            yield node, weight
        case _:
            raise SyntaxError


def _bind(leaf: ast.expr, task: str, options: Mapping[str, Any], accepted: set[str]) -> Callable[[Target], Tensor]:
    """Turns one term into a function of a target and adds the names of its options to `accepted`."""
    own: dict[str, Any] = {}
    match leaf:
        case ast.Call(ast.Name("nonempty"), [inner], []):
            parts = [(weight, _bind(part, task, options, accepted)) for part, weight in _leaves(inner)]
            return lambda target: sum(weight * part(nonempty(target)) for weight, part in parts)
        case ast.Name(name):
            pass
        case ast.Call(ast.Name(name), [], keywords):
            try:
                own = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords}
            except ValueError:
                raise SyntaxError from None
        case _:
            raise SyntaxError
    function = find_loss(name, task)
    known = loss_options(function)
    for option in own:
        _check_option(name, option, known)
    accepted.update(known)
    chosen = {option: value for option, value in options.items() if option in known} | own
    for option, value in chosen.items():
        _check_value(name, option, value, known[option])
    return functools.partial(function, **chosen)


def _check_option(loss: str, option: str, known: Collection[str]) -> None:
    if option not in known:
        expected = f"an option of {loss}: {one_of(option, sorted(known))}" if known else f"{loss} without options"
        raise OptionError("loss", expected, option)


def _check_value(loss: str, option: str, value: Any, default: Any) -> None:
    """Refuses a value of another kind than the default; for example YAML reads 1e-5 as text."""
    kind = type(default) if isinstance(default, bool | str) else numbers.Real
    if value is not default and not (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
        raise OptionError("loss", f"{option} of {loss} to be like {default!r}", repr(value))
