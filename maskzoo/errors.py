"""What maskzoo raises for people to read: one line that names the culprit, what was expected and what was received.

Every class also derives from the built-in exception that fits, so that `except ValueError` and `except OSError` work.
An error of another class that leaves the library is a bug. Arguments that a message mentions are written in
backquotes, as `tile`: the command line shows them as its options.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

# Characters of what a library says that a message repeats.
LONGEST_REASON = 300


class MaskzooError(Exception):
    """The base of all errors whose message is written for people."""


class OptionError(MaskzooError, ValueError):
    """An argument has a value that cannot be.

    Args:
        name: Name of the argument, as Python callers write it.
        expected: What it may be.
        received: What it was.
    """

    def __init__(self, name: str, expected: object, received: object) -> None:
        super().__init__(f"{name}: expected {expected}; received {received}")
        self.name, self.expected, self.received = name, str(expected), str(received)

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str]]:
        return type(self), (self.name, self.expected, self.received)


class FileProblem(MaskzooError):
    """A file or folder is not what it should be.

    Args:
        path: The file, the folder, or the name of what lies in memory.
        expected: What it should be.
        received: What it is.
    """

    def __init__(self, path: object, expected: object, received: object) -> None:
        super().__init__(f"{path}: expected {expected}; received {received}")
        self.path, self.expected, self.received = path, expected, received

    def __reduce__(self) -> tuple[type[Self], tuple[object, object, object]]:
        return type(self), (self.path, self.expected, self.received)


class ImageError(FileProblem, ValueError):
    """An image can be read, but not be used as it is."""


class LabelError(FileProblem, ValueError):
    """A label can be read, but not be used as it is."""


class MisplacedLabel(LabelError):
    """A label lies elsewhere than its image, or nobody can tell where."""


class DataError(FileProblem, ValueError):
    """A data set does not fit its specification, or its parts do not fit each other."""


class RunError(FileProblem, ValueError):
    """A run folder or a bundle is incomplete, damaged or unsuitable."""


class WeightsError(FileProblem, ValueError):
    """A file of weights is damaged, or does not fit the model."""


class UnreadableFile(FileProblem, OSError):
    """A file is damaged, or of a kind that cannot be read."""


class MissingFile(FileProblem, FileNotFoundError):
    """There is nothing at a path."""


class ExistingFile(FileProblem, FileExistsError):
    """There is something at a path that is to be written."""


class UnwritableFile(FileProblem, OSError):
    """A file cannot be written."""


class BusyFile(FileProblem, OSError):
    """Another process holds what this one needs for itself."""


class TrainingError(MaskzooError, ValueError):
    """A training cannot go on, or did not end as it should."""


class ConnectionLost(MaskzooError, ConnectionError):
    """Another host, or the workers of a cluster, no longer answer."""


class DiskFull(MaskzooError, OSError):
    """There is no space left for what is being written."""


class MissingPackage(MaskzooError, ImportError):
    """A package is needed that comes with one of the extras of maskzoo.

    Args:
        package: The package.
        extra: The extra.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f'expected the package {package}; received an installation without it: pip install "maskzoo[{extra}]"'
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.package, self.extra)


@contextmanager
def readable(path: object, expected: str, kind: type[FileProblem] = UnreadableFile) -> Iterator[None]:
    """A context at the border to a library that reads a file: whatever it raises becomes one error that names the file.

    Libraries let through whatever damaged bytes provoke, of any class: lack of memory for what a header declares,
    endless nesting, errors in their own code. Errors written for people pass as they are.

    Args:
        path: The file, or the name of what is read.
        expected: What the file was expected to be, or to hold.
        kind: Class of the error.

    Raises:
        FileProblem: Of the class `kind`, for any other exception.
    """
    try:
        yield
    except MaskzooError:
        raise
    except Exception as error:
        raise kind(path, expected, reason(error)) from error


def reason(error: BaseException) -> str:
    """Returns what went wrong in one line of bounded length, in GDAL's own words where rasterio only points at them."""
    text = " ".join(str(error.__cause__ or error).split())
    if isinstance(error, MemoryError):
        return f"something that takes more memory than there is ({text or 'its size'})"
    if isinstance(error, RecursionError):
        return "parts nested too deeply"
    # Of the others of Python's own classes the text alone may say nothing, such as the name of a missing key.
    is_sentence = isinstance(error, OSError | ValueError | RuntimeError) or type(error).__module__ != "builtins"
    text = text if is_sentence and text else f"{type(error).__name__} {text}".strip()
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."
