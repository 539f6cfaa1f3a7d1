"""A conditional random field behind a model: labels that agree with those of similar pixels nearby."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Tensor, TensorShape, ops, shape_of
from .checks import check_choice, check_count

TASKS = ("binary", "multilabel", "multiclass")


@keras.saving.register_keras_serializable("maskzoo")
class LocalCRF(layers.Layer):
    """Refines logits by mean-field inference in a CRF whose pixels are tied to all others within a radius.

    Two pixels are tied the more tightly the nearer they are and the more alike they look:
    `k = exp(-distance^2 / (2 position^2) - difference^2 / (2 color^2))`. In each iteration the logits become the
    model's own plus `weight` times the mean of the others' probabilities, weighted by `k` (Potts model). It is the
    dense CRF with its Gaussian cut off at the radius, so that a pixel sees `iterations * radius` pixels far.

    Args:
        task: `binary`, `multilabel` (each channel is a field of its own) or `multiclass`.
        weight: How much the neighbours count against the logits, 0 or more.
        radius: Pixels along each axis, at least 1.
        iterations: Mean-field updates, at least 1.
        position: Standard deviation of the distance, in pixels.
        color: Standard deviation of the difference of two pixels: the root of its mean square over the channels.

    Raises:
        OptionError: An argument is out of range.

    Source: Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
    2011; cut off as in Teichmann, Cipolla, "Convolutional CRFs for Semantic Segmentation", 2018.
    """

    def __init__(
        self,
        task: str,
        *,
        weight: float = 3.0,
        radius: int = 3,
        iterations: int = 5,
        position: float = 2.0,
        color: float = 0.5,
        **kwargs: Any,  # those of Keras layers
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        check_choice("task", task, TASKS)
        check_count("radius", radius)
        check_count("iterations", iterations)
        for name, value, least in (("weight", weight, 0), ("position", position, 1e-3), ("color", color, 1e-3)):
            if not least <= value < np.inf:
                raise OptionError(name, f"at least {least}", value)
        self.task, self.weight, self.radius, self.iterations = task, weight, radius, iterations
        self.position, self.color = position, color

    def call(self, image_and_logits: tuple[Tensor, Tensor]) -> Tensor:
        image: Tensor
        logits: Tensor
        image, logits = (ops.cast(x, "float32") for x in image_and_logits)
        axes = tuple(range(1, len(image.shape) - 1))
        reach = range(-self.radius, self.radius + 1)
        offsets: Tensor = np.array([offset for offset in itertools.product(reach, repeat=len(axes)) if any(offset)])
        nearness: Tensor = ops.convert_to_tensor(np.exp(-(offsets**2).sum(axis=1) / (2 * self.position**2)), "float32")
        offsets = ops.convert_to_tensor(offsets, "int32")
        padding = [(0, 0), *[(self.radius, self.radius)] * len(axes), (0, 0)]
        image, logits, inside = (ops.pad(x, padding) for x in (image, logits, ops.ones_like(image[..., :1])))

        # Loops instead of a list of shifted copies, so that only one copy is in memory at a time.
        def update(_: int, scores: Tensor) -> Tensor:
            labels = (ops.softmax(scores) if self.task == "multiclass" else ops.sigmoid(scores)) * inside

            def add(number: int, sums: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
                total, ties = sums
                others, there, look = (rolled(x, offsets[number]) for x in (labels, inside, image))
                difference = ops.mean(ops.square(image - look), axis=-1, keepdims=True)
                tie = there * nearness[number] * ops.exp(-difference / (2 * self.color**2))
                return total + tie * others, ties + tie

            total, ties = ops.fori_loop(0, nearness.shape[0], add, (ops.zeros_like(scores), ops.zeros_like(inside)))
            message = ops.divide_no_nan(total, ties)
            # With two labels per channel, the other one's message counts against it.
            return logits + self.weight * (message if self.task == "multiclass" else 2 * message - 1)

        scores = ops.fori_loop(0, self.iterations, update, logits)
        return scores[(slice(None), *[slice(self.radius, -self.radius)] * len(axes))]

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        return input_shapes[1]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        names = ("task", "weight", "radius", "iterations", "position", "color")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def rolled(x: Tensor, offset: tuple[int, ...]) -> Tensor:
    """Shifts an array along its spatial axes; what leaves at one end enters at the other."""
    for axis in range(1, len(x.shape) - 1):
        size = shape_of(x)[axis]
        x = ops.take(x, ops.mod(ops.arange(size, dtype="int32") - offset[axis - 1], size), axis=axis)
    return x


@analysis.register(LocalCRF)
def _reach_of_the_field(
    layer: LocalCRF, axis: int, image: analysis.AxisGeometry, logits: analysis.AxisGeometry
) -> analysis.AxisGeometry:
    return analysis.AxisGeometry.united([image, logits]).gather(2 * layer.radius * layer.iterations + 1, padding="same")


def with_crf(
    model: keras.Model,
    task: str,
    *,
    weight: float = 3.0,
    radius: int = 3,
    iterations: int = 5,
    position: float = 2.0,
    color: float = 0.5,
) -> keras.Model:
    """Puts a `LocalCRF` behind the mask of a model.

    Args:
        model: A functional model of one image, whose mask has the image's size.
        task: `binary`, `multilabel` or `multiclass`.
        weight: See `LocalCRF`, as for all that follow.
        radius: Pixels along each axis.
        iterations: Mean-field updates.
        position: Standard deviation of the distance, in pixels.
        color: Standard deviation of the difference of two pixels, as the model is given them: of a normalised image.

    Returns:
        A model with the same outputs, of which the mask is refined.

    Raises:
        OptionError: The mask is smaller than the image, or an option is out of range.
    """
    if len(model.inputs) != 1 or any(analysis.geometry(model).crop):
        raise OptionError(model.name, "a model of one image with a mask of its size", "another")
    mask = model.output["mask"] if isinstance(model.output, dict) else model.outputs[0]
    field = LocalCRF(
        task,
        weight=weight,
        radius=radius,
        iterations=iterations,
        position=position,
        color=color,
        name="mask_refined",
    )
    refined = field([model.inputs[0], mask])
    outputs = {**model.output, "mask": refined} if isinstance(model.output, dict) else refined
    return keras.Model(model.inputs[0], outputs, name=model.name)
