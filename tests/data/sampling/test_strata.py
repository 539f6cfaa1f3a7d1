"""Windows chosen to stand for a grid: of every image, place and class, the same each time, unbiased as a whole."""

import numpy as np
import pytest
from labelled_cases import labelled

from maskzoo.data.labels.scheme import LabelScheme
from maskzoo.data.sampling.case_grid import CaseGrid
from maskzoo.data.sampling.strata import chosen_windows, equal_shares, shares, spread

BINARY = LabelScheme("binary", ("foreground",), ((0,), (1,)))


def choice(masks, size, number, seed=0, scheme=BINARY):
    """The chosen windows as pairs of case and window, and their weights."""
    made = [labelled(mask, name=str(index), scheme=scheme) for index, mask in enumerate(masks)]
    grid = CaseGrid(made, (size,) * masks[0].ndim)
    numbers, weights = chosen_windows(made, grid.windows_by_case, number, seed)
    assert (np.diff(numbers) > 0).all()
    return [grid[int(number)] for number in numbers], weights


def with_object(rows=256, columns=256):
    """An object in the last columns, which every fourth window of the grid shows."""
    mask = np.zeros((rows, columns), np.uint8)
    mask[:, -60:-4] = 1
    return mask


@pytest.mark.parametrize(("images", "number"), [(8, 8), (8, 32), (8, 64), (3, 5), (1, 4)])
def test_a_stride_that_divides_the_rows_hides_no_place_and_no_image(images, number):
    chosen, weights = choice([with_object()] * images, 64, number)
    assert len(chosen) == number
    assert {case.name for case, _ in chosen} == {str(image) for image in range(images)}
    columns = [window.offset[1] for _, window in chosen]
    assert 192 in columns
    assert min(columns) < 192
    assert weights.mean() == pytest.approx(1)


def test_a_rare_class_takes_part_in_a_few_windows_of_many():
    scheme = LabelScheme("multiclass", ("background", "common", "rare"), ((0,), (1,), (2,)))
    mask = np.zeros((160, 160), np.uint8)
    mask[:64], mask[150:153, 150:153] = 1, 2
    chosen, weights = choice([mask, np.zeros_like(mask)], 16, 12, scheme=scheme)
    shown = [set(np.unique(case.read_label(window))) for case, window in chosen]
    assert any(2 in values for values in shown)
    assert sum(1 in values for values in shown) >= 2
    # The one window with the rare class stands for itself; those without for many.
    rare = next(n for n, values in enumerate(shown) if 2 in values)
    assert weights[rare] == weights.min()


def test_the_same_seed_chooses_the_same_and_another_one_others():
    masks = [with_object()] * 4
    first, again, other = (choice(masks, 32, 20, seed)[0] for seed in (0, 0, 1))
    offsets = [[window.offset for _, window in chosen] for chosen in (first, again, other)]
    assert offsets[0] == offsets[1] != offsets[2]


@pytest.mark.parametrize("number", [2, 3, 6, 11])
def test_weighted_counts_expect_those_of_the_whole_grid(number):
    rng = np.random.default_rng(0)
    masks = [np.zeros((48, 64), np.uint8), with_object(32, 128), (rng.random((40, 24)) > 0.98).astype(np.uint8)]
    made = [labelled(mask, name=str(index), scheme=BINARY) for index, mask in enumerate(masks)]
    grid = CaseGrid(made, (8, 8))
    counts = np.array([case.read_label(window).sum() for case, window in grid], float)
    shares_found = []
    for seed in range(300):
        numbers, weights = chosen_windows(made, grid.windows_by_case, number, seed)
        # Weights are 1 on average, so the sum over the grid is estimated by a mean.
        shares_found.append((counts[numbers] * weights).mean())
    assert np.mean(shares_found) == pytest.approx(counts.mean(), rel=0.25)


def test_all_windows_are_shown_where_there_are_no_more():
    chosen, weights = choice([with_object()], 64, 16)
    assert len(chosen) == 16
    assert weights.tolist() == [1.0] * 16


def test_volumes_and_images_smaller_than_a_window():
    volume = np.zeros((32, 32, 6), np.uint8)
    volume[28:, 28:] = 1
    chosen, _ = choice([volume, np.zeros_like(volume)], 8, 6)
    assert {case.name for case, _ in chosen} == {"0", "1"}
    assert any(case.read_label(window).any() for case, window in chosen)


def test_shares():
    assert shares([1, 1, 1], 3).tolist() == [1, 1, 1]
    assert shares([5, 1, 10], 10).tolist() == [3, 1, 6]
    assert shares([4, 4], 8).tolist() == [4, 4]
    assert equal_shares([1, 9, 9], 8) == [1, 4, 3]
    assert equal_shares([1, 1], 9) == [1, 1]
    assert spread(10, 3, 0.0).tolist() == [0, 3, 6]
    assert spread(10, 3, 0.99).tolist() == [3, 6, 9]
