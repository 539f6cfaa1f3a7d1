"""`Engine`, what every runner of a network is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


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


@dataclass(frozen=True)
class OpenedEngine:
    """An engine that answers by a function.

    Attributes:
        name: One of `options.ENGINES`.
        precision: One of `options.PRECISIONS`.
        run: From float32 images `(batch, *size, channels)` to float32 logits `(batch, *size, classes)`.
    """

    name: str
    precision: str
    run: Callable[[np.ndarray], np.ndarray]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits `(batch, *size, classes)` of float32 images `(batch, *size, channels)`."""
        return self.run(images)

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"
