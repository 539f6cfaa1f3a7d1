"""Trained runs as models for deployment, written only if they answer as `predict` does.

Inside are normalisation, mirrored borders, test-time augmentation, the ensemble, activation and thresholds. An image
goes through in one piece.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskzoo.errors import ExistingFile, OptionError
from maskzoo.files import write_json, written_atomically
from maskzoo.names import one_of

from ..inference.engines.conversion import check_backend
from ..inference.predictor import Predictor
from ..inference.run import Run
from .formats import FORMATS
from .graph import BundleGraph
from .parity import TOLERANCE, compare_bundle, compare_network, parity_images

DTYPES = ("uint8", "uint16", "int16", "float32")
REPORT = "parity.json"


# The report is what parity.json holds: words and numbers.
def export_bundle(
    run: Predictor,
    output: str | Path,
    *,
    format: str = "saved_model",
    dtype: str | None = None,
    size: Sequence[int] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Writes a folder with a model from raw images of any size to their masks, and the report of its comparison.

    Args:
        run: A run, or an ensemble of runs.
        output: Folder to write; it must not exist. It appears only if the model answers as `predict` does.
        format: One of `FORMATS`.
        dtype: Type of the raw pixels, one of `DTYPES`; `None` for that of the run's validation images.
        size: Spatial sizes of the images, for `litert`, which takes one size only; `None` for the run's patch.
        tolerance: Largest difference of probabilities that is accepted.

    Returns:
        The report: `format`, `dtype`, `images` (what was compared), `tolerance`, `reading` (what must be done to images
        first: see `reading_before`), and in `sizes` a `ParityRow` for each image as a dictionary.

    Raises:
        ExistingFile: There is something at `output`.
        OptionError: The format or the type is unknown.
        RunError: Something in the run has no form in a graph, or the model does not answer as `predict` does.
    """
    check_backend("export")
    if format not in FORMATS:
        raise OptionError("format", one_of(format, FORMATS), repr(format))
    output = new_folder(output)
    chosen = FORMATS[format]
    sizes = None if chosen.any_size else tuple(size or run.data.patch)
    origin, images = parity_images(run, dtype, sizes)
    dtype = dtype or images[0].dtype.name
    if dtype not in DTYPES:
        raise OptionError("dtype", f"one of {', '.join(DTYPES)}", dtype)
    graph = BundleGraph(run, dtype, sizes)
    with written_atomically(output) as folder:
        chosen.write(graph, folder)
        report = {"format": format, "dtype": dtype, "images": origin, "tolerance": tolerance}
        report["reading"] = reading_before(run)
        rows = compare_bundle(run, chosen.open(folder), images, tolerance, output)
        report["sizes"] = [asdict(row) for row in rows]
        write_json(folder / REPORT, report)
    return report


def reading_before(run: Predictor) -> dict[str, Any]:  # JSON values
    """Returns what `predict` does to an image before its pixels are those that a bundle takes, by key of a data set.

    Args:
        run: A run, or an ensemble of runs.
    """
    described = run.data
    found = {**described.scale, **described.reading, "channels": described.spec.get("channels")}
    if described.spatial_dims == 2 or found.get("orientation") == "stored":
        found.pop("orientation", None)
    return {name: value for name, value in found.items() if value}


def export_saved_model(run: Run, output: str | Path) -> list[tuple[tuple[int, ...], float]]:
    """Writes only the network of a run, from normalised images to logits, as a SavedModel with free spatial sizes.

    Args:
        run: A run.
        output: Folder to write; it must not exist. It appears only if the network answers as the Keras model does.

    Returns:
        Spatial sizes and the largest difference of logits, for each of two sizes.

    Raises:
        ExistingFile: There is something at `output`.
        RunError: Logits differ from those of the Keras model by more than 1e-4 of their range.
    """
    check_backend("export")
    output = new_folder(output)
    with written_atomically(output) as folder:
        run.model.export(folder, format="tf_saved_model", verbose=False)
        return list(compare_network(run.model, folder, output))


def new_folder(path: str | Path) -> Path:
    """Returns the path of a folder to write.

    Raises:
        ExistingFile: There is something already.
    """
    path = Path(path)
    if path.exists():
        raise ExistingFile(path, "a folder that does not exist yet", "one that does")
    return path
