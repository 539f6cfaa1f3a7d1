"""What a functional model's graph says about it: receptive field, allowed input sizes, cost and memory.

Custom layers declare with `register` what they do along a spatial axis.
"""

from .cost import multiply_adds, parameters
from .graph import (
    Call,
    all_layers,
    arguments_of,
    calls_forgotten,
    functional,
    is_called_once,
    layer_behind,
    names_apart,
    output_index,
    output_names,
    output_specs,
    outputs_by_name,
    readers,
    walk,
)
from .layer_rules import register
from .memory import peak_activation_bytes, training_activation_bytes
from .needed import Needed, Span, mask_of, needed
from .places import Place, places
from .receptive_field import Geometry, SizeRule, check_size, geometry, nearest_size
from .tracks import AxisGeometry

__all__ = [
    "AxisGeometry",
    "Call",
    "Geometry",
    "Needed",
    "Place",
    "SizeRule",
    "Span",
    "all_layers",
    "arguments_of",
    "calls_forgotten",
    "check_size",
    "functional",
    "geometry",
    "is_called_once",
    "layer_behind",
    "mask_of",
    "multiply_adds",
    "names_apart",
    "nearest_size",
    "needed",
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
    "walk",
]
