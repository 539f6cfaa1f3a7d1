"""What the terminal shows: log messages as plain lines, errors in one line that names options as they are typed."""

import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from maskzoo.errors import MaskzooError, OptionError

BACKQUOTED = re.compile(r"`(\w+)`")


def fail(message: str, code: int = 2) -> int:
    """Prints an error as one line on stderr and returns the exit code."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


def error_text(error: BaseException, flags: Mapping[str, str]) -> str:
    """The message of an error, with arguments under the names that they have on the command line.

    Args:
        error: What was raised.
        flags: What each argument is called on the command line: `Parser.flags`.
    """
    text = str(error)
    if isinstance(error, OptionError):
        name = "option" if error.name.startswith("option of ") else error.name  # `--option` of a model
        text = flags.get(name, name) + text.removeprefix(name)
    elif isinstance(error, OSError) and not isinstance(error, MaskzooError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return with_flags(text, flags)


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """A text in which arguments in backquotes are written as on the command line: `` `tile` `` becomes `--tile`."""
    return BACKQUOTED.sub(lambda found: flags.get(found[1], found[0]), text)


class TerminalHandler(logging.Handler):
    """Prints log messages as plain lines: what is asked for to stdout, warnings and errors to stderr.

    Args:
        flags: What each argument is called on the command line.
        data: Whether stdout is for data, such as JSON: then all messages go to stderr.
    """

    def __init__(self, flags: Mapping[str, str], data: bool = False) -> None:
        super().__init__()
        self.flags, self.data = flags, data

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message; within `about`, its subject is put in front."""
        context = getattr(CURRENT, "context", None)
        text = with_flags(record.getMessage(), self.flags)
        if context is not None:
            name, brief = context
            if brief and record.levelno == logging.INFO:
                return
            text = f"{name}: {text}"
        stream = sys.stderr if self.data or record.levelno >= logging.WARNING else sys.stdout
        with around_bars(stream):
            print(text, file=stream, flush=True)


# What the messages of each thread are about.
CURRENT = threading.local()


@contextmanager
def about(name: str, brief: bool) -> Iterator[None]:
    """A context in which messages of this thread begin with a name.

    Args:
        name: The name, such as that of an image.
        brief: Leave out what is not a warning (with `--verbose` nothing is left out).
    """
    before = getattr(CURRENT, "context", None)
    CURRENT.context = name, brief and not logging.getLogger("maskzoo").isEnabledFor(logging.DEBUG)
    try:
        yield
    finally:
        CURRENT.context = before


@contextmanager
def logging_to_terminal(
    flags: Mapping[str, str], verbose: bool = False, quiet: bool = False, data: bool = False
) -> Iterator[None]:
    """A context in which the messages of the library are printed.

    Args:
        flags: What each argument is called on the command line.
        verbose: Print details too.
        quiet: Print errors only.
        data: Whether stdout is for data, such as JSON.
    """
    logger = logging.getLogger("maskzoo")
    before = logger.level, logger.propagate
    handler = TerminalHandler(flags, data)
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    # Printed here, and not again by a handler that some library has put on the root.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def around_bars(stream: TextIO) -> AbstractContextManager[None]:
    """A context in which lines are printed without breaking a progress bar, where there is one."""
    if "tqdm" not in sys.modules:
        return nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode(file=stream)
