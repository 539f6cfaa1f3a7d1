"""A model is known by its architecture and weights, not by where or when it was saved."""

import json
import shutil
import zipfile

import keras
import numpy as np

from maskzoo.inference.model_identity import model_identity


def save(path, seed, filters=2):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 1), name="image")
    keras.Model(image, keras.layers.Conv2D(filters, 1, name="mask")(image), name="net").save(path)
    return path


def test_copies_and_other_states_of_training_are_the_same_model(tmp_path):
    first = model_identity(save(tmp_path / "best.keras", 0))
    (tmp_path / "b").mkdir()
    copy = tmp_path / "b" / "last.keras"
    shutil.copy(tmp_path / "best.keras", copy)
    assert model_identity(copy) == first
    with zipfile.ZipFile(copy, "a") as file:
        file.writestr("training.npz", b"state")
    assert model_identity(copy) == first
    keras.saving.load_model(tmp_path / "best.keras").save(tmp_path / "again.keras")
    assert model_identity(tmp_path / "again.keras") == first


def test_what_keras_notes_of_shared_objects_does_not_count(tmp_path):
    """Their addresses in memory, which differ from process to process."""
    path = save(tmp_path / "best.keras", 0)
    first = model_identity(path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    config = json.loads(entries["config.json"])
    config["config"]["layers"][1]["config"]["dtype"]["shared_object_id"] = 140499015577168
    with zipfile.ZipFile(tmp_path / "again.keras", "w") as file:
        for name, content in (entries | {"config.json": json.dumps(config).encode()}).items():
            file.writestr(name, content)
    assert model_identity(tmp_path / "again.keras") == first
    config["config"]["layers"][1]["config"]["filters"] = 5
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as file:
        for name, content in (entries | {"config.json": json.dumps(config).encode()}).items():
            file.writestr(name, content)
    assert model_identity(tmp_path / "other.keras") != first


def test_other_weights_and_other_architectures_are_other_models(tmp_path):
    found = {model_identity(save(tmp_path / f"{n}.keras", *options)) for n, options in enumerate([(0,), (1,), (0, 3)])}
    assert len(found) == 3
    changed = save(tmp_path / "0.keras", 0)
    model = keras.saving.load_model(changed)
    model.layers[-1].bias.assign(np.full(2, 1e-3, np.float32))
    model.save(changed)
    assert model_identity(changed) not in found


def test_no_file_is_no_model(tmp_path):
    assert model_identity(tmp_path / "best.keras") is None
    (tmp_path / "best.keras").write_bytes(b"no archive")
    assert model_identity(tmp_path / "best.keras")
