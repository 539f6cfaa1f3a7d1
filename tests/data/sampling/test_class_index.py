"""The index finds every place of every class, and is made only once for the same labels."""

import numpy as np
import pytest
from labelled_cases import found_scheme, labelled

from maskzoo.data import open_source
from maskzoo.data.sampling.class_index import FOREGROUND, ClassIndex, cached_presence, class_presence


def spotted(shape, seed, spots=2, radius=6):
    """A case of a label with a few spots."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for _ in range(spots):
        centre = rng.integers(radius, np.array(shape) - radius)
        label[tuple(slice(c - radius, c + radius) for c in centre)] = 1
    return labelled(label)


@pytest.mark.parametrize("shape", [(50, 61), (33, 20, 17)])
def test_the_index_knows_exactly_the_cells_that_show_a_class(shape):
    label = np.random.default_rng(0).choice(4, shape, p=[0.97, 0.01, 0.01, 0.01]).astype(np.uint8)
    made = [labelled(label)]
    (presence,) = class_presence(made, (8,) * len(shape))
    for cell in np.ndindex(*presence.shape[:-1]):
        part = label[tuple(slice(8 * place, 8 * place + 8) for place in cell)]
        assert presence[cell].tolist() == [(part == value).any() for value in range(4)]
    index = ClassIndex(made, 8)
    rng = np.random.default_rng(0)
    for number in (1, 2, 3, FOREGROUND):
        drawn = {tuple(index.draw(number, rng)[1].tolist()) for _ in range(9000 if number == FOREGROUND else 3000)}
        shown = label > 0 if number == FOREGROUND else label == number
        assert drawn == set(map(tuple, np.argwhere(shown).tolist()))


def test_a_class_that_occurs_nowhere_is_known():
    label = np.zeros((20, 20), np.uint8)
    scheme = found_scheme([open_source(label, spatial_dims=2)], classes={"a": 1})
    index = ClassIndex([labelled(label, scheme=scheme)], 8)
    assert not index.has(0)
    assert not index.has(FOREGROUND)


def test_a_cached_index_is_read_back_and_made_again_for_other_labels(tmp_path, monkeypatch):
    made = [spotted((60, 60), seed) for seed in range(2)]
    first = cached_presence(made, (8, 8), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr("maskzoo.data.sampling.class_index.class_presence", None)  # not called again
        for cells, again in zip(first, cached_presence(made, (8, 8), tmp_path), strict=True):
            np.testing.assert_array_equal(cells, again)
    cached_presence(made, (4, 4), tmp_path)
    cached_presence([spotted((60, 60), seed) for seed in range(1, 3)], (8, 8), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(cached_presence(made, (8, 8), tmp_path)[0], first[0])
    (tmp_path / "file").touch()
    np.testing.assert_array_equal(cached_presence(made, (8, 8), tmp_path / "file")[0], first[0])
