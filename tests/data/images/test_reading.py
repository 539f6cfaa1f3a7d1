"""Damaged files are read or refused in one line: no crash, no hang, no flood of memory."""

import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from maskzoo.data import Window, open_source

FILES = 400
MOST_SECONDS, MOST_MEGABYTES = 5, 100


def damaged(content, rng):
    """Cuts a file off, flips bits, overwrites its header, declares huge or zero sizes, or takes bytes out."""
    content = bytearray(content)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(content[: rng.integers(0, len(content))])
    if kind == 1:
        for _ in range(rng.integers(1, 20)):
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    elif kind == 2:
        for _ in range(rng.integers(1, 8)):
            content[rng.integers(min(len(content), 600))] = rng.integers(256)
    elif kind == 3:
        place = rng.integers(min(len(content) - 8, 400))
        content[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x10000000, 0x7FFFFFFF, 0xFFFFFFFF])))
    else:
        place = rng.integers(len(content))
        del content[place : place + rng.integers(1, 200)]
    return bytes(content)


def try_to_read(path):
    """Returns "read", "refused" or what was wrong with how a file was refused."""
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = open_source(path)
            source.read(Window((0,) * len(source.shape), [min(length, 256) for length in source.shape]))
            source.read(Window([length - 20 for length in source.shape], (40,) * len(source.shape)))
        outcome = "read"
    except (OSError, ValueError) as error:
        outcome = "refused"
        if "\n" in str(error) or not str(error).startswith(f"{path}: expected "):
            outcome = f"refused with {str(error)!r}"
    except Exception as error:
        outcome = f"raised {error!r}"
    return outcome if time.monotonic() - start < MOST_SECONDS else "hung"


def main(folder, *paths):
    """Damages and reads files; prints one line for each, and the memory that they take more than whole ones."""
    # What is imported on the way takes time and memory, too, before it is compiled.
    for path in paths:
        try_to_read(path)
    before = peak_kilobytes()
    contents = [path.read_bytes() for path in paths]
    for seed in range(FILES):
        path = folder / paths[seed % len(paths)].with_stem(f"damaged{seed}").name
        path.write_bytes(damaged(contents[seed % len(paths)], np.random.default_rng(seed)))
        print(f"{path.name} {try_to_read(path)}", flush=True)
    print("megabytes", (peak_kilobytes() - before) // 1024)


def peak_kilobytes():
    """Returns the most memory that this process had; getrusage would count what its parent had when it forked."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_damaged_files(tmp_path, sample_files):
    """In a process of its own: a crash is not to take the other tests along."""
    files = [path for path in sample_files if path.is_file()]
    command = [sys.executable, __file__, str(tmp_path), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    *lines, memory = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-300:]
    assert len(lines) == FILES
    assert [line for line in lines if not line.endswith((" read", " refused"))] == []
    assert sum(line.endswith(" refused") for line in lines) > FILES / 4
    assert int(memory.split()[1]) < MOST_MEGABYTES


def test_undamaged_files_are_read(sample_files):
    assert [path.name for path in sample_files if try_to_read(path) != "read"] == []


def huge_png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def huge_tiff(side):
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, side), (279, side)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(100)


def huge_volume(side):
    header = nibabel.Nifti1Header()
    header.set_data_shape((side, side, side))
    header.set_data_dtype(np.int16)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(100)


def huge_scan(side):
    head = f"ObjectType = Image\nNDims = 3\nDimSize = {side} {side} {side}\nElementType = MET_SHORT\n"
    return f"{head}ElementDataFile = LOCAL\n".encode() + bytes(100)


def huge_packed_scan(side):
    return huge_scan(side).replace(b"NDims", b"CompressedData = True\nNDims")


def huge_nrrd(side):
    return f"NRRD0004\ntype: short\ndimension: 3\nsizes: {side} {side} {side}\nencoding: gzip\n\n".encode() + bytes(100)


def huge_slide(side):
    tags = [(256, side), (257, side), (258, 8), (259, 34712), (262, 1), (273, 200), (277, 1), (278, side), (279, 50)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(200)


def huge_array(side):
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({side}, {side})}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("huge.png", huge_png(60_000)),
        ("huge.png", huge_png(2**31 - 1)),
        ("huge.tif", huge_tiff(200_000)),
        ("huge.tif", huge_tiff(2**31 - 1)),
        ("huge.nii", huge_volume(32_000)),
        ("huge.npy", huge_array(2**40)),
        ("huge.mha", huge_scan(3000)),
        ("huge.mha", huge_packed_scan(3000)),
        ("huge.mha", huge_scan(2**31 - 1)),
        ("huge.nrrd", huge_nrrd(3000)),
        ("huge_slide.tif", huge_slide(200_000)),
        ("huge_slide.tif", huge_slide(2**31 - 1)),
    ],
)
def test_a_huge_declared_size_costs_no_memory(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    before = peak_kilobytes()
    assert try_to_read(path) == "refused"
    assert peak_kilobytes() - before < 200 * 1024


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
