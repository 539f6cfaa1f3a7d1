"""oneDNN is asked for where it is faster, never against the user; free memory is that of the tightest limit."""

import os
import subprocess
import sys

import pytest

from maskzoo import machine

SAID = "import os, sys, maskzoo; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'), 'tensorflow' in sys.modules)"


@pytest.mark.parametrize(("features", "expected"), [("avx2 fma", "1"), ("sse4_2", None)])
def test_onednn_is_asked_for_where_it_is_faster(monkeypatch, features, expected):
    monkeypatch.setattr(machine, "processor_features", lambda: frozenset(features.split()))
    monkeypatch.delenv(machine.ONEDNN, raising=False)
    machine.prefer_onednn()
    assert os.environ.pop(machine.ONEDNN, None) == expected


def test_what_the_user_has_chosen_stays():
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]


def test_the_features_are_those_that_linux_lists(monkeypatch, tmp_path):
    text = "processor\t: 0\nmodel name\t: Some avx9 CPU\nflags\t\t: fpu sse2 avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine.Path, "read_text", lambda path: text)
    assert machine.processor_features() == {"fpu", "sse2", "avx2"}
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert machine.processor_features() == frozenset()


@pytest.fixture
def system(tmp_path):
    """A function that writes files of a system by their paths, and returns its root."""

    def write(**files):
        contents = {"proc/meminfo": "MemTotal: 4000 kB\nMemAvailable:  1000 kB\n"} | files.pop("more", {})
        for path, text in contents.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1_024_000),
        # Version 2: the group itself has no limit, the one around it has; cached files make room.
        (
            {
                "proc/self/cgroup": "0::/outer/inner\n",
                "sys/fs/cgroup/outer/inner/memory.max": "max\n",
                "sys/fs/cgroup/outer/inner/memory.current": "5\n",
                "sys/fs/cgroup/outer/memory.max": "500000\n",
                "sys/fs/cgroup/outer/memory.current": "300000\n",
                "sys/fs/cgroup/outer/memory.stat": "anon 1\ninactive_file 40000\n",
            },
            240_000,
        ),
        # Version 1 in a container, where the path is that of the host.
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab\n9:memory:/docker/ab\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "700000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20000\n",
            },
            620_000,
        ),
        # No limit in version 1 is a huge number; more in use than allowed is nothing free.
        (
            {
                "proc/self/cgroup": "9:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000",
            },
            1_024_000,
        ),
        (
            {
                "proc/self/cgroup": "0::/../..\n",
                "sys/fs/cgroup/memory.max": "1000",
                "sys/fs/cgroup/memory.current": "300",
            },
            700,
        ),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10", "sys/fs/cgroup/memory.current": "30"},
            0,
        ),
    ],
)
def test_free_memory_is_that_of_the_tightest_limit(system, files, expected):
    assert machine.free_memory(system(more=files)) == expected


def test_a_system_without_proc_is_asked_otherwise(tmp_path, monkeypatch):
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}

    def sysconf(name):
        if name not in sizes:
            raise ValueError(name)
        return sizes[name]

    monkeypatch.setattr(machine.os, "sysconf", sysconf)
    assert machine.free_memory(tmp_path) == 500 * 4096
    sizes["SC_AVPHYS_PAGES"] = 300
    assert machine.free_memory(tmp_path) == 300 * 4096
    monkeypatch.delattr(machine.os, "sysconf")
    assert machine.free_memory(tmp_path) == machine.UNKNOWN_MEMORY
    assert machine.held_memory(tmp_path) == 0


def test_this_process_holds_some_of_this_machine_s_memory():
    assert 1 << 20 < machine.held_memory() < 1 << 40
    assert 0 < machine.free_memory() < 1 << 50


def test_a_gpu_is_seen_unless_it_is_hidden(system, monkeypatch):
    root = system(more={"dev/nvidia0": ""})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.has_graphics(root)
    assert not machine.has_graphics(root / "proc")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not machine.has_graphics(root)
