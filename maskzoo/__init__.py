"""maskzoo: segmentation architectures for Keras 3, and the road from a giant TIFF to a mask."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the sub-packages stand at the top (models/, losses/, ...); installed, they lie inside this folder.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))
