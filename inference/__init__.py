"""Prediction on images of any size: runs, plans, tiles, ensembles. Keras is imported on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .cluster import Cluster as Cluster
    from .cluster import open_cluster as open_cluster
    from .decisions import distinct_names as distinct_names
    from .engines.choice import open_engine as open_engine
    from .engines.choice import with_engine as with_engine
    from .engines.engine import Engine as Engine
    from .ensemble import Ensemble as Ensemble
    from .image_values import fitting_source as fitting_source
    from .memory_bound import bounded_tiles as bounded_tiles
    from .options import EngineOptions as EngineOptions
    from .options import OutputOptions as OutputOptions
    from .options import PredictOptions as PredictOptions
    from .options import ProgressOptions as ProgressOptions
    from .options import TileOptions as TileOptions
    from .options import check_cluster as check_cluster
    from .predict_image import predict_image as predict_image
    from .predictor import PostProcessing as PostProcessing
    from .predictor import Predictor as Predictor
    from .predictor import check_blending as check_blending
    from .predictor import load_run as load_run
    from .predictor import plan_image as plan_image
    from .predictor import post_processing as post_processing
    from .predictor import thresholds_for as thresholds_for
    from .results import check_output as check_output
    from .run import Run as Run
    from .run import read_run as read_run
    from .run_files import Decision as Decision
    from .run_files import RunData as RunData
    from .run_files import files_behind_runs as files_behind_runs
    from .run_files import files_of_data as files_of_data
    from .run_files import read_decision as read_decision
    from .run_files import read_run_data as read_run_data
    from .run_files import run_spatial_dims as run_spatial_dims
    from .run_folders import LAST as LAST
    from .run_folders import check_run as check_run
    from .run_folders import files_of_run as files_of_run
    from .run_folders import run_folder as run_folder
    from .seen_images import SeenImages as SeenImages
    from .seen_images import held_out_by as held_out_by
    from .seen_images import identities_of_files as identities_of_files
    from .seen_images import seen_by as seen_by
    from .tile_plan import TilePlan as TilePlan
    from .tile_plan import plan_tiles as plan_tiles
    from .tiles import TileSelection as TileSelection
    from .tiles import predict_tiles as predict_tiles
    from .tta import parse_tta as parse_tta

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cluster": ["Cluster", "open_cluster"],
        "decisions": ["distinct_names"],
        "engines.choice": ["open_engine", "with_engine"],
        "engines.engine": ["Engine"],
        "ensemble": ["Ensemble"],
        "image_values": ["fitting_source"],
        "memory_bound": ["bounded_tiles"],
        "options": [
            "EngineOptions",
            "OutputOptions",
            "PredictOptions",
            "ProgressOptions",
            "TileOptions",
            "check_cluster",
        ],
        "predict_image": ["predict_image"],
        "predictor": [
            "PostProcessing",
            "Predictor",
            "check_blending",
            "load_run",
            "plan_image",
            "post_processing",
            "thresholds_for",
        ],
        "results": ["check_output"],
        "run": ["Run", "read_run"],
        "seen_images": ["SeenImages", "held_out_by", "identities_of_files", "seen_by"],
        "run_files": [
            "Decision",
            "RunData",
            "files_behind_runs",
            "files_of_data",
            "read_decision",
            "read_run_data",
            "run_spatial_dims",
        ],
        "run_folders": ["LAST", "check_run", "files_of_run", "run_folder"],
        "tile_plan": ["TilePlan", "plan_tiles"],
        "tiles": ["TileSelection", "predict_tiles"],
        "tta": ["parse_tta"],
    },
)
