"""The region around a large structure: found in its mask, resized to the size of the whole image, and put back."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from . import analysis
from .blocks import Tensor, TensorShape, ops, shape_of
from .checks import check_choice

# Along one axis of a batch of images: where each box begins and where it stops, `(batch, 1)` each.
Span = tuple[Tensor, Tensor]

REGIONS = ("box", "square", "mask")
# Pixels that a region reaches beyond the structure.
MARGIN = 8
# The logit of a tiny structure outside the region.
OUTSIDE = -30.0
# A predicted pixel counts for the region only if most of its neighbours belong to the structure too: otherwise one
# stray pixel would stretch the region over the whole image.
NEIGHBOURHOOD = 5


def boxes_around(mask: Tensor, region: str = "square", margin: int = MARGIN) -> list[Span]:
    """Finds the box around each mask.

    Args:
        mask: Booleans `(batch, height, width)`.
        region: `box` or `mask`: the box itself; `square`: widened to the proportions of the image.
        margin: Pixels that the box reaches beyond the mask.

    Returns:
        For rows and for columns `(start, stop)`, float32 `(batch, 1)` each; the whole image where a mask is empty.
    """
    spans, sizes = [], []
    for axis in (1, 2):
        hit = ops.any(mask, axis=3 - axis)
        size = shape_of(mask)[axis]
        index = ops.arange(size, dtype="int32")
        start = ops.min(ops.where(hit, index, size), axis=1, keepdims=True)
        stop = ops.max(ops.where(hit, index + 1, 0), axis=1, keepdims=True)
        start, stop = ops.where(stop > start, start - margin, 0), ops.where(stop > start, stop + margin, size)
        spans.append((ops.cast(ops.maximum(start, 0), "float32"), ops.cast(ops.minimum(stop, size), "float32")))
        sizes.append(ops.cast(size, "float32"))
    if region != "square":
        return spans
    fraction = ops.maximum(*((stop - start) / size for (start, stop), size in zip(spans, sizes, strict=True)))
    squares = []
    for (start, stop), size in zip(spans, sizes, strict=True):
        length = fraction * size
        start = ops.clip((start + stop - length) / 2, 0.0, size - length)
        squares.append((start, start + length))
    return squares


def enlarge_boxes(images: Tensor, boxes: Sequence[Span]) -> Tensor:
    """Resizes a box of each image to the image's size, by linear interpolation between the centres of pixels.

    Args:
        images: float32 `(batch, height, width, channels)`.
        boxes: What `boxes_around` returned.
    """
    return _resampled(images, [_linear(_inwards(box, size), size) for box, size in _sides(images, boxes)])


def enlarge_labels(labels: Tensor, boxes: Sequence[Span]) -> Tensor:
    """Resizes a box of each label image to its size, by taking the nearest pixel.

    Args:
        labels: float32 `(batch, height, width, channels)` of small whole numbers.
        boxes: What `boxes_around` returned.
    """
    weights = []
    for box, size in _sides(labels, boxes):
        nearest = ops.clip(ops.floor(_inwards(box, size) + 0.5), 0.0, ops.cast(size - 1, "float32"))
        weights.append(ops.cast(nearest[..., None] == ops.arange(size, dtype="float32"), "float32"))
    return _resampled(labels, weights)


def put_back(maps: Tensor, boxes: Sequence[Span], outside: float = OUTSIDE) -> Tensor:
    """Resizes maps of boxes to where these lie in the whole image: undoes `enlarge_boxes`.

    Args:
        maps: float32 `(batch, height, width, channels)`.
        boxes: What `boxes_around` returned.
        outside: Value of the pixels outside the box.
    """
    weights, inside = [], []
    for (start, stop), size in _sides(maps, boxes):
        middle = ops.arange(size, dtype="float32") + 0.5
        weights.append(_linear((middle - start) * ops.cast(size, "float32") / (stop - start) - 0.5, size))
        inside.append(ops.logical_and(middle >= start, middle <= stop))
    inside = ops.logical_and(inside[0][:, :, None], inside[1][:, None, :])[..., None]
    return ops.where(inside, _resampled(maps, weights), outside)


def cut_regions(
    images: Tensor, labels: Tensor, large: Sequence[int], fine: Sequence[int], region: str = "square"
) -> tuple[Tensor, dict[str, Tensor]]:
    """Makes the training data of a model of two images from labelled windows.

    Args:
        images: `(batch, height, width, channels)`.
        labels: Multilabel masks `(batch, height, width, classes)`, 1 where a class is.
        large: Numbers of the large classes, around which the region is cut.
        fine: Numbers of the tiny classes, which are looked for in it.
        region: `box`, `square`, or `mask`: the box, with 0 outside the large structure.

    Returns:
        The regions, of the images' shape; and the labels as a dict: `mask`, the large classes, and `fine`, the tiny
        ones in the region.
    """
    labels = ops.cast(labels, "float32")
    shown = ops.any(ops.take(labels, large, axis=-1) == 1, axis=-1)
    boxes = boxes_around(shown, region)
    images = _alone(ops.cast(images, "float32"), shown, region)
    parts = {
        "mask": ops.take(labels, large, axis=-1),
        "fine": enlarge_labels(ops.take(labels, fine, axis=-1), boxes),
    }
    return enlarge_boxes(images, boxes), parts


def two_stage(model: keras.Model, large: Sequence[int], fine: Sequence[int], region: str = "square") -> keras.Model:
    """Makes a model of one image from one of two: large structures first, then tiny ones in the region around these.

    Args:
        model: A model of `[image, region]` with the outputs `mask` and `fine`, such as `fine_grained_unet`.
        large: Numbers that the channels of `mask` have among all classes.
        fine: Numbers that the channels of `fine` have.
        region: As in training: `box`, `square` or `mask`.

    Returns:
        A model that shares the layers, from an image to logits of all classes in their order. A tiny structure is not
        there outside the region.
    """
    outputs = analysis.outputs_by_name(model)
    locate = keras.Model(model.inputs[0], outputs["mask"], name="locate")
    refine = keras.Model(model.inputs[1], outputs["fine"], name="refine")
    image = keras.Input(model.inputs[0].shape[1:], name="image")
    mask = locate(image)
    found = refine(CutRegion(region, name="region")([image, mask]))
    found = PutRegionBack(region, name="back")([found, mask])
    logits = layers.Concatenate(name="classes")([mask, found])
    order = np.argsort([*large, *fine]).tolist()
    return keras.Model(image, PickChannels(order, name="mask")(logits), name=model.name)


class _Region(layers.Layer):
    """A layer that finds the region in logits of the large structure."""

    def __init__(self, region: str = "square", **kwargs: Any) -> None:  # those of Keras layers
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        check_choice("region", region, REGIONS)
        self.region = region

    def found(self, logits: Tensor) -> Tensor:
        shown = ops.cast(ops.any(logits > 0, axis=-1, keepdims=True), "float32")
        fractions = ops.average_pool(shown, NEIGHBOURHOOD, strides=1, padding="same", data_format="channels_last")
        return fractions[..., 0] > 0.5

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "region": self.region}


@keras.saving.register_keras_serializable("maskzoo")
class CutRegion(_Region):
    """Cuts the region around a large structure out of images, resized to their size: called on `[images, logits]`."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        images, logits = inputs
        shown = self.found(logits)
        return enlarge_boxes(_alone(images, shown, self.region), boxes_around(shown, self.region))

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        return input_shapes[0]


@keras.saving.register_keras_serializable("maskzoo")
class PutRegionBack(_Region):
    """Puts maps of the region back to where it was, resized: called on `[maps, logits]` of the large structure."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        maps, logits = inputs
        return put_back(maps, boxes_around(self.found(logits), self.region))

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        return input_shapes[0]


@keras.saving.register_keras_serializable("maskzoo")
class PickChannels(layers.Layer):
    """Reorders channels."""

    def __init__(self, order: Sequence[int], **kwargs: Any) -> None:  # those of Keras layers
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.order = list(order)

    def call(self, x: Tensor) -> Tensor:
        return ops.take(x, self.order, axis=-1)

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (*input_shape[:-1], len(self.order))

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "order": self.order}


def _alone(images: Tensor, shown: Tensor, region: str) -> Tensor:
    """Images with 0 outside the large structure, where it is cut out along its outline."""
    return images * ops.cast(shown[..., None], images.dtype) if region == "mask" else images


def _sides(array: Tensor, boxes: Sequence[Span]) -> list[tuple[Span, Tensor]]:
    """The span of the boxes along each spatial axis, with the size of the array there."""
    return [(box, shape_of(array)[axis]) for axis, box in enumerate(boxes, start=1)]


def _inwards(box: Span, size: Tensor) -> Tensor:
    """Where the pixels of the enlarged box lie in the image, in pixels from the centre of its first one."""
    start, stop = box
    return start + (ops.arange(size, dtype="float32") + 0.5) * (stop - start) / ops.cast(size, "float32") - 0.5


def _linear(position: Tensor, size: Tensor) -> Tensor:
    """Weights `(batch, positions, size)` of linear interpolation at positions between pixels' centres."""
    position = ops.clip(position, 0.0, ops.cast(size - 1, "float32"))
    return ops.relu(1.0 - ops.abs(position[..., None] - ops.arange(size, dtype="float32")))


def _resampled(array: Tensor, weights: Sequence[Tensor]) -> Tensor:
    rows, columns = weights
    return ops.einsum("bij,bjwc->biwc", rows, ops.einsum("bhjc,bwj->bhwc", array, columns))


@analysis.register(CutRegion, PutRegionBack)
def _region(layer: CutRegion | PutRegionBack, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "finds a structure in the whole image"


@analysis.register(PickChannels)
def _pick_channels(layer: PickChannels, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x
