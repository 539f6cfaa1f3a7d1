"""What importing the room loads."""

import json
import subprocess
import sys

import pytest

from maskzoo import metrics
from maskzoo.metrics import surface


def test_importing_metrics_loads_neither_keras_nor_scipy():
    code = "import sys, json; from maskzoo import metrics; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"keras", "tensorflow", "scipy", "skimage"} & set(loaded)
    assert metrics.surface is surface
    with pytest.raises(AttributeError, match="nothing"):
        _ = metrics.nothing
