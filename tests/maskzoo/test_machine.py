"""oneDNN is asked for where the processor has the instructions, and never against the user."""

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
