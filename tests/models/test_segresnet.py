import pytest
from keras import layers

from maskzoo import models

SMALL = {"filters": 4, "groups": 2, "encoder_blocks": (1, 2), "decoder_blocks": (1,)}


@pytest.mark.parametrize(
    ("shape", "kind"), [((8, 8, 1), layers.SpatialDropout2D), ((8, 8, 8, 1), layers.SpatialDropout3D)]
)
def test_dropout_follows_the_first_convolution(shape, kind):
    model = models.build_model("segresnet", shape, 2, dropout=0.2, **SMALL)
    dropout = model.get_layer("stem_dropout")
    assert isinstance(dropout, kind)
    assert (dropout.rate, dropout.input) == (0.2, model.get_layer("stem_conv").output)
    assert not any("dropout" in layer.name for layer in models.build_model("segresnet", shape, 2, **SMALL).layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 3}, "groups: expected a divisor of the 4 filters; received 3"),
        (
            {"decoder_blocks": (1, 1)},
            r"decoder_blocks: expected one level fewer than in encoder_blocks \(2\); received 2",
        ),
        (
            {"encoder_blocks": 3},
            "encoder_blocks: expected a list of whole numbers, one per resolution level; received 3",
        ),
        ({"up": "nearest"}, "up: expected one of linear, transpose; received nearest"),
        ({"norm": "layer"}, "norm: expected one of group, instance, batch; received layer"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("segresnet", (None, None, 1), 2, **{**SMALL, **options})
