"""A class is left out of a mask where its label is unlikely on every tile."""

import keras
import numpy as np
import pytest
from noise_runs import as_run

from maskzoo.errors import OptionError
from maskzoo.inference.ensemble import Ensemble
from maskzoo.inference.gate import LabelRecorder, absent_classes, label_recorders


def labelled(classes=2, task="multilabel"):
    """A run whose mask is its input, and whose labels are the input's largest values."""
    image = keras.Input((None, None, classes))
    labels = classes - (task == "multiclass")
    largest = keras.layers.GlobalMaxPooling2D()(image)
    label = keras.layers.Lambda(lambda x: x[:, -labels:], output_shape=(labels,), name="label")(largest)
    mask = keras.layers.Activation("linear", name="mask")(image)
    return as_run(keras.Model(image, {"mask": mask, "label": label}), task=task)


def logit(probability):
    return np.log(probability / (1 - probability))


def test_the_likeliest_tile_counts():
    run = labelled()
    (recorder,) = label_recorders(run)
    for first, second in ((0.2, 0.1), (0.6, 0.3), (0.4, 0.2)):
        tile = np.full((1, 4, 4, 2), logit(0.01), np.float32)
        tile[0, 1, 2] = logit(first), logit(second)
        np.testing.assert_array_equal(recorder.predict(tile), tile)
    np.testing.assert_allclose(recorder.largest, [0.6, 0.3], atol=1e-6)
    assert absent_classes(run, [recorder], (0.59, 0.31)) == [1]
    assert absent_classes(run, [recorder], (0, 0)) == []


def test_the_background_is_always_there():
    (recorder,) = label_recorders(labelled(3, "multiclass"))
    recorder.predict(np.full((1, 4, 4, 3), logit(0.25), np.float32))
    np.testing.assert_allclose(recorder.largest, [1, 0.25, 0.25], atol=1e-6)


def test_members_count_by_their_weights():
    runs = [labelled(), labelled()]
    ensemble = Ensemble(runs, weights=[1, 3])
    recorders = label_recorders(ensemble)
    recorders[0].record(np.array([0.8, 0.0]))
    recorders[1].record(np.array([0.4, 0.4]))
    # Means of 0.5 and 0.3.
    assert absent_classes(ensemble, recorders, (0.51, 0.29)) == [0]
    assert absent_classes(ensemble, recorders, (0.49, 0.31)) == [1]


def test_a_run_without_a_label_head_is_refused():
    image = keras.Input((None, None, 1))
    with pytest.raises(OptionError, match="gate: expected runs that were trained with a label head; received"):
        LabelRecorder(as_run(keras.Model(image, keras.layers.Conv2D(1, 1)(image))))
