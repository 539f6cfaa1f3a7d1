"""Words for people: the known name that a misspelt one was meant to be, numbers with nouns, times."""

import difflib
import re
from collections.abc import Iterable

# Spellings of other libraries and papers, as the words of a name.
SYNONYMS = {
    "backbone": "encoder",
    "classes": "num classes",
    "nclasses": "num classes",
    "dropout rate": "dropout",
    "unet 2d": "unet",
    "unet2d": "unet",
    "att unet": "attention unet",
}
# Similarity from which a name may have been meant, as `difflib` measures it.
NEAR = 0.7


def nearest_name(word: str, known: Iterable[str]) -> str | None:
    """Returns the known name that a word was meant to be, or `None` if none is near.

    Case, `-`, `_`, `+` for `plus` and the words of other libraries (`backbone`, `classes`) make no difference.
    """
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(spelled(name), name)
    asked = spelled(word)
    for candidate in (SYNONYMS.get(asked), asked):
        if candidate in plain:
            return plain[candidate]
    close = difflib.get_close_matches(asked, plain, n=1, cutoff=NEAR)
    begun = [name for name in plain if len(asked) > 2 and name.startswith(asked)]
    # The first words of a name are the name sooner than another one that looks like them: `batch` is no `patch`.
    first = [name for name in begun if name.startswith(f"{asked} ")]
    found = [*sorted(first, key=len), *close, *sorted(begun, key=len)]
    return plain[found[0]] if found else None


def one_of(word: str, known: Iterable[str]) -> str:
    """Says what was expected in place of a word: `train (of train, predict)`, or `one of train, predict`."""
    known = list(known)
    near = nearest_name(word, known)
    everything = ", ".join(known) or "none"
    return f"{near} (of {everything})" if near else f"one of {everything}"


def spelled(name: str) -> str:
    """A name in lower case, its words apart by one space."""
    words = re.sub(r"[-_\s]+", " ", str(name).replace("+", " plus ").lower())
    return words.strip()


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 image`, `3 images`; the plural is given where it does not end in `s` alone."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in words: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
