"""Architectures by name: `build_model("unet", (572, 572, 1))`; importing this package registers them all."""

from . import attention_unet, encoders, unet, unet3d, unet25d, unet_3plus, unet_plus_plus, vnet, vnet3d  # noqa: F401 (registers)
from .registry import (
    build_encoder,
    build_model,
    encoder_options,
    list_encoders,
    list_models,
    model_options,
    rank_of,
    register_encoder,
    register_model,
)

__all__ = [
    "build_encoder",
    "build_model",
    "encoder_options",
    "list_encoders",
    "list_models",
    "model_options",
    "rank_of",
    "register_encoder",
    "register_model",
]
