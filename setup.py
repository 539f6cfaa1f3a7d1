"""Installs the folders at the top of the checkout as `maskzoo.models`, `maskzoo.losses`, ..."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
# The scheduler and the worker processes of predict --cluster.
CLUSTER = ["dask[distributed]>=2026.8"]
# To convert (onnx, tf2onnx) and to run elsewhere (onnxruntime, openvino).
EXPORT = ["onnx>=1.23.2", "onnxruntime>=1.31.1", "openvino>=2026.4.1", "tf2onnx>=1.17"]
SHELVES = ["augmentation", "images", "inspection", "labels", "sampling", "sets", "synthetic", "writers"]
ROOMS = [
    "cli",
    "data",
    *(f"data.{shelf}" for shelf in SHELVES),
    "deployment",
    "evaluation",
    "inference",
    "losses",
    "metrics",
    "models",
    "models.analysis",
    "models.encoders",
    "postprocessing",
    "recipes",
    "training",
]

setup(
    name="maskzoo",
    version=re.search(r'__version__ = "(.+)"', (ROOT / "maskzoo" / "__init__.py").read_text())[1],
    description="Segmentation architectures for Keras 3, with training and seamless prediction on images of any size",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="segmentation keras tensorflow unet vnet microscopy pathology mri ct aerial",
    packages=["maskzoo", *(f"maskzoo.{room}" for room in ROOMS)],
    package_dir={f"maskzoo.{room}": room.replace(".", "/") for room in ROOMS},
    package_data={"maskzoo": ["py.typed"], "maskzoo.recipes": ["*.yaml"]},
    python_requires=">=3.11,<3.14",
    # Lower bounds are the oldest versions that the tests were run with.
    install_requires=[
        "albumentations==2.0.8",  # the last release under the MIT licence
        "imagecodecs>=2026.3.6",
        "jsonargparse>=4.53",
        "keras>=3.15.1",
        "lazy-loader>=0.4",
        "matplotlib>=3.11.2",
        "nibabel>=5.4.2",
        "numpy>=2.4.6",
        "opencv-python-headless>=5.0.0.93",
        "pyyaml>=6.0.3",
        "rasterio>=1.4.4",
        "scikit-image>=0.26.0",
        "scipy>=1.17.1",
        "segmentation-models==1.0.1",
        "SimpleITK>=2.5.7",
        "tensorboard>=2.21.0",
        "tensorflow>=2.21,<2.22",
        "tifffile>=2026.3.3",
        "tqdm>=4.70.1",
    ],
    extras_require={
        "cluster": CLUSTER,
        "export": EXPORT,
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "track": ["mlflow>=3.17", "wandb>=0.31"],
        "test": [*CLUSTER, *EXPORT, "hypothesis>=6.170", "pytest>=9.2", "ruff>=0.17.5,<0.18"],
    },
    entry_points={"console_scripts": ["maskzoo = maskzoo.cli:main"]},
)
