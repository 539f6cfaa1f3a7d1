"""Trained runs as a TensorFlow graph, from raw pixels to the final mask: as `predict` sees an image in one piece."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import tensorflow as tf

from .. import data
from ..inference.engines import network
from ..inference.ensemble import SMALLEST, Ensemble
from ..inference.tile_plan import AFFORDABLE_WORK, common_step, symmetric_halo_and_crop
from ..inference.tta import parse_tta
from ..models import analysis


class Bundle(tf.Module):
    """The graph, as TensorFlow functions `segment` and `score` of raw images `(batch, *size, channels)`."""

    def __init__(self, run, dtype, size=None):
        """Prepares the functions.

        Args:
            run: A `Run`, or an `Ensemble`.
            dtype: Type of the raw pixels.
            size: Spatial sizes, `None` for any.
        """
        super().__init__()
        self._run, self._dtype = run, dtype
        self._task = run.data.task
        self._members = members(run)
        self.networks = [member.network for member in self._members]
        spatial = (None,) * run.data.spatial_dims if size is None else size
        batch = None if size is None else 1
        signature = tf.TensorSpec((batch, *spatial, run.data.channels), dtype, name="images")
        as_function = tf.function(input_signature=[signature], autograph=False)
        self.segment = as_function(lambda images: {"mask": self._mask(self._logits(images))})
        self.score = as_function(lambda images: {"probabilities": activated(self._logits(images), self._task)})
        self.both = as_function(self._both)

    def _both(self, images):
        logits = self._logits(images)
        return {"mask": self._mask(logits), "probabilities": activated(logits, self._task)}

    def _mask(self, logits):
        labels = decided(logits, self._task, self._run.thresholds)
        return labels[..., 0] if self._task == "binary" else labels

    def _logits(self, images):
        ensemble = self._run if isinstance(self._run, Ensemble) else None
        shape = sizes_of(images)
        total = None
        for member in self._members:
            seen = normalized(images, member.normalization)
            for view in member.views:
                logits = member.logits(seen, shape, view)
                if ensemble is None:
                    return logits
                score = scored(logits, member.thresholds, self._task, ensemble.how, ensemble.temperature)
                score *= np.float32(member.weight / len(member.views))
                total = score if total is None else total + score
        return total if ensemble.how == "logits" else logits_from(total, self._task)


@dataclass(frozen=True)
class Member:
    """One run of a bundle.

    Attributes:
        network: Keras model from images to logits.
        answer: The same as a TensorFlow function, which a graph with several views holds once.
        normalization: As in the run's `data.json`.
        thresholds: As in the run.
        weight: Its share of the ensemble.
        views: Ways to show it the image.
        frame: Function from an image's sizes to a `Frame`.
        allowed_size: Function from sizes to the next that the network takes.
    """

    network: object
    answer: object
    normalization: dict
    thresholds: tuple
    weight: float
    views: tuple
    frame: object
    allowed_size: object

    def logits(self, images, shape, view):
        """Logits of normalised images, of their size."""
        frame = self.frame(shape)
        channels = self.network.inputs[0].shape[-1]
        seen = turned(mirrored(images, frame.before, frame.size), view)
        size = sizes_of(seen)
        if view.scale != 1:
            wanted = [larger(1, rounded(length, view.scale)) for length in size]
            seen = resized(seen, self.allowed_size(wanted))
        seen = tf.ensure_shape(seen, (*seen.shape[:-1], channels))
        logits = self.answer(seen)
        if view.scale != 1:
            logits = resized(logits, size)
        logits = turned_back(logits, view)
        ends = [crop + length for crop, length in zip(frame.crop, shape, strict=True)]
        return logits[(slice(None), *map(slice, frame.crop, ends))]


@dataclass(frozen=True)
class Frame:
    """The piece of the mirrored plane that a network is given for one image.

    Attributes:
        before: Pixels before the image, per axis.
        size: Pixels in all, per axis.
        crop: Pixels of the network's output that lie before the image, per axis.
    """

    before: list
    size: list
    crop: list


def members(run):
    """The members of an ensemble, or the only one of a run.

    Raises:
        ValueError: If one has no form in a graph.
    """
    runs = getattr(run, "runs", [run])
    views = run.views if isinstance(run, Ensemble) else parse_tta("none", run.data.spatial_dims)
    weights = run.weights if isinstance(run, Ensemble) else [1.0]
    geometries = [analysis.geometry(one.model) for one in runs]
    symmetric = any(view.turns or any(view.flipped) for view in views)
    found = []
    for one, weight, geometry in zip(runs, weights, geometries, strict=True):
        if one.data.normalization.get("stain"):
            raise ValueError(
                f"run: expected one without stain normalisation, to have it in a graph; received {one.path}"
            )
        if None not in one.model.inputs[0].shape[1:-1]:
            raise ValueError(f"run: expected a model that takes any size; received {one.path}, which takes one")
        if any(g.is_global for g in geometries):
            frame = shared_frame(geometries, symmetric)
        else:
            frame = own_frame(geometry, symmetric)
        if weight:
            model = network(one)
            answer = tf.function(partial(model, training=False), autograph=False)
            details = (one.data.normalization, one.thresholds, weight, views, frame, allowed_by(geometry))
            found.append(Member(model, answer, *details))
    return found


def own_frame(geometry, symmetric):
    """The frame that a plan of a single tile has: with the whole halo, where that is not too much work."""
    step = common_step(geometry)
    spatial_dims = len(geometry.stride)
    strides = (step,) * spatial_dims if symmetric else geometry.stride
    # Halo and crop do not depend on the tile, once that is larger than the least size.
    far = step * (1 + -(-max(rule.minimum for rule in geometry.rules) // step))
    if symmetric:
        halo, crop = symmetric_halo_and_crop(geometry, (far,) * spatial_dims)
    else:
        spans = [geometry.input_span(axis, 0, step) for axis in range(spatial_dims)]
        crop = [skip for *_, skip in spans]

    def exact(shape):
        tiles = [up(n, stride) for n, stride in zip(shape, strides, strict=True)]
        if symmetric:
            tile = widest(tiles)
            return Frame([h for h, _ in halo], [tile + sum(pair) for pair in halo], list(crop))
        before = [-first for first, *_ in spans]
        sizes = []
        for axis, tile in enumerate(tiles):
            stride, offset, rule = geometry.stride[axis], geometry.offset[axis], geometry.rules[axis]
            reach = before[axis] - offset // stride * stride + offset + geometry.tile_halo[axis][1]
            sizes.append(up(larger(tile + reach, rule.minimum), math.lcm(rule.multiple, stride), rule.remainder))
        return Frame(before, sizes, crop)

    def frame(shape):
        halo_frame = exact(shape)
        if any(geometry.crop):
            return halo_frame
        whole = whole_frame([geometry], shape, symmetric)
        cheap = product(halo_frame.size) <= AFFORDABLE_WORK * product(shape)
        return Frame(
            *(
                [chosen(cheap, one, other) for one, other in zip(first, second, strict=True)]
                for first, second in (
                    (halo_frame.before, whole.before),
                    (halo_frame.size, whole.size),
                    (halo_frame.crop, whole.crop),
                )
            )
        )

    return frame


def shared_frame(geometries, symmetric):
    """The frame of members of which one sees the whole image: all see the same piece."""
    if any(any(geometry.crop) for geometry in geometries):
        raise ValueError("run: expected models with same padding beside one that sees the whole image")
    return lambda shape: whole_frame(geometries, shape, symmetric)


def whole_frame(geometries, shape, symmetric):
    """The image, mirrored behind its end up to a size that all networks take."""
    sizes = [widest(shape)] * len(shape) if symmetric else list(shape)
    # One round suits all, unless their sizes have different remainders.
    for geometry in geometries * 2:
        sizes = allowed_by(geometry)(sizes)
    nothing = [0] * len(sizes)
    return Frame(nothing, sizes, nothing)


def allowed_by(geometry):
    """The function from sizes to the next ones that a network takes."""

    def allowed(sizes):
        rules = zip(sizes, geometry.rules, strict=True)
        return [up(larger(size, rule.minimum), rule.multiple, rule.remainder) for size, rule in rules]

    return allowed


# Sizes are numbers where a graph has one size, else scalars; divisions are of positive numbers, on which all engines
# agree.


def sizes_of(images):
    """The spatial sizes of images `(batch, *size, channels)`."""
    known, found = images.shape[1:-1], tf.shape(images)
    return [found[axis] if size is None else size for axis, size in enumerate(known, start=1)]


def up(size, multiple, remainder=0):
    """The next `multiple * k + remainder` from `size` on, which is at least the remainder."""
    return size + (multiple - (size - remainder) % multiple) % multiple


def larger(one, other):
    return tf.maximum(one, other) if tf.is_tensor(one) or tf.is_tensor(other) else max(one, other)


def smaller(one, other):
    return -larger(-one, -other)


def widest(sizes):
    largest = sizes[0]
    for size in sizes[1:]:
        largest = larger(largest, size)
    return largest


def product(sizes):
    """The product, as a floating point number: that of a large volume is beyond 32 bits."""
    total = 1.0
    for size in sizes:
        total = total * (tf.cast(size, tf.float32) if tf.is_tensor(size) else float(size))
    return total


def chosen(condition, one, other):
    return tf.where(condition, one, other) if tf.is_tensor(condition) else (one if condition else other)


def rounded(size, scale):
    """The nearest whole number to `size * scale`, half to even."""
    if tf.is_tensor(size):
        return tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32)
    return round(size * scale)


def mirrored(images, before, size):
    """Cuts a piece out of the plane that images fill with their mirror images."""
    for axis, (first, length, own) in enumerate(zip(before, size, sizes_of(images), strict=True), start=1):
        if any(map(tf.is_tensor, (first, length, own))):
            period = larger(2 * (own - 1), 1)
            # Made positive by whole periods.
            position = (tf.range(length) + (period - first % period)) % period
            index = tf.minimum(position, period - position)
            index = tf.minimum(index, own - 1)
        else:
            index = data.windows.mirrored(-first, length, own)
        images = tf.gather(images, index, axis=axis)
    return images


def turned(images, view):
    spatial_dims = len(view.axes)
    if view.turns:
        images = tf.transpose(images, (0, *(1 + axis for axis in view.axes), spatial_dims + 1))
    return flipped(images, view)


def turned_back(images, view):
    spatial_dims = len(view.axes)
    images = flipped(images, view)
    return tf.transpose(images, (0, *(1 + np.argsort(view.axes)), spatial_dims + 1)) if view.turns else images


def flipped(images, view):
    axes = [1 + axis for axis, flip in enumerate(view.flipped) if flip]
    return tf.reverse(images, axes) if axes else images


def resized(images, size):
    """Resizes images linearly, as `tta.resize` does, in whole numbers as far as it goes."""
    for axis, (old, new) in enumerate(zip(sizes_of(images), size, strict=True), start=1):
        place = tf.clip_by_value((2 * tf.range(new) + 1) * old - new, 0, 2 * new * (old - 1))
        first = place // (2 * new)
        share = tf.cast(place % (2 * new), tf.float32) / tf.cast(2 * new, tf.float32)
        share = tf.reshape(share, (-1, *(1,) * (len(images.shape) - axis - 1)))
        second = tf.gather(images, tf.minimum(first + 1, old - 1), axis=axis)
        images = tf.gather(images, first, axis=axis)
        images += share * (second - images)
    return images


def normalized(images, normalization):
    """Raw images as float32, as `data.Normalizer` makes them; each is measured on its own where the kind wants it."""
    kind = normalization["kind"]
    pixels = tf.cast(images, tf.float32)
    if kind == "none":
        largest = {tf.uint8: 255, tf.uint16: 65535}.get(images.dtype, 1)
        return pixels * np.float32(1 / largest)
    if kind == "percentile":
        low, high = measured_percentiles(pixels, (normalization["low"], normalization["high"]))
        span = tf.where(high > low, high - low, tf.ones_like(low))
        return tf.clip_by_value((pixels - low) / span, 0, 1)
    if kind == "image":
        mean = spatial_mean(pixels)
        std = tf.sqrt(spatial_mean((pixels - mean) ** 2))
        return (pixels - mean) / tf.where(std > 0, std, tf.ones_like(std))
    mean, std = (np.array(normalization[name]) for name in ("mean", "std"))
    return (pixels - mean.astype(np.float32)) * (1 / np.where(std > 0, std, 1)).astype(np.float32)


def spatial_mean(images):
    """The mean per image and channel in 32 bits: means of means, as sums that no runtime joins into one."""
    for axis, size in enumerate(sizes_of(images), start=1):
        images = tf.reduce_sum(images, axis, keepdims=True) / tf.cast(size, tf.float32)
    return images


def measured_percentiles(pixels, percents):
    """Percentiles per image and channel, with an axis for each of the image's."""
    channels, spatial_dims = pixels.shape[-1], len(pixels.shape) - 2
    last = 1
    for size in sizes_of(pixels):
        last = last * size
    last = last - 1
    values = tf.transpose(tf.reshape(pixels, (-1, last + 1, channels)), (0, 2, 1))
    values = tf.sort(values, axis=-1)
    found = []
    for percent in percents:
        # In whole numbers: a place among millions of values does not fit 32 bits with its fraction.
        part = Fraction(str(percent)) / 100
        rest = last % part.denominator * part.numerator
        first = last // part.denominator * part.numerator + rest // part.denominator
        share = tf.cast(rest % part.denominator, tf.float32) / part.denominator
        low, high = (tf.gather(values, index, axis=-1) for index in (first, smaller(first + 1, last)))
        found.append(tf.reshape(low + (high - low) * share, (-1, *(1,) * spatial_dims, channels)))
    return found


def activated(logits, task):
    return tf.nn.softmax(logits) if task == "multiclass" else tf.sigmoid(logits)


def decided(logits, task, thresholds):
    """Labels of logits, as `metrics.predicted_labels`."""
    if task == "multiclass":
        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
    thresholds = np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)
    exact = np.log(thresholds / (1 - thresholds))
    least = exact.astype(np.float32)
    # The smallest float32 that is not below it.
    least = np.where(least < exact, np.nextafter(least, np.float32(np.inf)), least)
    return tf.cast(logits >= least, tf.uint8)


def scored(logits, thresholds, task, how, temperature):
    """One member's logits as what is averaged."""
    if how == "votes":
        labels = decided(logits, task, thresholds)
        return tf.one_hot(labels, logits.shape[-1]) if task == "multiclass" else tf.cast(labels, tf.float32)
    logits = logits / np.float32(temperature)
    return logits if how == "logits" else activated(logits, task)


def logits_from(probabilities, task):
    """The logits that give these probabilities."""
    if task == "multiclass":
        return tf.math.log(tf.maximum(probabilities, SMALLEST))
    clipped = tf.clip_by_value(probabilities, SMALLEST, 1 - SMALLEST)
    return tf.math.log(clipped) - tf.math.log(1 - clipped)
