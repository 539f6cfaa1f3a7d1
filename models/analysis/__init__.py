"""What the graph of a functional model tells: what each output element sees, which input sizes fit, and what it costs.

A layer of one's own declares what it does along a spatial axis with `register`.
"""

from .cost import multiply_adds, parameters
from .graph import is_called_once, layer_behind, output_names, output_specs, outputs_by_name
from .layer_rules import register
from .memory import peak_activation_bytes, training_activation_bytes
from .receptive_field import Geometry, SizeRule, check_size, geometry, nearest_size
from .tracks import AxisGeometry

__all__ = [
    "AxisGeometry",
    "Geometry",
    "SizeRule",
    "check_size",
    "geometry",
    "is_called_once",
    "layer_behind",
    "multiply_adds",
    "nearest_size",
    "output_names",
    "output_specs",
    "outputs_by_name",
    "parameters",
    "peak_activation_bytes",
    "register",
    "training_activation_bytes",
]
