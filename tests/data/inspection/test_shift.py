"""Two sets of images are told apart where they differ, and not where they do not."""

import json

import cv2
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from maskzoo import cli, data
from maskzoo.data.inspection.shift import area, compare_images, described, feature_names, logits, save_shift


def pictures(number, seed, brighter=0, blur=0, channels=3, shape=(90, 100)):
    """Images of cloudy noise, each of a brightness and contrast of its own."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        image = cv2.GaussianBlur(rng.normal(0, 1, (*shape, channels)), (0, 0), rng.uniform(1, 2)).reshape(
            *shape, channels
        )
        image = rng.uniform(90, 130) + brighter + rng.uniform(60, 100) * image + rng.normal(0, 4, image.shape)
        image = cv2.GaussianBlur(image, (0, 0), blur).reshape(*shape, channels) if blur else image
        made.append(np.clip(image, 0, 255).astype(np.uint8))
    return made


def sources(images, spatial_dims=2):
    return [data.open_source(image, spatial_dims=spatial_dims) for image in images]


@pytest.mark.parametrize("seed", range(3))
def test_sets_of_one_kind_are_not_told_apart(seed):
    report = compare_images(sources(pictures(30, seed)), sources(pictures(20, seed + 100)), seed=seed).report
    low, high = report["interval"]
    assert low <= 0.5 <= high
    assert 0.3 < report["auc"] < 0.7
    assert report["images"] == [30, 20]


def test_a_set_against_itself_is_not_told_apart():
    same = sources(pictures(20, 0))
    report = compare_images(same, same).report
    assert report["auc"] == pytest.approx(0.5, abs=0.02)


def test_brighter_images_are_told_apart_by_their_brightness():
    shift = compare_images(sources(pictures(15, 0)), sources(pictures(15, 1, brighter=60)))
    assert shift.report["auc"] > 0.97
    assert shift.report["interval"][0] > 0.9
    assert any(what in shift.report["features"][0]["name"] for what in ("mean", "median", "5 %"))
    assert shift.report["features"][0]["deviations"] > 2
    first, second = shift.windows(False), shift.windows(True)
    assert (len(first), len(second)) == (6, 6)
    assert np.mean(second) > np.mean(first) + 30


def test_blurred_images_are_told_apart_by_edges_and_waves():
    shift = compare_images(sources(pictures(12, 0)), sources(pictures(12, 1, blur=2)))
    assert shift.report["auc"] > 0.97
    names = [row["name"] for row in shift.report["features"][:3]]
    assert all(name == "edges" or name.startswith("waves") for name in names)


def test_volumes_and_several_channels():
    rng = np.random.default_rng(0)
    one = sources([rng.normal(0, 1, (20, 24, 22)).astype(np.float32) for _ in range(6)], spatial_dims=3)
    other = sources([rng.normal(2, 1, (20, 24, 22)).astype(np.float32) for _ in range(6)], spatial_dims=3)
    assert compare_images(one, other).report["auc"] > 0.95
    many = sources(pictures(4, 0, channels=2))
    assert [row["name"] for row in compare_images(many, many).report["features"] if "channel 2" in row["name"]]


def test_features_of_a_wave_and_of_nothing():
    names = feature_names(1)
    columns = np.broadcast_to(np.arange(64), (64, 64))[..., None]
    for period, name in ((32, "waves over 16 px"), (12, "waves of 16 to 8 px"), (3, "waves of 4 to 2 px")):
        found = dict(zip(names, described(100 + 50 * np.sin(2 * np.pi * columns / period)), strict=True))
        assert max((n for n in names if n.startswith("waves")), key=found.get) == name
        assert found["mean channel 1"] == pytest.approx(100, abs=3)
        assert found["deviation channel 1"] == pytest.approx(50 / 2**0.5, rel=0.05)
        # The mean of |cos| is 2 / pi, of waves that are long enough, and half of the steps are along the other axis.
        assert period == 3 or found["edges"] == pytest.approx(
            2**0.5 * 2 / np.pi * 2 * np.sin(np.pi / period) / 2, rel=0.05
        )
    assert np.isfinite(described(np.full((16, 16, 3), 7, np.uint8))).all()


def test_the_area_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    owners = rng.random(300) < 0.3
    scores = np.round(rng.normal(owners, 1), 1)

    def expected(scores, owners):
        yes, no = scores[owners], scores[~owners]
        return mannwhitneyu(yes, no).statistic / (len(yes) * len(no))

    assert area(scores, owners) == pytest.approx(expected(scores, owners))
    weights = rng.integers(0, 4, 300)
    assert area(scores, owners, weights) == pytest.approx(expected(scores.repeat(weights), owners.repeat(weights)))


def test_the_regression_is_that_of_newtons_steps():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (200, 4))
    owners = features @ [1, -1, 0.5, 0] + rng.normal(0, 1, 200) > 0.5
    x = np.column_stack([np.ones(200), (features - features.mean(axis=0)) / features.std(axis=0)])
    weights = np.where(owners, 100 / owners.sum(), 100 / (~owners).sum())
    penalty, found = np.diag([0, 1, 1, 1, 1.0]), np.zeros(5)
    for _ in range(30):
        p = 1 / (1 + np.exp(-(x @ found)))
        hessian = x.T @ (x * (weights * p * (1 - p))[:, None]) + penalty
        found = found - np.linalg.solve(hessian, x.T @ (weights * (p - owners)) + penalty @ found)
    np.testing.assert_allclose(logits(features, owners, features), x @ found, atol=2e-3)


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="against: expected at least 2 images in each set; received 1 and 3"):
        compare_images(sources(pictures(1, 0)), sources(pictures(3, 0)))
    with pytest.raises(ValueError, match="expected 2 axes and 3 channels as in array; received 2 and 1"):
        compare_images(sources(pictures(2, 0)), sources(pictures(2, 0, channels=1)))


@pytest.fixture
def folders(tmp_path):
    """A labelled set, and darker images alone in a folder."""
    for name in ("set/images", "set/masks", "other"):
        (tmp_path / name).mkdir(parents=True)
    for number, image in enumerate(pictures(6, 0, shape=(64, 64))):
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number}.png"), (image[..., 0] > 120).astype(np.uint8))
    for number, image in enumerate(pictures(6, 1, brighter=-60, shape=(64, 64))):
        cv2.imwrite(str(tmp_path / "other" / f"{number}.png"), image)
    return tmp_path


def test_inspect_against_another_folder(folders, capsys):
    picture = folders / "found.png"
    arguments = [str(folders / "set"), "--against", str(folders / "other")]
    cli.main("inspect", [*arguments, "--picture", str(picture)])
    printed = capsys.readouterr().out
    assert "6 and 6 images" in printed
    assert "they differ" in printed
    assert cv2.imread(str(folders / "found-against.png")).shape[0] > 400
    cli.main("inspect", [*arguments, "--json"])
    report = json.loads(capsys.readouterr().out)["against"]
    assert report["auc"] > 0.95
    assert report["path"] == str(folders / "other")
    with pytest.raises(SystemExit):
        cli.main("inspect", [str(folders / "set"), "--against", str(folders / "none")])
    assert "none" in capsys.readouterr().err


def test_a_picture_of_few_windows(tmp_path):
    few = sources(pictures(2, 0, shape=(40, 50)))
    save_shift(tmp_path / "shift.png", compare_images(few, few), ["one", "other"])
    assert [path.name for path in tmp_path.iterdir()] == ["shift.png"]
