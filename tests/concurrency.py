"""Sources read by several threads at once, and by processes begun by fork or spawn."""

import concurrent.futures
import pickle
import subprocess
import sys
import threading

import numpy as np

from maskzoo.data import Window

READ_IN_PROCESSES = """
import multiprocessing, sys
from pathlib import Path
from maskzoo.data import Window, open_source

def read(source):
    return source.read(Window((0,) * len(source.shape), source.shape)).sum()

if __name__ == "__main__":
    method, *paths = sys.argv[1:]
    sources = [open_source(Path(path)) for path in paths]
    here = [read(source) for source in sources]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read, sources * 3) == here * 3
    assert [read(source) for source in sources] == here
"""


def whole(source):
    """Returns all pixels of a source."""
    return source.read(Window((0,) * len(source.shape), source.shape))


def check_threads(sources):
    """Four threads read small windows of the same sources, and get what a pickled copy reads alone."""
    expected = [whole(pickle.loads(pickle.dumps(source))) for source in sources]
    start = threading.Barrier(4)

    def read(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(40):
            number = rng.integers(len(sources))
            shape = np.array(sources[number].shape)
            size = np.minimum(4, shape)
            window = Window(tuple(rng.integers(0, shape - size + 1)), tuple(size))
            np.testing.assert_array_equal(sources[number].read(window), expected[number][window.slices])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))


def check_processes(paths, method, script):
    """Two processes, begun by fork or spawn, read what is open in the process that began them.

    Args:
        paths: Image files.
        method: `fork` or `spawn`.
        script: Path for the program that begins the processes.
    """
    script.write_text(READ_IN_PROCESSES)
    done = subprocess.run([sys.executable, script, method, *paths], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
