"""Prediction on images of any size: runs, plans, tiles, ensembles. TensorFlow is imported on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .cluster import check_cluster as check_cluster
    from .cluster import open_cluster as open_cluster
    from .engines import open_engine as open_engine
    from .engines import with_engine as with_engine
    from .ensemble import Ensemble as Ensemble
    from .gate import gate_of as gate_of
    from .journal import DiskFull as DiskFull
    from .predict_image import plan_image as plan_image
    from .predict_image import predict_image as predict_image
    from .results import check_output as check_output
    from .run import Run as Run
    from .run import check_run as check_run
    from .run import load_run as load_run
    from .run import run_spatial_dims as run_spatial_dims
    from .run_files import Decision as Decision
    from .run_files import RunData as RunData
    from .run_files import read_decision as read_decision
    from .run_files import read_run_data as read_run_data
    from .tile_plan import plan_tiles as plan_tiles
    from .tile_plan import predict_tiles as predict_tiles
    from .tta import parse_tta as parse_tta

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cluster": ["check_cluster", "open_cluster"],
        "engines": ["open_engine", "with_engine"],
        "ensemble": ["Ensemble"],
        "gate": ["gate_of"],
        "journal": ["DiskFull"],
        "predict_image": ["plan_image", "predict_image"],
        "results": ["check_output"],
        "run": ["Run", "check_run", "load_run", "run_spatial_dims"],
        "run_files": ["Decision", "RunData", "read_decision", "read_run_data"],
        "tile_plan": ["plan_tiles", "predict_tiles"],
        "tta": ["parse_tta"],
    },
)
