"""What this machine has: what its processor is good at, told to TensorFlow before it is imported; free memory."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Where a system does not say what it has.
UNKNOWN_MEMORY = 4 * 1024**3
# Limit, use, and what of the use is cached files, in control groups of version 2 and of version 1.
GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def prefer_onednn() -> None:
    """Has TensorFlow compute by oneDNN on processors of Intel and AMD with AVX2, unless the user has chosen.

    TensorFlow does so by itself only where it finds AVX-512 VNNI or AMX; with AVX2 alone a training step of a 3D
    network takes half the time with it. Without effect once TensorFlow is imported.
    """
    if "avx2" in processor_features():
        os.environ.setdefault(ONEDNN, "1")


def processor_features() -> frozenset[str]:
    """Returns the features of the processor by their Linux names, such as `avx2`; none where they are not known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(next((value.split() for key, _, value in lines if key.strip() == "flags"), ()))


def free_memory(root: Path = Path("/")) -> int:
    """Returns the bytes that may still be taken: what the system has available, within the limits of control groups.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    free = system_memory(root)
    for folder in control_groups(root):
        for limit, used, cached in GROUP_FILES:
            # "max" is no number: there is no limit.
            with suppress(OSError, ValueError):
                room = int((folder / limit).read_text()) - int((folder / used).read_text())
                free = min(free, room + cached_files(folder / "memory.stat", cached))
    return max(0, free)


def system_memory(root: Path = Path("/")) -> int:
    """Returns the bytes that the whole system has available; half of what it has where it does not say more."""
    with suppress(OSError, KeyError):
        return 1024 * numbers_of(root / "proc" / "meminfo")["MemAvailable:"]
    with suppress(AttributeError, OSError, ValueError):
        pages = os.sysconf("SC_PHYS_PAGES") // 2
        with suppress(ValueError):
            pages = os.sysconf("SC_AVPHYS_PAGES")
        if pages > 0:
            return pages * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN_MEMORY


def held_memory(root: Path = Path("/")) -> int:
    """Returns the bytes that this process holds already, and which it may use again; 0 where they are not known."""
    with suppress(OSError, IndexError, ValueError):
        return int((root / "proc" / "self" / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def control_groups(root: Path) -> Iterator[Path]:
    """Yields the folders of the control groups that bound the memory of this process, outermost last."""
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / ("memory" if controllers else "")
        # In a container the path may be the host's, which is not there.
        folder = Path(os.path.normpath(top / place.lstrip("/")))
        groups = [group for group in (folder, *folder.parents) if group == top or top in group.parents]
        yield from groups or [top]


def cached_files(path: Path, name: str) -> int:
    """Returns the bytes of files in the cache, which make room for what is asked for; 0 where they are not known."""
    try:
        return numbers_of(path).get(name, 0)
    except OSError:
        return 0


def numbers_of(path: Path) -> dict[str, int]:
    """Returns the numbers of a file of lines with a name and a number."""
    found = {}
    for line in path.read_text().splitlines():
        name, *words = line.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0])
    return found


def has_graphics(root: Path = Path("/")) -> bool:
    """Returns whether this process sees an NVIDIA GPU, whether or not what it runs knows how to use it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return not hidden and any((root / "dev").glob("nvidia[0-9]*"))
