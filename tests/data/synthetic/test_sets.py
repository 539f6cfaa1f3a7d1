"""Every kind of synthetic set is read back to the labels that were made."""

import tracemalloc

import numpy as np
import pytest
import yaml

from maskzoo import data
from maskzoo.data.synthetic.sets import KINDS
from maskzoo.data.synthetic.slides import SyntheticSlide
from maskzoo.errors import ExistingFile, OptionError


def whole(case):
    return data.Window((0,) * len(case.image.shape), case.image.shape)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "kidney"])
def test_each_kind_is_read_back(kind, tmp_path):
    spatial_dims = 3 if kind in ("volumes", "tumour") else 2
    spec = data.write_synthetic(kind, tmp_path / "out", count=3, size=48, seed=5)
    read = data.load_data(spec, spatial_dims=spatial_dims)
    size = (48, 48, 12) if kind == "tumour" else 48
    made = data.synthetic_cases(spatial_dims, 3, size, 5, KINDS[kind][2])
    truth = {name: label for name, _, label in made}
    if kind == "xray":
        truth[made[2][0]] = np.zeros((48, 48))
    assert len(read.train + read.validation) == 3
    assert read.channels == (1 if kind in ("xray", "volumes", "tumour") else 3)
    assert read.task == yaml.safe_load(spec.read_text())["task"]
    for case in read.train + read.validation:
        ids = truth[case.name]
        masks = {
            "volumes": ids,
            "organs": np.stack([ids > 0, ids == 2], axis=-1),
            "clouds": ids[..., None] == np.arange(1, 5),
        }.get(kind, ids[..., None])
        np.testing.assert_array_equal(case.read_label(whole(case)), masks)


def test_slides_are_tiled_and_keep_their_labels(tmp_path):
    spec = data.write_synthetic("kidney", tmp_path / "out", count=2, size=700)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "spec.yaml", "train.csv"]
    read = data.load_data(spec, spatial_dims=2)
    for case in read.train + read.validation:
        assert case.image.shape == (700, 700)
        slide = SyntheticSlide(700, [0, int(case.name[-2:])])
        label = case.read_label(whole(case))
        assert 0.001 < label.mean() < 0.5
        np.testing.assert_array_equal(label, slide.mask(whole(case)))
        np.testing.assert_array_equal(case.image.read(whole(case)), slide.image(whole(case)))


def test_the_memory_of_a_slide_does_not_grow_with_it(tmp_path):
    peaks = []
    for size in (1600, 3200):
        tracemalloc.start()
        data.write_synthetic("kidney", tmp_path / str(size), count=2, size=size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.2 * min(peaks)
    assert max(peaks) < 100 << 20


@pytest.mark.parametrize(("options", "message"), [
    ({"kind": "nuclie"}, "kind: expected nuclei"),
    ({"count": 1}, "count: expected at least 2 images; received 1"),
    ({"size": 31}, "size: expected at least 32 pixels; received 31"),
])  # fmt: skip
def test_impossible_sets_are_refused(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        data.write_synthetic(**{"kind": "nuclei", "folder": tmp_path / "out", **options})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_content_is_left_alone(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExistingFile, match="expected a folder that is empty or does not exist"):
        data.write_synthetic("nuclei", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
