"""What every registered model must do; a model is covered as soon as it registers."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskzoo import models

ZOO = json.loads((Path(__file__).parent / "zoo.json").read_text())


def _registered(row):
    names = models.list_encoders() if row["part"] == "encoder" else models.list_models()
    return row["name"] in names


def _label(row):
    options = ",".join(f"{key}={value}" for key, value in row["options"].items())
    return f"{row['name']}-{row['input_shape'][-1]}ch-{options or 'default'}"


def _count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("row", [pytest.param(row, id=_label(row)) for row in ZOO if _registered(row)])
def test_parameter_counts_and_shapes_are_those_of_the_reference(row):
    if row["part"] == "encoder":
        model = models.build_encoder(row["name"], row["input_shape"], **row["options"])
    else:
        model = models.build_model(row["name"], row["input_shape"], row["num_classes"], **row["options"])
    counts = {"total": model.count_params(), "trainable": _count(model.trainable_weights)}
    if row["part"] == "decoder+head":
        encoder = models.build_encoder(row["options"]["encoder"], row["input_shape"])
        counts["total"] -= encoder.count_params()
        counts["trainable"] -= _count(encoder.trainable_weights)
    expected = {key: row[key] for key in counts if row[key] is not None}
    assert {key: counts[key] for key in expected} == expected
    if row["output_shape"]:
        assert model.output_shape == (None, *row["output_shape"])
