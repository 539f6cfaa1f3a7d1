"""What a run folder says about a training before its first epoch: recipe, data, first thresholds, circumstances."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from maskzoo.errors import RunError
from maskzoo.files import JSON
from maskzoo.names import counted

from .. import data
from ..inference.run_files import Decision, RunData, read_run_data
from ..inference.run_folders import DATA_FILE, DECISION_FILE, split_epoch
from ..inference.seen_images import SeenImages, seen_by
from ..models import analysis
from .network import regions_of
from .options import Value
from .recipe import Recipe
from .run_folder import LAST, SCORES, Manifest, write_recipe
from .session import Session
from .windows import input_patch

logger = logging.getLogger(__name__)


def write_description(session: Session, recipe: Recipe, run: Path) -> None:
    """Writes what a run folder says about its training: recipe, data, first thresholds, circumstances."""
    dataset = session.dataset
    patch = input_patch(session.network, recipe.each_stage()[-1].patch)
    regions = regions_of(recipe, dataset)
    described: dict[str, Value] = {**dataset.as_mapping(), "patch": patch}
    if regions:
        described["fine"] = asdict(regions)
    before: list[JSON] = [*described["seen_before"]]
    if seen := seen_by_first_weights(recipe):
        warn_of_seen(recipe, dataset, seen)
        before += [image.as_mapping() for image in seen.images.images]
    if (run / LAST).is_file() and (run / DATA_FILE).is_file():
        # The runs that it began with may be gone when it is resumed.
        before += [image for image in read_run_data(run).seen_before if image not in before]
    described["seen_before"] = before
    # From here on the run is not finished; one that is refused keeps its scores.
    (run / SCORES).unlink(missing_ok=True)
    write_recipe(recipe, run)
    RunData.from_mapping(described).write(run)
    if not (run / DECISION_FILE).exists():
        # What was decided for a run that is resumed holds as long as its model is the same, which is looked at later.
        Decision((0.5,) * dataset.num_classes).write(run)
    Manifest.now(recipe, dataset.fingerprint, analysis.parameters(session.network)[0]).write(run)


def seen_by_first_weights(recipe: Recipe) -> SeenImages | None:
    """Returns the images that the run was trained on whose weights this one begins with; `None` if there is no run."""
    if recipe.init_from is None:
        return None
    folder = split_epoch(recipe.init_from)[0]
    folder = folder if folder.is_dir() else folder.parent
    return seen_by(read_run_data(folder), folder) if (folder / DATA_FILE).is_file() else None


def warn_of_seen(recipe: Recipe, dataset: data.DataSet, before: SeenImages) -> None:
    """Warns of held-out images that the first weights of the network were trained on."""
    names = [
        case.name
        for case in dataset.validation
        if before.has(dataset.identities.get(case.name, data.ImageIdentity()), case.name)
    ]
    if names:
        logger.warning("held out, but seen by %s in training: %s", recipe.init_from, data.listed_names(names))


def check_same_data(run: Path, dataset: data.DataSet) -> None:
    """Refuses to resume a run on other images than it was begun with, or with others held out.

    It would be measured on images that it was trained on. Images are known by what they are, wherever they lie now;
    those of runs of earlier versions by their names. Other labels of the same images are accepted, which is said.

    Args:
        run: The run folder.
        dataset: The data set to go on with.

    Raises:
        RunError: If they are others.
    """
    if not (run / DATA_FILE).is_file():
        return
    earlier = read_run_data(run)
    sides = ((earlier.train, dataset.train), (earlier.validation, dataset.validation))
    named_alike = all(set(before) == {case.name for case in now} for before, now in sides)
    if named_alike and earlier.fingerprint in ("", dataset.fingerprint):
        return
    begun = [Images(earlier.images, names) for names in (earlier.train, earlier.validation)]
    mappings = {name: image.as_mapping() for name, image in dataset.identities.items()}
    now = [Images(mappings, [case.name for case in cases]) for cases in (dataset.train, dataset.validation)]
    if any(one.others(other) or other.others(one) for one, other in zip(begun, now, strict=True)):
        everything = Images(earlier.images, [*earlier.train, *earlier.validation])
        all_now = Images(mappings, [name for side in now for name in side.names])
        added, missing = len(everything.others(all_now)), len(all_now.others(everything))
        changed = sum(len(side.names) - len(other.others(side)) for side, other in zip(now, begun[::-1], strict=True))
        raise RunError(
            run,
            "the images that it was begun with, to be resumed",
            f"{counted(added, 'other image')}, {missing} missing, {changed} on the other side of the split",
        )
    logger.warning("%s: the images are those that the run was begun with, but files or labels differ", run)


class Images:
    """Images that are trained on, or held out.

    Args:
        identities: What images are, by name, as `data.json` has it; nothing in runs of earlier versions.
        names: Names of those that are meant.
    """

    def __init__(self, identities: Mapping[str, JSON], names: Iterable[str]) -> None:
        self.names = list(names)
        self.identities = {name: data.ImageIdentity.from_mapping(identities.get(name, {})) for name in self.names}
        self.known = data.KnownImages(self.identities.values())

    def others(self, images: "Images") -> list[str]:
        """Returns the names of images that are none of these; by name where pixels are not known of all."""
        by_name = any(image.content is None for image in (*self.identities.values(), *images.identities.values()))
        return [
            name
            for name, image in images.identities.items()
            if (name not in self.identities if by_name else image not in self.known)
        ]
