"""Training: recipes, run folders, devices and the fit itself. TensorFlow is imported only when `train` is called."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .choice import read_choice as read_choice
    from .fit import train as train
    from .folds import FOLDS as FOLDS
    from .folds import OUT_OF_FOLD as OUT_OF_FOLD
    from .folds import train_folds as train_folds
    from .history import read_history as read_history
    from .hosts import find_hosts as find_hosts
    from .hosts import folder_of_host as folder_of_host
    from .options import OptimizerOptions as OptimizerOptions
    from .pseudo_labels import PseudoSet as PseudoSet
    from .pseudo_labels import maker_of as maker_of
    from .pseudo_labels import unseen_by as unseen_by
    from .recipe import RENAMED as RENAMED
    from .recipe import Recipe as Recipe
    from .run_folder import BEST as BEST
    from .run_folder import CHOICE as CHOICE
    from .run_folder import LAST as LAST
    from .run_folder import RECIPE as RECIPE
    from .run_folder import Manifest as Manifest
    from .run_folder import create_run as create_run
    from .run_folder import discard_unfinished as discard_unfinished
    from .run_folder import read_recipe as read_recipe
    from .run_folder import write_json as write_json

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "choice": ["read_choice"],
        "fit": ["train"],
        "folds": ["FOLDS", "OUT_OF_FOLD", "train_folds"],
        "history": ["read_history"],
        "hosts": ["find_hosts", "folder_of_host"],
        "options": ["OptimizerOptions"],
        "pseudo_labels": ["PseudoSet", "maker_of", "unseen_by"],
        "recipe": ["RENAMED", "Recipe"],
        "run_folder": [
            "BEST",
            "CHOICE",
            "LAST",
            "RECIPE",
            "Manifest",
            "create_run",
            "discard_unfinished",
            "read_recipe",
            "write_json",
        ],
    },
)
