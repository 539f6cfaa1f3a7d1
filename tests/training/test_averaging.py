"""Averages of weights: the mean of the best epochs' models."""

import keras
import numpy as np

from maskzoo.training import read_history


def test_the_average_of_the_best_epochs_is_their_mean(short_run):
    rows = read_history(short_run)
    best = sorted(sorted(int(row["epoch"]) for row in rows), key=lambda e: -float(rows[e - 1]["val_dice"]))[:2]
    kept = [keras.saving.load_model(short_run / "kept" / f"epoch{epoch:04}.keras") for epoch in best]
    average = keras.saving.load_model(short_run / "averaged.keras")
    for mean, *each in zip(average.weights, *(model.weights for model in kept), strict=True):
        np.testing.assert_allclose(mean, sum(np.asarray(w) for w in each) / 2, rtol=1e-6, atol=1e-7)
