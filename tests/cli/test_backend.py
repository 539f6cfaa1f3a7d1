"""Importing Keras from the command line: silently, and with one line where the backend is missing."""

import os

import pytest

from maskzoo.cli import backend
from maskzoo.errors import OptionError


@pytest.fixture
def missing(monkeypatch):
    """Imports that print past Python's streams, as C++ code does, and then fail for a module."""

    def fail(name):
        os.write(2, b"notice\n")
        raise ModuleNotFoundError(f"No module named {name!r}", name="torchless")

    monkeypatch.delenv("MASKZOO_DEBUG", raising=False)
    monkeypatch.setattr(backend, "import_module", fail)


def test_a_backend_that_is_not_installed_is_named(missing, monkeypatch, capfd):
    monkeypatch.setenv("KERAS_BACKEND", "torchless")
    with pytest.raises(OptionError, match=r"KERAS_BACKEND: expected a backend that is installed; received torchless"):
        backend.load_keras()
    assert capfd.readouterr().err == ""
    os.write(2, b"said\n")
    assert capfd.readouterr().err == "said\n"


def test_another_missing_module_is_a_defect(missing, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ModuleNotFoundError):
        backend.load_keras()
