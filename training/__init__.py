"""Training: recipes, run folders, devices and the fit itself. TensorFlow is imported only when `train` is called."""

from .recipe import Recipe
from .run_folder import RECIPE, create_run, discard_unfinished, read_recipe, write_json

__all__ = ["RECIPE", "Recipe", "create_run", "discard_unfinished", "read_recipe", "train", "write_json"]


def __getattr__(name):
    if name == "train":
        from .fit import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
