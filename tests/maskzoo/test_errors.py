"""Error classes: what they say, what they are caught as, and that they cross processes."""

import inspect
import pickle

import pytest

from maskzoo import errors
from maskzoo.errors import MaskzooError, OptionError, RunError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


def made(cls):
    """An instance, whatever the class takes."""
    return cls(*[f"value {number}" for number, _ in enumerate(inspect.signature(cls.__init__).parameters)][1:])


def test_messages_say_what_was_expected_and_received():
    assert str(OptionError("tile", "at least 1", 0)) == "tile: expected at least 1; received 0"
    assert str(RunError("runs/a", "best.keras", "none")) == "runs/a: expected best.keras; received none"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_of_the_family_and_explained(cls):
    assert issubclass(cls, MaskzooError)
    assert cls.__doc__


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls.__init__ is not Exception.__init__])
def test_errors_cross_processes(cls):
    error = made(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("OptionError", ValueError),
        ("ImageError", ValueError),
        ("LabelError", ValueError),
        ("RunError", ValueError),
        ("UnreadableFile", OSError),
        ("MissingFile", FileNotFoundError),
        ("ExistingFile", FileExistsError),
        ("ConnectionLost", ConnectionError),
        ("DiskFull", OSError),
    ],
)
def test_errors_are_caught_as_the_builtin_that_fits(name, builtin):
    assert issubclass(getattr(errors, name), builtin)
