"""What is done to decided masks: holes, small objects, touching objects; in strips, whatever the size of the image."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .cleaning import cleaning_of as cleaning_of

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cleaning": ["cleaning_of"],
    },
)
