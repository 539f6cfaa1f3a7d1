"""The windows that a training sees: their size, and the data sets of training, validation and hard examples."""

import time
from collections.abc import Sequence

import keras

from maskzoo.errors import OptionError

from .. import data
from ..data.sampling.case_grid import Batch
from ..models import analysis
from .recipe import Recipe
from .session import Session
from .strategy import shard_of_batch

DEFAULT_PATCH = {2: 256, 3: 32}
# Validation goes forward only, which takes about a third of a step; reading its windows takes as long.
VALIDATION_FACTOR = 2


class TimedWindows(data.WindowDataset):
    """Windows that add up how many seconds the training waited for them."""

    waited = 0.0

    def __getitem__(self, index: int) -> Batch:
        started = time.perf_counter()
        try:
            return super().__getitem__(index)
        finally:
            self.waited += time.perf_counter() - started


def input_patch(network: keras.Model, patch: int | Sequence[int] | None) -> tuple[int, ...]:
    """Returns the size of the network's input windows: the given one rounded up to an allowed size, or the default.

    Args:
        network: The functional model.
        patch: One size for all spatial axes, one for each, or `None`.

    Raises:
        OptionError: If it is not that.
    """
    spatial_dims = len(network.inputs[0].shape) - 2
    size = DEFAULT_PATCH[spatial_dims] if patch is None else patch
    sizes = (size,) * spatial_dims if isinstance(size, int) else tuple(size)
    if len(sizes) != spatial_dims or min(sizes) < 1:
        raise OptionError("patch", f"one positive size, or one for each of {spatial_dims} axes", list(sizes))
    return analysis.nearest_size(network, sizes)


def training_windows(session: Session, recipe: Recipe, workers: int = 1) -> TimedWindows:
    """Returns the random windows that a stage is trained on.

    Args:
        session: What is trained, on what.
        recipe: The recipe of the stage.
        workers: Number of threads that read ahead.
    """
    patch, halo = label_patch(session, recipe)
    return TimedWindows(
        session.dataset.train,
        patch,
        recipe.batch_size,
        recipe.window_options(),
        halo=halo,
        loading=loading(session, workers),
    )


def grid_of_training_windows(session: Session, recipe: Recipe) -> data.WindowDataset:
    """Returns the windows of the training images' grid, in order: those among which hard examples are drawn."""
    patch, halo = label_patch(session, recipe)
    return data.WindowDataset(
        session.dataset.train,
        patch,
        recipe.batch_size,
        recipe.window_options(),
        halo=halo,
        shuffle=False,
        loading=loading(session, workers=1),
    )


def validation_windows(
    session: Session, recipe: Recipe, limit: int | None = None, workers: int = 1
) -> data.WindowDataset:
    """Returns the validation windows: all of the held-out images, or as many as do not hold up the training.

    Which ones follows from the images, the patch and their number alone, so that runs with other seeds are measured on
    the same. By default every image takes part.

    Args:
        session: What is trained, on what.
        recipe: The recipe of the stage.
        limit: Maximum number of windows; that of the recipe by default.
        workers: Number of threads that read ahead.
    """
    patch, halo = label_patch(session, recipe)
    images = session.dataset.validation
    default = max(VALIDATION_FACTOR * recipe.steps * recipe.batch_size, len(images))
    return data.WindowDataset(
        images,
        patch,
        recipe.batch_size,
        halo=halo,
        shuffle=False,
        limit=limit or recipe.validation_windows or default,
        loading=loading(session, workers),
    )


def label_patch(session: Session, recipe: Recipe) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Returns the size of the label windows, and how many pixels the image windows show around them, per axis."""
    geometry, patch = session.geometry, input_patch(session.network, recipe.patch)
    labels = tuple(p - c for p, c in zip(patch, geometry.crop, strict=True))
    return labels, tuple((o, c - o) for o, c in zip(geometry.offset, geometry.crop, strict=True))


def loading(session: Session, workers: int) -> data.LoadingOptions:
    """Returns how batches are read ahead and divided among devices and hosts."""
    replicas, shard = session.strategy.num_replicas_in_sync, shard_of_batch(session.strategy)
    return data.LoadingOptions(workers=workers, replicas=replicas, shard=shard)
