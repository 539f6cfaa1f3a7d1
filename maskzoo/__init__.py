"""maskzoo: segmentation architectures for Keras 3, and the road from a giant TIFF to a mask."""

from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

from .machine import prefer_onednn

if TYPE_CHECKING:
    from maskzoo import cli as cli
    from maskzoo import data as data
    from maskzoo import deployment as deployment
    from maskzoo import evaluation as evaluation
    from maskzoo import inference as inference
    from maskzoo import losses as losses
    from maskzoo import metrics as metrics
    from maskzoo import models as models
    from maskzoo import postprocessing as postprocessing
    from maskzoo import training as training

    # In a checkout the rooms lie beside this folder, where only the path below finds them.
    from maskzoo.inference import load_run as load_run  # pyright: ignore[reportMissingImports]

__version__ = "0.1.0"

# In a checkout the sub-packages stand at the top (models/, losses/, ...); installed, they lie inside this folder.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))

prefer_onednn()

# Rooms are imported when they are touched: `import maskzoo` brings neither Keras nor TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "cli",
        "data",
        "deployment",
        "evaluation",
        "inference",
        "losses",
        "metrics",
        "models",
        "postprocessing",
        "training",
    ],
    submod_attrs={"inference": ["load_run"]},
)
