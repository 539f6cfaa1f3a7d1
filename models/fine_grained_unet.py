"""One trunk for a large structure in the whole image and a tiny one in the region of interest around it."""

from typing import Any

import keras
import numpy as np

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape, Tensor, ops
from .heads import auxiliary_head
from .registry import build_model, register_model


@register_model
def fine_grained_unet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 2,
    *,
    fine_classes: int = 1,
    trunk: str | keras.Model = "backbone_unet",
    trunk_options: dict[str, Any] | None = None,  # of whatever types the builder takes
    activation: str | None = None,
) -> keras.Model:
    """Builds a model of two images, the whole and a region of it resized to the same size, with a head for each.

    Both images go through the same trunk. `locate_and_refine` predicts with it, one image after the other.

    Args:
        input_shape: `(height, width, channels)` of both images, with sizes that the trunk takes.
        num_classes: Number of channels of the whole image's output, `mask`.
        fine_classes: Number of channels of the region's output, `fine`.
        trunk: Name of a registered model of one output, whose head is left out, or a `keras.Model` from an image to
            features.
        trunk_options: Dict of options of the trunk, if it is a name.
        activation: Activation of the heads; `None` gives logits.

    Returns:
        A model of `[image, region]` with the outputs `mask` and `fine`.

    Raises:
        OptionError: A size or an option is not among those allowed, or the trunk has several outputs.

    Source: a coarse-to-fine scheme for tiny structures, with 3x3 heads on the features of one shared U-Net.
    """
    if len(tuple(input_shape)) != 3:
        raise OptionError("input_shape of fine_grained_unet", "(height, width, channels)", tuple(input_shape))
    if not isinstance(trunk_options or {}, dict):
        raise OptionError("trunk_options", "a mapping such as {encoder: resnet34}", trunk_options)
    if isinstance(trunk, keras.Model):
        trunk = keras.Model(trunk.inputs[0], trunk.output, name="trunk")
    else:
        trunk = _without_head(build_model(trunk, input_shape, 1, **(trunk_options or {})))
    if len(trunk.outputs) != 1:
        raise OptionError("trunk of fine_grained_unet", "one output", len(trunk.outputs))
    factor = _enlargement(trunk)
    image, region = (keras.Input(input_shape, name=name) for name in ("image", "region"))
    outputs = {
        "mask": auxiliary_head(trunk(image), num_classes, activation, 3, factor, name="mask"),
        "fine": auxiliary_head(trunk(region), fine_classes, activation, 3, factor, name="fine"),
    }
    return keras.Model([image, region], outputs, name="fine_grained_unet")


def _enlargement(trunk: keras.Model) -> tuple[int, ...]:
    """Returns how many times a trunk's features are enlarged to the image's size, per axis."""
    place, image = analysis.places(trunk, [trunk.outputs[0], trunk.inputs[0]])
    if place is None or image is None or not place.fills(image):
        received = "one whose features do not follow it"
        if place is not None:
            strides, starts = (" x ".join(map(str, numbers)) for numbers in (place.stride, place.start))
            received = f"one whose features have strides {strides} and begin at pixel {starts}"
        raise OptionError("trunk of fine_grained_unet", "one whose features cover the image in whole pixels", received)
    factors = place.factors(image)
    assert factors is not None  # since it fills the image
    return factors


def _without_head(model: keras.Model) -> keras.Model:
    """Returns the model up to the features that its head reads."""
    heads = [layer for layer in model.layers if layer.name in ("mask_logits", "mask")]
    if not heads:
        raise OptionError("trunk of fine_grained_unet", "a model with a head named mask", model.name)
    return keras.Model(model.inputs[0], heads[0].input, name="trunk")


def locate_and_refine(
    model: keras.Model, image: np.ndarray, *, channel: int = 0, threshold: float = 0.0, margin: int = 8
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int] | None]:
    """Finds the large structure in an image, then the tiny structure in the region around it.

    Args:
        model: A `fine_grained_unet` that gives logits.
        image: Array `(height, width, channels)` of a size that the model takes.
        channel: Channel of `mask` that holds the large structure.
        threshold: Logit above which a pixel belongs to it.
        margin: Pixels that the region reaches beyond it.

    Returns:
        `(mask, fine, box)`: logits of the whole image; logits of the tiny structure, placed back into the whole image
        (minus infinity outside the region); and the region as `(top, bottom, left, right)`, or `None` where there is
        no large structure.
    """
    image = np.asarray(image, "float32")
    outputs = analysis.outputs_by_name(model)
    locate = keras.Model(model.inputs[0], outputs["mask"])
    refine = keras.Model(model.inputs[1], outputs["fine"])
    mask = _first(locate(image[None]))
    fine = np.full((*image.shape[:2], refine.outputs[0].shape[-1]), -np.inf, "float32")
    rows, columns = np.nonzero(mask[..., channel] > threshold)
    if not len(rows):
        return mask, fine, None
    top, left = max(rows.min() - margin, 0), max(columns.min() - margin, 0)
    bottom, right = rows.max() + 1 + margin, columns.max() + 1 + margin
    bottom, right = min(bottom, image.shape[0]), min(right, image.shape[1])
    region = ops.image.resize(image[None, top:bottom, left:right], image.shape[:2], data_format="channels_last")
    found = ops.image.resize(refine(region), (bottom - top, right - left), data_format="channels_last")
    fine[top:bottom, left:right] = _first(found)
    return mask, fine, (int(top), int(bottom), int(left), int(right))


def _first(batch: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(batch))[0]
