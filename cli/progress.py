"""One line of progress over many files, with the time left: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Self

from maskzoo.names import counted, duration

logger = logging.getLogger(__name__)

# Seconds between two lines where there is no terminal.
INTERVAL = 30.0
# How much the last file counts for the time that the next ones are expected to take.
NEWEST = 0.3


class Progress:
    """Counts files, and says how many are done and how long the others will take.

    Args:
        total: How many files there are.
        noun: What one of them is.
        terminal: Whether stderr is a terminal, on which a bar is drawn; by default it is asked.
        clock: A function that gives the time in seconds.
    """

    def __init__(
        self, total: int, noun: str, terminal: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.noun, self.clock = total, noun, clock
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.done, self.seconds, self.lock = 0, 0.0, Lock()
        self.started = self.last = clock()
        self.said: float | None = None

    def __enter__(self) -> Self:
        from tqdm import tqdm

        shown = self.terminal and logger.isEnabledFor(logging.WARNING)
        self.bar = tqdm(total=self.total, unit=self.noun, disable=not shown)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def advance(self) -> None:
        """Counts one file; may be called by several threads."""
        with self.lock:
            now = self.clock()
            took, self.last = now - self.last, now
            self.seconds = NEWEST * took + (1 - NEWEST) * self.seconds if self.done else took
            self.done += 1
            self.bar.update()
            due = self.said is None or now - self.said >= INTERVAL
            if not self.terminal and due and self.done < self.total:
                self.said = now
                left = duration(self.seconds * (self.total - self.done))
                logger.info("%d of %s, about %s left", self.done, counted(self.total, self.noun), left)

    @property
    def elapsed(self) -> str:
        """The time since the beginning, in words."""
        return duration(self.clock() - self.started)
