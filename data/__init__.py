"""From files of any size to windows and batches: sources, sinks, labels, normalisation, data sets."""

from .cases import Case, DataSet, labelled_cases, load_data
from .folds import make_folds, read_folds, write_folds
from .inspection import inspect_data
from .labels import LabelScheme
from .pictures import save_figure, save_overlays
from .rle import decode_rle, encode_rle, encode_windows
from .sinks import SINK_SUFFIXES, check_writable, open_sink
from .sources import SUFFIXES, file_stem, file_suffix, open_source
from .specification import DataSpec, check_path, rank_of, read_spec
from .statistics import Normalizer
from .synthetic import synthetic_cases
from .synthetic_sets import write_synthetic
from .windows import Window, crop, window_grid

__all__ = [
    "SINK_SUFFIXES",
    "SUFFIXES",
    "Case",
    "DataSet",
    "DataSpec",
    "LabelScheme",
    "Normalizer",
    "Window",
    "WindowDataset",
    "check_path",
    "check_writable",
    "crop",
    "decode_rle",
    "encode_rle",
    "encode_windows",
    "file_stem",
    "file_suffix",
    "inspect_data",
    "labelled_cases",
    "load_data",
    "make_folds",
    "open_sink",
    "open_source",
    "rank_of",
    "read_folds",
    "read_spec",
    "save_figure",
    "save_overlays",
    "synthetic_cases",
    "window_grid",
    "write_folds",
    "write_synthetic",
]


def __getattr__(name):
    # The only part that needs Keras, which takes seconds to import.
    if name == "WindowDataset":
        from .dataset import WindowDataset

        return WindowDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
