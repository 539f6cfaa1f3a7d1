"""Images of a data set that are the same under several names: they are split together."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from maskzoo.names import counted

from .folds import groups_by_pattern
from .image_identity import ImageIdentity

logger = logging.getLogger(__name__)

# Names that a message lists before it says how many more there are.
LISTED_NAMES = 5


def group_images(identities: Mapping[str, ImageIdentity], pattern: str | None) -> dict[str, str] | None:
    """Returns the group of each image, which is never split: by a pattern in its name, and copies with their original.

    Args:
        identities: What the images are, by name.
        pattern: Regular expression that finds the group, or `None`.

    Returns:
        The name of the group by the name of the image; `None` if each image is a group of its own.
    """
    if pattern is not None:
        return grouped(groups_by_pattern(identities, pattern), identities)
    groups = grouped({name: name for name in identities}, identities)
    return groups if len(set(groups.values())) < len(groups) else None


def grouped(groups: Mapping[str, str], identities: Mapping[str, ImageIdentity]) -> dict[str, str]:
    """Returns groups by name, of which those that share an image are one, unless that makes one group of all.

    Which images are the same is logged.
    """
    joined, copies = with_copies(groups, identities)
    if not copies:
        return joined
    if len(set(joined.values())) == 1 < len(set(groups.values())):
        logger.warning(
            "split, though they are the same images: %s; else there would be nothing to hold out", listed_copies(copies)
        )
        return dict(groups)
    logger.info("never split, since they are the same images: %s", listed_copies(copies))
    return joined


def with_copies(
    groups: Mapping[str, str], identities: Mapping[str, ImageIdentity]
) -> tuple[dict[str, str], list[list[str]]]:
    """Returns groups by name, of which those that share an image are one; and the names of images that are the same."""
    joined = dict(groups)
    kinds: list[list[str]] = []
    by_content: dict[str, list[list[str]]] = {}
    for name, identity in identities.items():
        if identity.content is None:
            continue
        likes = by_content.setdefault(identity.content, [])
        like = [kind for kind in likes if any(identity.shows_the_same(identities[other]) for other in kind)]
        for kind in like:
            kept, other = joined[kind[0]], joined[name]
            joined = {member: kept if group == other else group for member, group in joined.items()}
            kind.append(name)
        if not like:
            likes.append([name])
            kinds.append(likes[-1])
    return joined, [kind for kind in kinds if len(kind) > 1]


def listed_copies(copies: Sequence[Sequence[str]]) -> str:
    """Says which images are the same: the first of them."""
    listed = [" = ".join(names[:LISTED_NAMES]) + (" = ..." if len(names) > LISTED_NAMES else "") for names in copies]
    return ", ".join(listed[:LISTED_NAMES]) + (f" and {len(listed) - LISTED_NAMES} more" * (len(listed) > LISTED_NAMES))


def listed_names(names: Collection[str]) -> str:
    """Says how many images there are, and the names of the first of them."""
    listed = sorted(names)
    more = "" if len(listed) <= LISTED_NAMES else ", ..."
    return f"{counted(len(listed), 'image')} ({', '.join(listed[:LISTED_NAMES])}{more})"
