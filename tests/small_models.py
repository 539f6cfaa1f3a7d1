"""Every registered model and every family of encoders, small enough to train in a blink."""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np

from maskzoo import models
from maskzoo.models.encoders.coat import coat
from maskzoo.models.encoders.mit import mix_transformer
from maskzoo.models.encoders.swin import swin_transformer
from maskzoo.models.encoders.vit import vision_transformer


@models.register_encoder
def tiny(input_shape=(None, None, 3), *, encoder_weights=None, freeze_encoder=False):
    """Builds an encoder of one strided convolution per level, to try decoders on."""
    x = inputs = keras.Input(input_shape, name="image")
    features = []
    for level, filters in enumerate((8, 8, 8, 8, 16)):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="elu", name=f"level{level}")(x)
        features.append(x)
    return keras.Model(inputs, features, name="tiny")


class Small(NamedTuple):
    """A configuration small enough to train in a blink: two allowed sizes, and one that is refused."""

    options: dict
    sizes: tuple = ((64, 64), (32, 96))
    wrong: tuple = (65, 64)
    channels: int = 1
    images: int = 1


DEFAULT = Small({}, channels=3)
SMALL = {
    "attention_unet": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "backbone_unet": Small({"encoder": "tiny", "decoder_filters": [8, 6, 6, 4, 4]}),
    "branch2_unet": Small(
        {"trunk": "unet_padded", "trunk_options": {"filters": [4, 6, 8]}, "level": 2, "channels": [1]},
        ((16, 24), (32, 16)),
        wrong=(),
    ),
    "daformer": Small({"encoder": "tiny", "decoder_filters": 8}),
    "deeplabv3": Small({"encoder": "tiny", "decoder_filters": 8, "dropout": 0.0}),
    "deeplabv3plus": Small({"encoder": "tiny", "decoder_filters": 8, "low_level_filters": 4, "dropout": 0.0}),
    "dpt": Small({"encoder": "tiny", "level_filters": [4, 6, 8, 8], "decoder_filters": 8, "dropout": 0.0}),
    "fine_grained_unet": Small(
        {"trunk": "unet_padded", "trunk_options": {"filters": [4, 6, 8]}}, ((16, 24), (32, 16)), wrong=(), images=2
    ),
    "fpn": Small({"encoder": "tiny", "pyramid_filters": 8}),
    "linknet": Small({"encoder": "tiny", "final_filters": 4}),
    "lraspp": Small({"encoder": "tiny", "decoder_filters": 8}),
    "manet": Small({"encoder": "tiny", "decoder_filters": [8, 6, 6, 4, 4], "attention_filters": 4}),
    "mednext": Small(
        {"filters": 2, "blocks": [1, 1, 1], "expansions": [2, 3, 2], "norm": "batch", "deep_supervision": True},
        ((8, 4, 8), (4, 12, 8)),
        (7, 8, 8),
    ),
    "nnunet": Small(
        {"filters": [2, 3, 4], "strides": [1, 2, [1, 2, 2]], "deep_supervision": True},
        ((4, 8, 8), (6, 12, 8)),
        (5, 8, 8),
    ),
    "pan": Small({"encoder": "tiny", "decoder_filters": 8}),
    "pspnet": Small({"encoder": "tiny", "pyramid_filters": 8}),
    "r2_unet": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "resenc_unet": Small(
        {"filters": [2, 3, 3], "blocks": [1, 2, 1], "norm": "batch"}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8)
    ),
    "resunet": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "resunet_a": Small(
        {
            "filters": [4, 6, 8],
            "dilations": [[1, 3], [1, 2], [1]],
            "decoder_dilations": [[1, 3], [1]],
            "bins": [1, 2, 4],
        },
        ((16, 24), (32, 16)),
        (18, 16),
    ),
    "segformer": Small({"encoder": "tiny", "decoder_filters": 8, "dropout": 0.0}),
    "segnet": Small({"filters": [4, 6, 8], "convs": [2, 2, 1]}, ((16, 24), (32, 16)), (20, 16)),
    "segresnet": Small(
        {"filters": 4, "groups": 2, "encoder_blocks": [1, 1, 2], "decoder_blocks": [1, 1]},
        ((8, 4, 8), (4, 12, 8)),
        (6, 8, 8),
    ),
    "u2net": Small(
        {"filters": [4, 6, 8], "inner_filters": [3, 4, 4], "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)
    ),
    "unet": Small({"filters": [4, 6, 8], "dropout": 0.0}, ((44, 60), (52, 44)), (46, 44)),
    "unet25d": Small(
        {"filters": [2, 4, 4, 6], "in_plane_levels": 1, "attention_maps": True},
        ((16, 8, 5), (8, 24, 6)),
        (12, 8, 5),
    ),
    "unet_3plus": Small(
        {"filters": [4, 6, 8], "branch_filters": 3, "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)
    ),
    "unet_aspp_fpn": Small(
        {
            "encoder": "tiny",
            "aspp_filters": 16,
            "decoder_filters": [8, 6, 6, 4],
            "pyramid_filters": 4,
            "aspp_dropout": 0.0,
            "dropout": 0.0,
        }
    ),
    "unet_padded": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "unet3d": Small({"filters": [2, 3, 4]}, ((44, 44, 48), (44, 48, 44)), (46, 44, 44)),
    "unet3d_padded": Small({"filters": [2, 3, 4]}, ((8, 4, 12), (4, 8, 8)), (6, 4, 4)),
    "unet_plus_plus": Small({"filters": [4, 6, 8], "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)),
    "unetr": Small(
        {"filters": 2, "image_size": 32, "hidden_filters": 6, "mlp_filters": 4, "heads": 2, "depth": 4},
        ((16, 32, 16), (32, 16, 16)),
        (24, 16, 16),
    ),
    "upernet": Small({"encoder": "tiny", "decoder_filters": 8, "dropout": 0.0}),
    "vnet": Small({"depth": 3, "start_filters": 4}, ((8, 12), (16, 8)), (10, 8)),
    "vnet3d": Small({"depth": 3, "start_filters": 8}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8)),
    "vnet3d_depthwise": Small({"depth": 3, "start_filters": 4}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8), channels=3),
    "vnet3d_paper": Small(
        {"start_filters": 4, "encoder_convs": [1, 2, 2], "decoder_convs": [2, 1]}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8)
    ),
    "vnet3d_plain": Small(
        {"depth": 3, "start_filters": 4, "kernel_size": 3}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8), channels=3
    ),
}


OURS = {
    "mit": lambda shape, **options: mix_transformer(shape, (4, 8, 10, 16), (1, 2, 1, 1), **options),
    "vit": lambda shape, **options: vision_transformer(shape, 12, 4, 3, trained_size=64, **options),
    "swin": lambda shape, **options: swin_transformer(shape, 6, (2, 2, 1, 2), 3, **options),
    "coat": lambda shape, **options: coat(shape, (8, 16, 16, 16), (1, 1, 2, 1), (2, 2, 2, 2), 2, **options),
    "coat_lite": lambda shape, **options: coat(shape, (8, 16, 24, 16), (1, 2, 1, 1), (2, 2, 2, 2), **options),
}


def small(name: str) -> Small:
    """How a registered model is made small."""
    return SMALL.get(name, DEFAULT)


@functools.cache
def small_model(name: str) -> keras.Model:
    """A small model for two classes and images of any size; shared, so that its weights are to be left as they are."""
    keras.utils.set_random_seed(0)
    free = (None,) * len(small(name).sizes[0])
    return models.build_model(name, (*free, small(name).channels), 2, **small(name).options)


def build_encoder(family: str, shape: tuple[int | None, ...], **options: Any) -> keras.Model:
    """Builds a small encoder of ours, or a registered one of a library."""
    keras.utils.set_random_seed(0)
    return OURS[family](shape, **options) if family in OURS else models.build_encoder(family, shape, **options)


@functools.cache
def shared_encoder(family: str) -> keras.Model:
    """An encoder of images of any size with two channels; shared, so that its weights are to be left as they are."""
    return build_encoder(family, (None, None, 2))


def images_for(name: str, size: tuple[int, ...]) -> np.ndarray | list[np.ndarray]:
    """What a small model takes, of one size."""
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(2, *size, small(name).channels)).astype("float32") for _ in range(small(name).images)]
    return images if small(name).images > 1 else images[0]


def arrays(result: Any) -> list[np.ndarray]:
    """The outputs of a model as a flat list of arrays."""
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(result)]
