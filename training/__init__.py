"""Training: recipes, run folders, devices and the fit itself. TensorFlow is imported only when `train` is called."""

from importlib import import_module

from .folds import FOLDS, OUT_OF_FOLD, train_folds
from .hosts import find_hosts, folder_of_host
from .recipe import Recipe
from .run_folder import BEST, LAST, RECIPE, create_run, discard_unfinished, read_history, read_recipe, write_json

__all__ = [
    "BEST",
    "FOLDS",
    "LAST",
    "OUT_OF_FOLD",
    "RECIPE",
    "PseudoSet",
    "Recipe",
    "create_run",
    "discard_unfinished",
    "find_hosts",
    "folder_of_host",
    "read_history",
    "read_recipe",
    "train",
    "train_folds",
    "unseen_by",
    "write_json",
]


LAZY = {"PseudoSet": "pseudo_labels", "train": "fit", "unseen_by": "pseudo_labels"}


def __getattr__(name):
    if name in LAZY:
        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
