"""Whether the pixels of an image can be what a run was trained on, and bringing them to its range."""

from __future__ import annotations

import logging

from maskzoo.errors import OptionError

from .. import data
from .predictor import Predictor
from .run_files import RunData

logger = logging.getLogger(__name__)

# What is normalised by its own values may have any.
OWN_RANGE = ("image", "percentile")


def fitting_source(predictor: Predictor, source: data.Source) -> data.Source:
    """Returns an image as a predictor is to read it: in the range of its training images, if that is asked for.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        source: An open source.

    Raises:
        ImageError: If its values cannot be the same thing as those of the training images: of another type of images,
            or 0 to 1 for 0 to 255.
        OptionError: If images are to be rescaled for a run that has not noted the values of its own.
    """
    for run in predictor.members:
        trained = values_of_training(run.data)
        if trained is None:
            if run.rescale:
                raise OptionError("rescale", "a run that notes the values of its images", f"{run.name}, an older one")
            continue
        if run.rescale or run.data.spec.get("rescale"):
            source = data.rescaled(source, trained)
        if run.data.normalization.get("kind") not in OWN_RANGE:
            data.require_same_kind(source, trained, f"the training images of {run.name}")
            say_unlike_values(source, trained, run.name)
    return source


def say_unlike_values(source: data.Source, trained: data.ValueRange, name: str) -> None:
    """Says if an image of more than 8 bits has values of another scale than the training images of a run."""
    if source.dtype.itemsize > 1 and (words := data.unlike(data.ValueRange.of([source]), trained)):
        logger.warning("%s: %s as in the training images of %s", source.name, words, name)


def values_of_training(described: RunData) -> data.ValueRange | None:
    """Returns the values of the training images; `None` of runs that have not noted them."""
    return data.ValueRange.from_dict(described.pixel_values) if described.pixel_values else None
