"""Small data sets on disk."""

import cv2
import numpy as np
import pytest
import yaml


@pytest.fixture
def pictures():
    """Function from a number to as many random images `(40, 40, 3)`."""

    def made(number, side=40):
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(number)]

    return made


@pytest.fixture
def masks():
    """Function from a number to as many random masks `(40, 40)`."""

    def made(number, values=(0, 255), side=40):
        rng = np.random.default_rng(1)
        return [rng.choice(np.array(values, np.uint8), (side, side)) for _ in range(number)]

    return made


@pytest.fixture
def save_folder():
    """Function that writes images and labels into a folder, and returns it."""

    def saved(path, images, labels, name="masks"):
        (path / "images").mkdir(parents=True)
        (path / name).mkdir()
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            cv2.imwrite(str(path / "images" / f"{number:02}.png"), image)
            cv2.imwrite(str(path / name / f"{number:02}.png"), label)
        return path

    return saved


@pytest.fixture
def save_blocks():
    """Function that writes images of 40 x 30 pixels, each with a block of label that grows with its number."""

    def saved(folder, count, *, channels=3, spec="", value=1, seed=0):
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for number in range(count):
            shape = (40, 30) if channels == 1 else (40, 30, channels)
            cv2.imwrite(str(folder / "images" / f"im{number}.png"), rng.integers(0, 255, shape).astype(np.uint8))
            mask = np.zeros((40, 30), np.uint8)
            mask[5:20, 5 : 10 + number] = value
            cv2.imwrite(str(folder / "masks" / f"im{number}.png"), mask)
        if spec:
            (folder / "set.yaml").write_text(spec)
        return folder

    return saved


@pytest.fixture
def save_yaml():
    """Function that writes keys into a YAML file, and returns its path."""

    def saved(path, /, **keys):
        path.write_text(yaml.safe_dump(keys, sort_keys=False))
        return path

    return saved
