"""Training: recipes, run folders, devices and the fit itself. TensorFlow is imported only when `train` is called."""

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
    "Recipe",
    "create_run",
    "discard_unfinished",
    "find_hosts",
    "folder_of_host",
    "read_history",
    "read_recipe",
    "train",
    "train_folds",
    "write_json",
]


def __getattr__(name):
    if name == "train":
        from .fit import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
