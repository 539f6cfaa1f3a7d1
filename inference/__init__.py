"""Prediction on images of any size: runs, plans, tiles, scores and export. TensorFlow is imported on first use."""

from importlib import import_module

from .run import check_run, run_rank

__all__ = [
    "DiskFull",
    "Ensemble",
    "check_cluster",
    "check_output",
    "check_run",
    "cleaning_of",
    "decide",
    "draw_findings",
    "evaluate",
    "export_bundle",
    "export_saved_model",
    "gate_of",
    "load_run",
    "open_cluster",
    "open_engine",
    "parse_tta",
    "plan_image",
    "plan_tiles",
    "predict_image",
    "predict_tiles",
    "run_rank",
    "with_engine",
]

LAZY = {
    "DiskFull": "journal",
    "Ensemble": "ensemble",
    "cleaning_of": "postprocess",
    "decide": "decisions",
    "draw_findings": "decisions",
    "check_cluster": "cluster",
    "check_output": "results",
    "evaluate": "evaluation",
    "gate_of": "gate",
    "export_bundle": "bundle",
    "export_saved_model": "export",
    "load_run": "run",
    "open_cluster": "cluster",
    "open_engine": "engines",
    "parse_tta": "tta",
    "plan_image": "predictor",
    "plan_tiles": "tiling",
    "predict_image": "predictor",
    "predict_tiles": "tiling",
    "with_engine": "engines",
}


def __getattr__(name):
    if name in LAZY:
        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
