"""Opening the label of one image as a run reads those that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..images.source import Source
from ..labels.label_files import LabelFiles
from .label_opening import LabelOpener, number_of_bands
from .specification import DataSpec


def open_label_as_trained(
    path: str | os.PathLike[str],
    image: Source,
    trained: Mapping[str, Any],  # JSON values
) -> Source:
    """Opens a label image, at the place and the scale of its image.

    Args:
        path: File of the label.
        image: The image, as `open_as_trained` opened it.
        trained: The specification in the `data.json` of the run.

    Raises:
        OSError: The file cannot be read.
        LabelError: It cannot belong to the image.
    """
    spec = DataSpec(**trained)
    file, bands = Path(path), number_of_bands(spec.classes)
    files = LabelFiles({file.stem: file}, len(image.shape), colors=spec.color_table, bands=bands)
    opener = LabelOpener(lambda name, _: files.open(name), None, spec.instances, lambda: files.remarks)
    return opener(file.stem, image)
