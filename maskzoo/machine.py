"""What the processor of this machine is good at, told to TensorFlow before it is imported."""

import os
import platform
from pathlib import Path

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


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
