"""From files of any size to windows and batches: sources, sinks, labels, normalisation, data sets."""

from importlib import import_module

# Where each public name lives. A module is imported on first use: a wrong option is answered before NumPy is there,
# and only `dataset` needs Keras.
HOMES = {
    "cases": ["Case", "DataSet", "labelled_cases", "load_data"],
    "dataset": ["WindowDataset"],
    "folds": ["groups_by_pattern", "held_out_names", "make_folds", "read_folds", "write_folds"],
    "inspection": ["inspect_data"],
    "labels": ["LabelScheme"],
    "outlines": ["trace_outlines"],
    "overview": ["tissue_finder"],
    "pictures": ["save_figure", "save_overlays"],
    "reading": ["file_stem", "file_suffix"],
    "rle": ["decode_rle", "encode_rle", "encode_windows"],
    "shift": ["compare_images", "open_images", "save_shift"],
    "sinks": ["SINK_SUFFIXES", "check_writable", "lock_file", "open_sink"],
    "sources": ["SUFFIXES", "is_image", "open_source"],
    "specification": ["SYNTHETIC", "DataSpec", "check_path", "rank_of", "read_spec"],
    "statistics": ["Normalizer"],
    "strata": ["foreground_shares", "image_names"],
    "synthetic": ["synthetic_cases"],
    "synthetic_sets": ["write_synthetic"],
    "windows": ["Window", "crop", "window_grid"],
}

__all__ = [name for names in HOMES.values() for name in names]


def __getattr__(name):
    for module, names in HOMES.items():
        if name in names:
            globals()[name] = getattr(import_module(f".{module}", __name__), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
