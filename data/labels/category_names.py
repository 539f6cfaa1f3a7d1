"""The names that GIS programs keep for the label values of a raster, in the `.aux.xml` file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from maskzoo.errors import UnreadableFile, readable

from .facts import LabelFacts
from .scheme import LabelScheme
from .values import unresampled


def category_names(path: Path) -> dict[int, str]:
    """Returns the names of label values that are kept beside a raster.

    Args:
        path: The raster.

    Returns:
        Each value with its name; none where there is no such file, or none in it.

    Raises:
        UnreadableFile: If the file beside it is no XML.

    Source: the persistent auxiliary metadata of GDAL, `CategoryNames` of the first band.
    """
    beside = path.with_name(f"{path.name}.aux.xml")
    if not beside.is_file():
        return {}
    with readable(beside, "an XML file of GDAL", UnreadableFile):
        found = ElementTree.parse(beside).findall("./PAMRasterBand[@band='1']/CategoryNames/Category")
    names = {value: (entry.text or "").strip() for value, entry in enumerate(found)}
    return {value: name for value, name in names.items() if name}


def named(scheme: LabelScheme, facts: Sequence[LabelFacts]) -> LabelScheme:
    """Returns a scheme whose classes have the names that the files keep, where all that keep any agree."""
    names: dict[int, str] = {}
    for fact in facts:
        path = unresampled(fact.source).path
        for value, name in (category_names(path) if path else {}).items():
            if names.setdefault(value, name) != name:
                return scheme
    groups = scheme.values[-1:] if scheme.task == "binary" else scheme.values
    found = [next((names[value] for value in group if value in names), None) for group in groups]
    if None in found or len(set(found)) < len(found):
        return scheme
    return replace(scheme, class_names=tuple(name for name in found if name))
