"""Run lengths: every dialect with its oddities, whole and as a stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskzoo.data import decode_rle, encode_rle, encode_windows
from maskzoo.data.labels.run_lengths import flat_runs
from maskzoo.errors import OptionError

masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))
dialects = st.fixed_dictionaries(
    {"relative": st.booleans(), "one_based": st.sampled_from([None, True, False]), "column_major": st.booleans()}
)

# 2 rows, 3 columns:   0 1 1
#                      1 0 1
MASK = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("2 2 5 2", {}),
        ("1 2 4 2", {"one_based": False}),
        ("2 3 6 1", {"column_major": False}),
        ("1 3 5 1", {"column_major": False, "one_based": False}),
        ("1 2 1 2", {"relative": True}),
        ("1 3 1 1", {"relative": True, "column_major": False}),
        ("2 2 1 2", {"relative": True, "one_based": True}),
    ],
)
def test_dialects_worked_out_by_hand(text, options):
    assert encode_rle(MASK, **options) == text
    np.testing.assert_array_equal(decode_rle(text, MASK.shape, **options), MASK)
    np.testing.assert_array_equal(decode_rle([int(n) for n in text.split()], MASK.shape, **options), MASK)


@given(masks, dialects)
def test_decoding_undoes_encoding(mask, options):
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, **options), mask.shape, **options), mask)


@pytest.mark.parametrize("empty", ["", "-1", " -1", "  ", None, float("nan"), [], [-1], "nan"])
@pytest.mark.parametrize("relative", [False, True])
def test_what_stands_for_an_empty_mask(empty, relative):
    assert not decode_rle(empty, (3, 4), relative=relative).any()


def test_an_empty_mask_is_encoded_as_its_dialect_does():
    assert encode_rle(np.zeros((2, 2))) == ""
    assert encode_rle(np.zeros((2, 2)), relative=True) == "-1"


def test_blanks_order_and_touching_runs_do_not_matter():
    expected = decode_rle("1 4", (2, 3))
    np.testing.assert_array_equal(decode_rle("  3   2 1 2 ", (2, 3)), expected)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("1 2 3", "runs: expected pairs of numbers; received 3"),
        ("1 x", "runs: expected pairs of whole numbers; received 1 x"),
        ("1.5 2", "expected pairs of whole numbers"),
        ("0 2", "expected runs inside a mask of 2 x 3; received one from -1"),
        ("6 2", "received one from 5 to 7"),
        ("3 -1", "expected runs inside"),
    ],
)
def test_wrong_runs_are_refused(runs, message):
    with pytest.raises(OptionError, match=message):
        decode_rle(runs, (2, 3))


@given(masks, dialects, st.integers(1, 40))
def test_a_stream_is_the_same_text(mask, options, pixels):
    def read(window):
        return mask[window.slices][..., None]

    assert "".join(encode_windows(read, mask.shape, pixels=pixels, **options)) == encode_rle(mask, **options)


def test_runs_of_flat_values():
    assert flat_runs(np.array([True, False, True])).tolist() == [[0, 1], [2, 3]]
