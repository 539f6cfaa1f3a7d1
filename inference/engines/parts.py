"""What an engine computes of a network for the tiles of a plan: a cropped copy, converted where that is worth it."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

import keras

from maskzoo.errors import OptionError

from ...models import analysis
from ..run import Run
from .conversion import NetworkPart, network
from .runners import OPENERS, Answer

if TYPE_CHECKING:
    from ..tile_plan import TilePlan

logger = logging.getLogger(__name__)

# Multiplications that a converted copy must save: about half a minute on two cores, which a conversion takes.
WORTH_A_CONVERSION = 2e12
# Copies that stay open.
OPEN_PARTS = 4


class Parts:
    """The cropped copies of a network that an engine runs, each opened when it is first asked for."""

    def __init__(self, run: Run | keras.Model, name: str, precision: str) -> None:
        """Opens nothing yet.

        Args:
            run: A run, beside whose model converted copies are kept; or a Keras model.
            name: Name of the engine.
            precision: Its precision; int8 has no copies, as its ranges are those of the whole network.
        """
        self._run, self._name, self._precision = run, name, precision
        self._open: dict[tuple[object, ...], Answer] = {}
        self._opening = Lock()

    def answer(self, plan: TilePlan) -> Answer | None:
        """Returns what answers for the tiles of a plan alone; `None` where the whole network is as good.

        Args:
            plan: A plan; equal plans have equal answers.
        """
        if not self._is_worth(plan):
            return None
        key = (plan.input_size, plan.part)
        with self._opening:
            if key not in self._open:
                while len(self._open) >= OPEN_PARTS:
                    del self._open[next(iter(self._open))]
                part = NetworkPart(self._run, plan.input_size, plan.part)
                try:
                    self._open[key] = OPENERS[self._name](part, self._precision)
                except Exception as error:  # whatever a converter trips over: the whole network is there
                    first = next(iter(str(error).splitlines()), "") or type(error).__name__
                    logger.warning("engine %s computes the whole network: its part was refused, %s", self._name, first)
                    return None
            return self._open[key]

    def _is_worth(self, plan: TilePlan) -> bool:
        """Whether a plan saves more than a conversion takes."""
        if plan.share >= 1 or self._precision == "int8":
            return False
        if self._name == "keras":
            return True
        model = network(self._run)
        shape = (*plan.input_size, model.inputs[0].shape[-1])
        try:
            whole = analysis.multiply_adds(model, shape)
        except OptionError:  # layers whose products cannot be counted
            return False
        return (1 - plan.share) * plan.tiles * whole > WORTH_A_CONVERSION
