"""Encoders by name: `build_encoder("resnet34", (None, None, 3))`; importing this package registers them all."""

from . import coat, inception, keras_applications, mit, resnet, swin, torch_resnet, vit  # noqa: F401 (registers)
from .compose import encode, feature_strides, insert_blocks

__all__ = ["encode", "feature_strides", "insert_blocks"]
