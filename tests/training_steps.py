"""Compares training steps on one backend: `KERAS_BACKEND=jax python tests/training_steps.py FOLDER`.

The folder holds a network, a batch and, for each of the recipes below, the network's weights after steps in TensorFlow.
"""

import sys
from pathlib import Path

import keras
import numpy as np

from maskzoo import losses
from maskzoo.metrics import Dice
from maskzoo.training import Recipe, optimisation
from maskzoo.training.jax_step import JaxTrainer
from maskzoo.training.step import Objective, Trainer

STEPS = {
    "plain": {},
    "parts": {"accumulate": 2},
    "clipped": {"clip_norm": 0.05},
    "clipped_parts": {"accumulate": 2, "clip_norm": 0.05},
    "averaged": {"optimizer": "adamw", "learning_rate": 1e-3, "ema": 0.9},
    "moved_weights": {"epochs": 2, "loss_weights": {"bce": [[0, 1], [1, 0.2]]}},
}


class Batches(keras.utils.PyDataset):
    """The same batch twice. TensorFlow may write into arrays that it is given, so it is given copies."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return tuple(array.copy() for array in self.batch)


class Predictions(keras.callbacks.Callback):
    """Predicts before every epoch, as for hard examples: a compiled step must not keep the weights of the loss."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.model.predict(self.batches, verbose=0)


def after_steps(network, batch, **options):
    """The weights of a network after two steps an epoch on a batch, their averages, and what was measured."""
    recipe = Recipe(**{"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1, **options})
    loss = losses.build_loss("bce+dice")
    trainer = (JaxTrainer if keras.backend.backend() == "jax" else Trainer)(
        network,
        Objective(loss),
        [Dice(name="dice")],
        accumulate=recipe.accumulate,
        clip_norm=recipe.clip_norm,
    )
    optimizer = optimisation.make_optimizer(recipe, network.trainable_variables)
    trainer.compile(optimizer, jit_compile=False, auto_scale_loss=False)
    callbacks = [losses.WeightSchedule(loss, recipe.loss_weights or {}), Predictions(Batches(batch))]
    history = trainer.fit(Batches(batch), epochs=recipe.epochs, callbacks=callbacks, verbose=0, shuffle=False).history
    scores = trainer.evaluate(Batches(batch), verbose=0, return_dict=True)
    measured = [*history["loss"], *history["dice"], scores["loss"], scores["dice"]]
    of_samples = trainer.predict(Batches(batch), verbose=0)
    arrays = [keras.ops.convert_to_numpy(variable) for variable in (*network.weights, *optimizer.averages)]
    return [*arrays, np.array(measured), of_samples]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with np.load(folder / "batch.npz") as stored:
        batch = stored["images"], stored["labels"], stored["weights"]
    for name, options in STEPS.items():
        network = keras.saving.load_model(folder / "network.keras", compile=False)
        with np.load(folder / f"{name}.npz") as expected:
            received = after_steps(network, batch, **options)
            assert len(received) == len(expected), name
            for number, array in enumerate(received):
                np.testing.assert_allclose(array, expected[f"{number:03}"], rtol=1e-4, atol=1e-4, err_msg=name)
    print(keras.backend.backend(), "agrees")
