"""MetaImage and NRRD on disk: what their headers say of the voxels, and whether the voxels are all there.

ITK writes to the console what is wrong with a MetaImage, and fills what is missing with whatever the memory holds.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

from maskzoo.errors import readable

from .image_files import file_suffix, file_version
from .packed_streams import GZIP, ZLIB, require_whole_stream

LONGEST_HEADER = 1 << 14
META_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4, "DOUBLE": 8}
META_BYTES |= {"LONG": 4, "ULONG": 4, "LONG_LONG": 8, "ULONG_LONG": 8}
# Entries that have a number per axis, and therefore come behind the number of axes.
PER_AXIS = ("DimSize", "TransformMatrix", "Offset", "Position", "ElementSpacing", "CenterOfRotation")
NRRD_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8, "char": 1, "short": 2, "int": 4, "float": 4, "double": 8, "long": 8}


def require_whole_scan(path: Path) -> None:
    """Refuses a MetaImage or NRRD without what its header needs, or without all of its voxels.

    Raises:
        UnreadableFile: If something is missing, or packed voxels are damaged.
    """
    suffix = file_suffix(path)
    with readable(path, "a readable scan"):
        if suffix in (".mhd", ".mha"):
            require_whole_meta(path)
        elif suffix in (".nrrd", ".nhdr"):
            require_whole_nrrd(path)


def require_whole_meta(path: Path) -> None:
    """Refuses a MetaImage as `require_whole_scan` does, by a `ValueError`."""
    fields, start = meta_fields(path)
    names = list(fields)
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name not in fields:
            raise ValueError(f"a header without {name}")
    early = [name for name in names[: names.index("NDims")] if name in PER_AXIS]
    axes = int(fields["NDims"])
    sizes = [int(size) for size in fields["DimSize"].split()]
    if early or len(sizes) != axes or min(sizes, default=0) < 1:
        raise ValueError(f"{axes} axes of sizes {fields['DimSize']:.60} in its header")
    size = META_BYTES.get(fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY"))
    if size is None:
        raise ValueError(f"voxels of an unknown type, {fields['ElementType']:.60}")
    length = prod(sizes) * size * int(fields.get("ElementNumberOfChannels", 1))
    if fields["ElementDataFile"].startswith("LIST"):
        with open(path, "rb") as file:
            file.seek(start)
            listed = [line.decode("utf-8", "replace").strip() for line in file.read(LONGEST_HEADER).splitlines()]
        if missing := [name for name in listed if name and not (path.parent / name).is_file()]:
            raise ValueError(f"a list of files of which {missing[0]:.60} is missing")
    if fields["ElementDataFile"] == "LOCAL":
        data = path
    else:
        data, start = data_file(path), 0
        if data is None:
            if fields["ElementDataFile"].startswith("LIST") or "%" in fields["ElementDataFile"]:
                return
            raise ValueError(f"no file {fields['ElementDataFile']:.60}, which its header names")
    if is_true(fields.get("CompressedData")):
        require_whole_stream(file_version(data), length, start, ZLIB)
    elif is_true(fields.get("BinaryData", "True")) and data.stat().st_size - start < length:
        raise ValueError(f"{data.stat().st_size - start} bytes of voxels where {length} are declared")


def meta_fields(path: Path) -> tuple[dict[str, str], int]:
    """Returns the entries of the header of a MetaImage, and where it ends."""
    with open(path, "rb") as file:
        content = file.read(LONGEST_HEADER)
    fields: dict[str, str] = {}
    place = 0
    for line in content.splitlines(keepends=True):
        place += len(line)
        name, sign, value = line.decode("latin-1").partition("=")
        if line.strip() and not sign:
            raise ValueError(f"{line!r:.60} in its header")
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    return fields, place


def is_true(value: str | None) -> bool:
    """Says whether a value of a MetaImage is true; `1`, `T` and `True` are."""
    return value is not None and value[:1].lower() in ("t", "1")


def require_whole_nrrd(path: Path) -> None:
    """Refuses a NRRD whose packed voxels are damaged, by a `ValueError`; all else is left to ITK."""
    with open(path, "rb") as file:
        content = file.read(LONGEST_HEADER)
    end = re.search(rb"\r?\n\r?\n", content)
    header = content[: end.start() if end else None].decode("latin-1")
    fields = dict(re.findall(r"^([\w ]+): *(.*?) *$", header, re.MULTILINE))
    if fields.get("encoding", "").lower() not in ("gz", "gzip") or {"line skip", "byte skip"} & fields.keys():
        return
    kind = re.sub(r"signed|unsigned|u?int(?=\d)|_t| ", "", fields.get("type", "").lower())
    sizes = [int(size) for size in fields.get("sizes", "").split()]
    if kind not in NRRD_BYTES or not sizes:
        return
    data, start = (path, end.end()) if end and not {"data file", "datafile"} & fields.keys() else (data_file(path), 0)
    if data is not None:
        require_whole_stream(file_version(data), prod(sizes) * NRRD_BYTES[kind], start, GZIP)


def is_compressed(path: Path) -> bool:
    """Says whether a MetaImage is compressed."""
    return is_true(meta_fields(path)[0].get("CompressedData"))


def says_place(path: Path) -> bool:
    """Says whether the header of a MetaImage or a NRRD says where the volume lies, which ITK does not tell."""
    said = rb"^\s*(TransformMatrix|Rotation|Orientation|Offset|Position|Origin)\s*=|^space( directions| origin)?\s*:"
    with open(path, "rb") as file:
        header = re.split(rb"ElementDataFile|\r?\n\r?\n", file.read(LONGEST_HEADER), maxsplit=1)[0]
    return re.search(said, header, re.MULTILINE | re.IGNORECASE) is not None


def data_file(path: Path) -> Path | None:
    """Returns the file beside a header that holds the voxels, `None` if they are in the same file or in several."""
    if file_suffix(path) not in (".mhd", ".nhdr"):
        return None
    with open(path, "rb") as file:
        content = file.read(LONGEST_HEADER)
    found = re.search(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*?)\s*$", content, re.M | re.I)
    data = path.parent / found[1].decode("utf-8", "replace") if found and b"\0" not in found[1] else None
    return data if data is not None and data.is_file() else None
