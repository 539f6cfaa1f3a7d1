"""Checks losses and streaming metrics on one backend: `KERAS_BACKEND=jax python tests/check_backend.py`."""

import json
from pathlib import Path

import keras
import numpy as np

from maskzoo import losses, metrics

for row in json.loads((Path(__file__).parent / "losses.json").read_text()):
    p = np.array(row["probability"])
    logits = np.log(p) if row["options"].get("task") == "multiclass" else np.log(p / (1 - p))
    value = losses.build_loss(row["loss"], **row["options"])(np.array(row["y_true"]), logits)
    assert abs(float(value) - row["expected"]) <= row["tolerance"], row["loss"]

rng = np.random.default_rng(0)
image = rng.normal(size=(4, 8, 8, 3)).astype("float32")
for task in ("binary", "multilabel", "multiclass"):
    channels = 1 if task == "binary" else 3
    labels = (image.argmax(-1) if task == "multiclass" else image[..., :channels] > 0).astype("uint8")
    labels[:, 0] = 255
    options = {"task": task, "ignore_index": 255}
    heads, parts, scores = {}, {}, {}
    inputs = keras.Input((8, 8, 3))
    keras.utils.set_random_seed(0)
    for name in losses.list_losses():
        try:
            weights = [2.0] * channels if channels > 1 else None
            parts[name] = losses.build_loss(f"nonempty({name})", class_weights=weights, **options)
        except ValueError:
            continue
        heads[name] = keras.layers.Conv2D(channels, 1, name=name)(inputs)
        scores[name] = metrics.Dice(num_classes=channels, **options)
    model = keras.Model(inputs, heads)
    model.compile(keras.optimizers.Adam(0.03), parts, weighted_metrics=scores)
    truth = dict.fromkeys(heads, labels)
    logs = model.fit(image, truth, batch_size=2, epochs=6, verbose=0, shuffle=False).history
    final = model.evaluate(image, truth, batch_size=2, verbose=0, return_dict=True)
    for name, logits in model.predict(image, verbose=0).items():
        trace = logs[f"{name}_loss"]
        assert np.isfinite(trace).all(), (name, task, trace)
        assert trace[-1] < trace[0], (name, task, trace)
        guess = logits.argmax(-1) if task == "multiclass" else (logits >= 0).astype("uint8")
        dice = metrics.dice_from_counts(metrics.confusion_counts(labels, guess, channels, 255, task=task))
        expected = dice[1 if task == "multiclass" else 0 :].mean()
        assert abs(final[f"{name}_dice"] - expected) < 1e-6, (name, task)

image, labels = image[..., :1], (image[..., :1] > 0).astype("uint8")
inputs = keras.Input((8, 8, 1))
model = keras.Model(inputs, keras.layers.Conv2D(1, 3)(keras.layers.ZeroPadding2D()(inputs)))
loss = losses.build_loss("bce+dice")
model.compile(keras.optimizers.SGD(0.0), loss)
schedule = losses.WeightSchedule(loss, {"bce": [[0, 1], [2, 0]], "dice": [[1, 0], [2, 1]]})
logs = model.fit(image, labels, epochs=4, verbose=0, shuffle=False, callbacks=[schedule]).history
bce, dice = logs["loss"][0], logs["loss"][3]
np.testing.assert_allclose(logs["loss"], [bce, bce / 2, dice, dice], rtol=1e-5)
print(keras.backend.backend(), "agrees")
