"""A server of published weights on this machine."""

import functools
import http.server
import math
import threading

import h5py
import numpy as np
import pytest


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def file_server(tmp_path, monkeypatch):
    """Serves a folder on loopback, and keeps downloads out of the user's cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Files, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        # Where the folder is missing, Keras downloads to one that all tests share.
        (tmp_path / "cache").mkdir()
        monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "cache"))
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def write_published_h5():
    """Returns a function that writes weights as Keras 2 did."""
    return _write_published_h5


def _write_published_h5(path, encoder):
    """Writes weights as Keras 2 did: a group per layer, with the names of its weights."""
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        weighted = [layer for layer in encoder.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in weighted]
        for layer in weighted:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = rng.uniform(0.5, 1.5, weight.shape).astype("float32") / math.prod(weight.shape[:-1])
    return path
