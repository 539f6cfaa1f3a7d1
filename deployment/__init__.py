"""Trained runs as models for deployment, kept only if they answer as `predict` does."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .bundle import export_bundle as export_bundle
    from .bundle import export_saved_model as export_saved_model
    from .bundle import reading_before as reading_before

# Where each public name lives; its module is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundle": ["export_bundle", "export_saved_model", "reading_before"],
    },
)
