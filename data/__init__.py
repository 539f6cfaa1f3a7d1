"""From files of any size to windows and batches: sources, sinks, labels, normalisation, data sets."""

from .sinks import open_sink
from .sources import open_source
from .windows import Window, crop, window_grid

__all__ = ["Window", "crop", "open_sink", "open_source", "window_grid"]
