"""Averages of weights: those that follow them step by step, and the mean of the best epochs' models."""

import types

import keras
import numpy as np

from maskzoo.training import OptimizerOptions, averaging, optimisation, read_history


def test_the_average_of_the_best_epochs_is_their_mean(short_run):
    rows = read_history(short_run)
    best = sorted(sorted(int(row["epoch"]) for row in rows), key=lambda e: -float(rows[e - 1]["val_dice"]))[:2]
    kept = [keras.saving.load_model(short_run / "kept" / f"epoch{epoch:04}.keras") for epoch in best]
    average = keras.saving.load_model(short_run / "averaged.keras")
    for mean, *each in zip(average.weights, *(model.weights for model in kept), strict=True):
        np.testing.assert_allclose(mean, sum(np.asarray(w) for w in each) / 2, rtol=1e-6, atol=1e-7)


def test_weights_and_averages_are_exchanged_and_put_back():
    weight = keras.Variable([1.0], name="kernel")
    optimizer = optimisation.make_optimizer(OptimizerOptions(optimizer="sgd", ema=0.9), [weight])
    optimizer.averages[0].assign([5.0])
    with averaging.averaged(types.SimpleNamespace(optimizer=optimizer)):
        assert (weight.numpy()[0], optimizer.averages[0].numpy()[0]) == (5, 1)
    assert (weight.numpy()[0], optimizer.averages[0].numpy()[0]) == (1, 5)


def test_only_the_models_of_the_best_epochs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(averaging, "save_model", lambda network, path: path.touch())
    optimizer = types.SimpleNamespace(exchange_averages=lambda: None)
    trainer = types.SimpleNamespace(network=None, optimizer=optimizer)
    kept = []
    for epoch, best in enumerate([[1], [1, 2], [3, 1], [3, 4]], 1):
        averaging.keep_model(trainer, tmp_path, epoch, best)
        kept.append(sorted(int(path.stem.removeprefix("epoch")) for path in (tmp_path / "kept").iterdir()))
    assert kept == [[1], [1, 2], [1, 3], [3, 4]]
