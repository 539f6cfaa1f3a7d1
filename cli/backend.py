"""Imports Keras without the notices that TensorFlow's C++ code prints past every log level."""

import os
from importlib import import_module

from maskzoo.errors import OptionError


def load_keras(*others: str) -> None:
    """Imports Keras, and other modules, with stderr silenced meanwhile.

    Args:
        *others: Names of modules that are needed too, such as `tensorflow` on another backend.

    Raises:
        OptionError: If the backend of Keras is not installed.
    """
    if os.environ.get("MASKZOO_DEBUG"):
        import_module("keras")
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        for name in ("keras", *others):
            import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name != os.environ.get("KERAS_BACKEND"):
            raise
        raise OptionError("KERAS_BACKEND", "a backend that is installed", error.name) from error
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)
