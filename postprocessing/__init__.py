"""What is done to decided masks: holes, small objects, touching objects; in strips, whatever the size of the image."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .cleaning import Cleaning as Cleaning
    from .cleaning import clean as clean
    from .cleaning import clean_labels as clean_labels
    from .cleaning import cleaning_of as cleaning_of
    from .components import Components as Components
    from .components import find_components as find_components
    from .components import keep_largest as keep_largest
    from .components import remove_small as remove_small
    from .holes import fill_holes as fill_holes
    from .strips import Strips as Strips
    from .strips import array_strips as array_strips
    from .strips import background as background
    from .strips import strip_height as strip_height
    from .watershed import split_touching as split_touching

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cleaning": ["Cleaning", "clean", "clean_labels", "cleaning_of"],
        "components": ["Components", "find_components", "keep_largest", "remove_small"],
        "holes": ["fill_holes"],
        "strips": ["Strips", "array_strips", "background", "strip_height"],
        "watershed": ["split_touching"],
    },
)
