"""What a functional model's graph says about it: receptive field, allowed input sizes, cost and memory.

Custom layers declare with `register` what they do along a spatial axis.
"""

from .cost import multiply_adds, parameters
from .graph import (
    all_layers,
    arguments_of,
    is_called_once,
    layer_behind,
    output_index,
    output_names,
    output_specs,
    outputs_by_name,
    readers,
)
from .layer_rules import register
from .memory import peak_activation_bytes, training_activation_bytes
from .places import Place, places
from .receptive_field import Geometry, SizeRule, check_size, geometry, nearest_size
from .tracks import AxisGeometry

__all__ = [
    "AxisGeometry",
    "Geometry",
    "Place",
    "SizeRule",
    "all_layers",
    "arguments_of",
    "check_size",
    "geometry",
    "is_called_once",
    "layer_behind",
    "multiply_adds",
    "nearest_size",
    "output_index",
    "output_names",
    "output_specs",
    "outputs_by_name",
    "parameters",
    "peak_activation_bytes",
    "places",
    "readers",
    "register",
    "training_activation_bytes",
]
