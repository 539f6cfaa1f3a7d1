"""From files of any size to windows and batches: sources, writers, labels, normalisation, data sets."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .images.image_files import SUFFIXES as SUFFIXES
    from .images.image_files import file_stem as file_stem
    from .images.image_files import file_suffix as file_suffix
    from .images.image_files import file_version as file_version
    from .images.image_files import is_image as is_image
    from .images.missing_pixels import held_pixels as held_pixels
    from .images.missing_pixels import lacks_pixels as lacks_pixels
    from .images.opening import open_source as open_source
    from .images.overview import tissue_finder as tissue_finder
    from .images.pyramid import ResampledSource as ResampledSource
    from .images.pyramid import nearest as nearest
    from .images.resizing import resize as resize
    from .images.source import Frame as Frame
    from .images.source import Source as Source
    from .images.unlike_values import unlike as unlike
    from .images.value_range import ValueRange as ValueRange
    from .images.value_range import require_same_kind as require_same_kind
    from .images.value_range import rescaled as rescaled
    from .inspection.contents import inspect_data as inspect_data
    from .inspection.pictures import save_figure as save_figure
    from .inspection.pictures import save_overlays as save_overlays
    from .inspection.shift import compare_images as compare_images
    from .inspection.shift import open_images as open_images
    from .inspection.shift_picture import save_shift as save_shift
    from .labels.outlines import trace_outlines as trace_outlines
    from .labels.run_lengths import decode_rle as decode_rle
    from .labels.run_lengths import encode_rle as encode_rle
    from .labels.run_lengths import encode_windows as encode_windows
    from .labels.scheme import LabelScheme as LabelScheme
    from .labels.table_dialects import TABLE_DIALECTS as TABLE_DIALECTS
    from .sampling.options import LoadingOptions as LoadingOptions
    from .sampling.options import SamplingOptions as SamplingOptions
    from .sampling.options import WindowOptions as WindowOptions
    from .sampling.window_dataset import WindowDataset as WindowDataset
    from .sets.cases import Case as Case
    from .sets.copies import listed_names as listed_names
    from .sets.data_set import DataSet as DataSet
    from .sets.data_set import labelled_cases as labelled_cases
    from .sets.data_set import load_data as load_data
    from .sets.folders import image_files as image_files
    from .sets.folds import foreground_fractions as foreground_fractions
    from .sets.folds import foreground_shares as foreground_shares
    from .sets.folds import groups_by_pattern as groups_by_pattern
    from .sets.folds import held_out_names as held_out_names
    from .sets.folds import make_folds as make_folds
    from .sets.folds import read_folds as read_folds
    from .sets.folds import regions_in as regions_in
    from .sets.folds import write_folds as write_folds
    from .sets.image_identity import ImageIdentity as ImageIdentity
    from .sets.image_identity import KnownImages as KnownImages
    from .sets.image_identity import identities_of as identities_of
    from .sets.image_opening import files_as_trained as files_as_trained
    from .sets.image_opening import images_as_trained as images_as_trained
    from .sets.image_opening import name_as_trained as name_as_trained
    from .sets.image_opening import open_as_trained as open_as_trained
    from .sets.image_opening import place_as_trained as place_as_trained
    from .sets.image_opening import scale_as_trained as scale_as_trained
    from .sets.label_as_trained import open_label_as_trained as open_label_as_trained
    from .sets.makers import LabelMaker as LabelMaker
    from .sets.makers import Makers as Makers
    from .sets.makers import read_makers as read_makers
    from .sets.normalization import Normalizer as Normalizer
    from .sets.occurrence import require_every_class as require_every_class
    from .sets.pairs import image_names as image_names
    from .sets.pairs import largest_shape as largest_shape
    from .sets.parts import images_held_out as images_held_out
    from .sets.parts import images_to_split as images_to_split
    from .sets.regions import ReceptiveField as ReceptiveField
    from .sets.regions import Region as Region
    from .sets.spec_file import check_path as check_path
    from .sets.spec_file import files_of as files_of
    from .sets.spec_file import files_of_images as files_of_images
    from .sets.spec_file import files_of_spec as files_of_spec
    from .sets.spec_file import prefixes as prefixes
    from .sets.spec_file import read_spec as read_spec
    from .sets.spec_file import resumed_spec as resumed_spec
    from .sets.spec_file import spatial_dims_of as spatial_dims_of
    from .sets.specification import SYNTHETIC as SYNTHETIC
    from .sets.specification import DataSpec as DataSpec
    from .synthetic.objects import synthetic_cases as synthetic_cases
    from .synthetic.sets import write_synthetic as write_synthetic
    from .windows import Window as Window
    from .windows import crop as crop
    from .windows import window_grid as window_grid
    from .writers.format_writer import WriterOptions as WriterOptions
    from .writers.writer import SINK_SUFFIXES as SINK_SUFFIXES
    from .writers.writer import WRITER_SUFFIXES as WRITER_SUFFIXES
    from .writers.writer import Writer as Writer
    from .writers.writer import check_writable as check_writable
    from .writers.writer import lock_file as lock_file
    from .writers.writer import open_sink as open_sink
    from .writers.writer import open_writer as open_writer

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "images.image_files": ["SUFFIXES", "file_stem", "file_suffix", "file_version", "is_image"],
        "images.missing_pixels": ["held_pixels", "lacks_pixels"],
        "images.opening": ["open_source"],
        "images.overview": ["tissue_finder"],
        "images.pyramid": ["ResampledSource", "nearest"],
        "images.resizing": ["resize"],
        "images.source": ["Frame", "Source"],
        "images.unlike_values": ["unlike"],
        "images.value_range": ["ValueRange", "require_same_kind", "rescaled"],
        "inspection.contents": ["inspect_data"],
        "inspection.pictures": ["save_figure", "save_overlays"],
        "inspection.shift": ["compare_images", "open_images"],
        "inspection.shift_picture": ["save_shift"],
        "labels.outlines": ["trace_outlines"],
        "labels.run_lengths": ["decode_rle", "encode_rle", "encode_windows"],
        "labels.scheme": ["LabelScheme"],
        "labels.table_dialects": ["TABLE_DIALECTS"],
        "sampling.options": ["LoadingOptions", "SamplingOptions", "WindowOptions"],
        "sampling.window_dataset": ["WindowDataset"],
        "sets.cases": ["Case"],
        "sets.copies": ["listed_names"],
        "sets.data_set": ["DataSet", "labelled_cases", "load_data"],
        "sets.folders": ["image_files"],
        "sets.folds": [
            "foreground_fractions",
            "foreground_shares",
            "groups_by_pattern",
            "held_out_names",
            "make_folds",
            "read_folds",
            "regions_in",
            "write_folds",
        ],
        "sets.image_identity": ["ImageIdentity", "KnownImages", "identities_of"],
        "sets.makers": ["LabelMaker", "Makers", "read_makers"],
        "sets.image_opening": [
            "files_as_trained",
            "images_as_trained",
            "name_as_trained",
            "open_as_trained",
            "place_as_trained",
            "scale_as_trained",
        ],
        "sets.label_as_trained": ["open_label_as_trained"],
        "sets.normalization": ["Normalizer"],
        "sets.occurrence": ["require_every_class"],
        "sets.pairs": ["image_names", "largest_shape"],
        "sets.parts": ["images_held_out", "images_to_split"],
        "sets.regions": ["ReceptiveField", "Region"],
        "sets.spec_file": [
            "check_path",
            "files_of",
            "files_of_images",
            "files_of_spec",
            "prefixes",
            "read_spec",
            "resumed_spec",
            "spatial_dims_of",
        ],
        "sets.specification": ["SYNTHETIC", "DataSpec"],
        "synthetic.objects": ["synthetic_cases"],
        "synthetic.sets": ["write_synthetic"],
        "windows": ["Window", "crop", "window_grid"],
        "writers.format_writer": ["WriterOptions"],
        "writers.writer": [
            "SINK_SUFFIXES",
            "WRITER_SUFFIXES",
            "Writer",
            "check_writable",
            "lock_file",
            "open_sink",
            "open_writer",
        ],
    },
)
