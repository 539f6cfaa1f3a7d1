"""`maskzoo synth`: every format is read back to the labels that were made."""

import tracemalloc

import numpy as np
import pytest
import yaml

from maskzoo import cli, data
from maskzoo.data.synthetic.sets import KINDS
from maskzoo.data.synthetic.slides import SyntheticSlide


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


def test_windows_of_a_slide_meet_without_a_seam():
    slide = SyntheticSlide(900, [1])
    everything = data.Window((0, 0), (900, 900))
    image, mask = slide.image(everything), slide.mask(everything)
    for window in data.window_grid((900, 900), (251, 400)):
        np.testing.assert_array_equal(slide.image(window), image[window.slices])
        np.testing.assert_array_equal(slide.mask(window), mask[window.slices])


def test_brightness_does_not_tell_bodies_from_tissue():
    slide = SyntheticSlide(1500, [3])
    everything = data.Window((0, 0), (1500, 1500))
    grey, body = slide.image(everything).mean(axis=-1), slide.mask(everything)[..., 0] > 0
    dice = [2 * (body & (grey < level)).sum() / (body.sum() + (grey < level).sum()) for level in range(0, 256, 5)]
    assert max(dice) < 0.3


def test_the_memory_of_a_slide_does_not_grow_with_it(tmp_path):
    peaks = []
    for size in (1600, 3200):
        tracemalloc.start()
        data.write_synthetic("kidney", tmp_path / str(size), count=2, size=size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.2 * min(peaks)
    assert max(peaks) < 100 << 20


def test_the_command_ends_with_what_to_try_and_refuses_in_one_line(tmp_path, capsys):
    cli.main("synth", ["nuclei", str(tmp_path / "out"), "--count", "2", "--size", "32"])
    assert capsys.readouterr().out.endswith(f"--data {tmp_path / 'out' / 'spec.yaml'}\n")
    for arguments, expected in {
        ("nuclei", tmp_path / "out"): "empty",
        ("nuclie", tmp_path / "new"): "nuclei",
        ("xray", tmp_path / "new", "--size", "3"): "32",
    }.items():
        with pytest.raises(SystemExit) as stop:
            cli.main("synth", [str(argument) for argument in arguments])
        err = capsys.readouterr().err
        assert (stop.value.code, err.count("\n")) == (2, 1)
        assert expected in err
    assert not (tmp_path / "new").exists()
