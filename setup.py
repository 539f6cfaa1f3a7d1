"""Installs the folders at the top of the checkout as `maskzoo.models`, `maskzoo.losses`, ...

All else about the package is in `pyproject.toml`.
"""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
TOP = (
    "cli",
    "data",
    "deployment",
    "evaluation",
    "inference",
    "losses",
    "metrics",
    "models",
    "postprocessing",
    "recipes",
    "training",
)
ROOMS = [
    path.parent.relative_to(HERE).as_posix() for room in TOP for path in sorted((HERE / room).rglob("__init__.py"))
]

setup(
    packages=["maskzoo", *(f"maskzoo.{room.replace('/', '.')}" for room in ROOMS)],
    package_dir={f"maskzoo.{room.replace('/', '.')}": room for room in ROOMS},
    package_data={"maskzoo": ["py.typed"], "maskzoo.recipes": ["*.yaml"]},
)
