"""Sums of losses written as text."""

import pytest
from labelled_logits import sample

from maskzoo import losses
from maskzoo.errors import OptionError


def test_sums_weigh_their_terms():
    labels, logits = sample("binary", (2, 4, 4))
    bce, dice, focal = (float(losses.build_loss(s)(labels, logits)) for s in ("bce", "dice", "focal(gamma=3)"))
    for spec, expected in {
        "bce+dice": bce + dice,
        "0.5*bce + 0.25*dice": 0.5 * bce + 0.25 * dice,
        "focal(gamma=3)+bce+dice": focal + bce + dice,
        " 2*(bce+0.1*dice)": 2 * bce + 0.2 * dice,
    }.items():
        assert float(losses.build_loss(spec)(labels, logits)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.build_loss("focal+bce+dice", gamma=3)(labels, logits)) == pytest.approx(focal + bce + dice)
    assert losses.build_loss("2*bce+nonempty(dice(smooth=0))").terms == ["bce", "nonempty(dice(smooth=0))"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "dicee"}, r"loss: expected dice \(of balanced_bce, .*\); received dicee"),
        ({"spec": "xyz"}, r"loss: expected one of balanced_bce, .*weighted_bce; received xyz"),
        (
            {"spec": "bce+dice", "smoth": 1},
            r"bce\+dice: smooth \(of batch, smooth, squared\); received smoth",
        ),
        ({"spec": "dice(gamma=1)"}, "an option of dice: one of batch, smooth, squared; received gamma"),
        ({"spec": "dice", "smooth": "1e-5"}, "loss: expected smooth of dice to be like 1.0; received '1e-5'"),
        ({"spec": "dice(squared=1)"}, "loss: expected squared of dice to be like False; received 1"),
        ({"spec": "dice(smooth=True)"}, "loss: expected smooth of dice to be like 1.0; received True"),
        ({"spec": "bce(gamma=1)"}, "expected bce without options; received gamma"),
        ({"spec": "bce(1)"}, "expected names and weighted sums"),
        ({"spec": "bce-dice"}, "expected names and weighted sums"),
        ({"spec": "bce+"}, "expected names and weighted sums"),
        ({"spec": ""}, "expected names and weighted sums"),
        ({"spec": None}, "expected names and weighted sums"),
        ({"spec": "dice(smooth=x)"}, "expected names and weighted sums"),
        ({"spec": "bce+bce"}, "each term once"),
        (
            {"spec": "bce", "task": "multiclass"},
            "cross_entropy, .* for task multiclass; received bce, which is for bin",
        ),
        ({"spec": "cross_entropy"}, "for task binary; received cross_entropy, which is for multiclass"),
        (
            {"spec": "bce", "task": "multiclas"},
            r"task: expected multiclass \(of binary, .*; received 'multiclas'",
        ),
        ({"spec": "bce", "class_weights": [0, 0]}, "expected numbers of at least 0, not all 0"),
        ({"spec": "bce", "class_weights": [-1, 2]}, "expected numbers of at least 0, not all 0"),
    ],
)
def test_wrong_names_and_options_are_refused_in_one_line(arguments, message):
    with pytest.raises(OptionError, match=message) as caught:
        losses.build_loss(**arguments)
    assert "\n" not in str(caught.value)
