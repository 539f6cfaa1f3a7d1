"""The fingerprint of a data set and the version of a label follow the content, not the place."""

import hashlib
import json
import shutil

import cv2
import numpy as np

from maskzoo.data import load_data, open_source
from maskzoo.data.images.pyramid import ResampledSource
from maskzoo.data.labels.colors import ColorSource, ColorTable, RemappedSource
from maskzoo.data.labels.polygons import PolygonSource
from maskzoo.data.labels.run_source import RunSource
from maskzoo.data.labels.values import StackedSource
from maskzoo.data.sets.identity import fingerprint, label_version
from maskzoo.data.sets.pairs import Pair


def test_the_fingerprint_follows_the_content(tmp_path, save_folder, pictures, masks):
    path = save_folder(tmp_path, pictures(3), masks(3))
    first = load_data(str(path), spatial_dims=2).fingerprint
    assert load_data(str(path), spatial_dims=2, seed=1).fingerprint == first
    cv2.imwrite(str(path / "images" / "01.png"), pictures(1)[0] // 2)
    assert load_data(str(path), spatial_dims=2).fingerprint != first


def test_the_fingerprint_is_the_hash_of_names_sizes_and_contents(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "image.npy", values)
    content = (tmp_path / "image.npy").read_bytes()
    content += len(content).to_bytes(8, "big")
    image, array = (open_source(source, spatial_dims=2) for source in (tmp_path / "image.npy", values))
    head = json.dumps(["a", [3, 4], 1, "uint8"]).encode()
    runs = RunSource("runs", (3, 4), [np.array([[2, 5]])])
    expected = head + content + head + np.array([[2, 5]]).tobytes()
    assert fingerprint([Pair("a", image, runs)]) == hashlib.sha256(expected).hexdigest()
    expected = 2 * (head + values.tobytes())
    assert fingerprint([Pair("a", array, array)]) == hashlib.sha256(expected).hexdigest()
    # Files of several classes count one by one.
    expected += head + content
    assert fingerprint([Pair("a", array, StackedSource([array, image]))]) == hashlib.sha256(expected).hexdigest()


def test_a_set_has_the_same_fingerprint_in_another_folder(tmp_path, save_folder, pictures, masks):
    path = save_folder(tmp_path / "one", pictures(3), masks(3))
    shutil.copytree(path, tmp_path / "other")
    one, other = (load_data(str(tmp_path / name), spatial_dims=2).fingerprint for name in ("one", "other"))
    assert one == other
    (tmp_path / "other" / "images" / "00.png").rename(tmp_path / "other" / "images" / "09.png")
    (tmp_path / "other" / "masks" / "00.png").rename(tmp_path / "other" / "masks" / "09.png")
    assert load_data(str(tmp_path / "other"), spatial_dims=2).fingerprint != one


def test_the_version_of_a_label_follows_content_and_size(tmp_path):
    values = np.zeros((8, 8), np.uint8)
    changed = values.copy()
    changed[3, 3] = 1
    files = [tmp_path / name for name in ("a.npy", "b.npy")]
    for file, array in zip(files, (values, changed), strict=True):
        np.save(file, array)
    sources = [open_source(array, spatial_dims=2) for array in (values, changed)]
    labels = [
        *sources,
        *[open_source(file, spatial_dims=2) for file in files],
        StackedSource(sources),
        StackedSource(sources[::-1]),
        ResampledSource(sources[1], (4, 4), nearest=True),
        ResampledSource(StackedSource(sources), (4, 4), nearest=True),
        RunSource("runs", (8, 8), [np.array([[27, 28]])]),
        RunSource("runs", (8, 8), [np.array([[27, 29]])]),
    ]
    versions = [label_version(label) for label in labels]
    assert len(set(versions)) == len(labels)
    assert versions[0] == label_version(open_source(values.copy(), spatial_dims=2))
    assert versions == [label_version(label) for label in labels]


def test_a_label_that_is_read_in_another_way_has_another_version(tmp_path):
    values = np.array([[0, 1], [1, 0]], np.uint8)
    np.save(tmp_path / "a.npy", values)
    source, image = open_source(tmp_path / "a.npy"), open_source(values)
    red, green = [255, 0, 0], [0, 255, 0]
    (tmp_path / "a.geojson").write_text("[]")
    read = [
        source,
        ColorSource(source, ColorTable.of({"a": red, "b": green})),
        ColorSource(source, ColorTable.of({"a": green, "b": red})),
        RemappedSource(source, np.array([0, 1], np.uint8)),
        RemappedSource(source, np.array([1, 0], np.uint8)),
        PolygonSource(tmp_path / "a.geojson", image, width=1),
        PolygonSource(tmp_path / "a.geojson", image, width=2),
        PolygonSource(tmp_path / "a.geojson", image, crs="pixels"),
    ]
    assert len({label_version(label) for label in read}) == len(read)
    assert label_version(read[1]) == label_version(ColorSource(source, ColorTable.of({"a": red, "b": green})))
