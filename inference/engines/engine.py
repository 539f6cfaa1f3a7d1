"""`Engine`, what every runner of a network is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..tile_plan import TilePlan


class Engine(Protocol):
    """What runs a network."""

    @property
    def name(self) -> str:
        """The engine's name, one of `options.ENGINES`."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in, one of `options.PRECISIONS`."""
        ...

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, *size, classes)` of float32 images `(batch, *size, channels)`."""
        ...


class PartsOfNetwork(Protocol):
    """What answers for the tiles of a plan with less work than the whole network."""

    def answer(self, plan: TilePlan) -> Callable[[np.ndarray], np.ndarray] | None:
        """Returns a function from images to the logits of their tiles; `None` where the whole network is as good."""
        ...


@dataclass(frozen=True)
class OpenedEngine:
    """An engine that answers by a function.

    Attributes:
        name: One of `options.ENGINES`.
        precision: One of `options.PRECISIONS`.
        run: From float32 images `(batch, *size, channels)` to float32 logits `(batch, *size, classes)`.
        parts: What answers for the tiles of plans; `None` if only the whole network does.
    """

    name: str
    precision: str
    run: Callable[[np.ndarray], np.ndarray]
    parts: PartsOfNetwork | None = None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, *size, classes)` of float32 images `(batch, *size, channels)`."""
        return self.run(images)

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"
