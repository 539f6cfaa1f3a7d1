"""Walking through the graph of a model."""

import keras
import pytest

from maskzoo.models import analysis


def test_a_model_without_a_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="own: expected a functional model; received Subclassed"):
        analysis.geometry(Subclassed(name="own"))
