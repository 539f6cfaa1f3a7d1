from data.cases import Case as Case
from data.cases import DataSet as DataSet
from data.cases import labelled_cases as labelled_cases
from data.cases import load_data as load_data
from data.dataset import WindowDataset as WindowDataset
from data.folds import groups_by_pattern as groups_by_pattern
from data.folds import make_folds as make_folds
from data.folds import read_folds as read_folds
from data.folds import write_folds as write_folds
from data.inspection import inspect_data as inspect_data
from data.labels import LabelScheme as LabelScheme
from data.outlines import trace_outlines as trace_outlines
from data.overview import tissue_finder as tissue_finder
from data.pictures import save_figure as save_figure
from data.pictures import save_overlays as save_overlays
from data.reading import file_stem as file_stem
from data.reading import file_suffix as file_suffix
from data.rle import decode_rle as decode_rle
from data.rle import encode_rle as encode_rle
from data.rle import encode_windows as encode_windows
from data.shift import compare_images as compare_images
from data.shift import open_images as open_images
from data.shift import save_shift as save_shift
from data.sinks import SINK_SUFFIXES as SINK_SUFFIXES
from data.sinks import check_writable as check_writable
from data.sinks import open_sink as open_sink
from data.sources import SUFFIXES as SUFFIXES
from data.sources import is_image as is_image
from data.sources import open_source as open_source
from data.specification import (
    DataSpec as DataSpec,
)
from data.specification import (
    check_path as check_path,
)
from data.specification import (
    rank_of as rank_of,
)
from data.specification import (
    read_spec as read_spec,
)
from data.statistics import Normalizer as Normalizer
from data.strata import foreground_shares as foreground_shares
from data.strata import image_names as image_names
from data.synthetic import synthetic_cases as synthetic_cases
from data.synthetic_sets import write_synthetic as write_synthetic
from data.windows import Window as Window
from data.windows import crop as crop
from data.windows import window_grid as window_grid
