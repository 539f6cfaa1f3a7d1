"""One spatial axis of a tensor, seen from the same axis of the model's input: sizes, positions, and what they see."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

# Stands for "no input element at all" as the lower end of an interval, and negated as the upper end.
NOWHERE = 2**40


@dataclass(frozen=True, eq=False)
class AxisGeometry:
    """One spatial axis of a tensor, seen from the same axis of the model's input: its track through the graph.

    Element `period * k + p` of the tensor depends on the input elements `step * k + low[0, p]` to `step * k +
    high[0, p]`. The second rows of `low` and `high` widen that interval until the element also exists in the tensor of
    an input that ends there: a tensor that was cropped and is padded later has zeros where a larger input has values.

    Attributes:
        input_sizes: The input sizes that are tried at once, an array.
        size: The tensor's size for each of them; NaN if it cannot be known.
        fits: Whether the graph up to this tensor can take that input size.
        period: See above.
        step: See above; 0 for a tensor whose elements do not follow the input's, such as a pooled vector.
        low: See above; shape `(2, period)`.
        high: See above; shape `(2, period)`.
        origin: Where the tensor's first element begins, in input elements.
    """

    input_sizes: np.ndarray
    size: np.ndarray
    fits: np.ndarray
    period: int
    step: int
    low: np.ndarray
    high: np.ndarray
    origin: Fraction

    @classmethod
    def of_input(cls, sizes: ArrayLike) -> Self:
        """Returns the geometry of the input itself, for an array of sizes to try."""
        tried = np.asarray(sizes, float)
        return cls(tried, tried, tried > 0, 1, 1, np.zeros((2, 1), int), np.zeros((2, 1), int), Fraction(0))

    def detached(self, size: float) -> Self:
        """Returns a geometry of constant size (NaN: of unknown size) that does not follow the input's elements."""
        nowhere = np.full((2, 1), NOWHERE)
        sizes = np.full(len(self.input_sizes), size, float)
        return replace(self, size=sizes, period=1, step=0, low=nowhere, high=-nowhere, origin=Fraction(0))

    def gather(self, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "valid") -> Self:
        """Slides a window: convolution and pooling. `padding` is `"valid"` or `"same"`."""
        reach = (kernel - 1) * dilation + 1
        before, shift = 0, Fraction(reach - stride, 2)
        if padding == "same":
            size = -(-self.size // stride)
            total = (size[-1] - 1) * stride + reach - self.size[-1]
            before, shift = int(max(reach - stride if math.isnan(total) else total, 0)) // 2, 0
        else:
            size = (self.size - reach) // stride + 1
        period = math.lcm(self.period, stride) // stride
        index = stride * np.arange(period)[:, None] - before + dilation * np.arange(kernel)
        return self._moved(size, period, self.spacing * stride, index, True, shift * self.spacing)

    def scatter(
        self,
        kernel: int,
        stride: int,
        dilation: int = 1,
        padding: str = "valid",
        output_padding: int | None = None,
    ) -> Self:
        """Spreads each element over a window: transposed convolution, by the size rules of Keras."""
        reach = (kernel - 1) * dilation + 1
        excess = reach - stride if output_padding is None else 2 * (reach // 2) - output_padding
        if padding == "same":
            before, shift = max(excess, 0) // 2, 0
            size = self.size * stride if output_padding is None else (self.size - 1) * stride + reach - excess
        else:
            before, shift = 0, Fraction(stride - reach, 2)
            extra = max(stride - reach, 0) if output_padding is None else output_padding
            size = (self.size - 1) * stride + reach + extra
        return self._spread(size, kernel, stride, dilation, before, shift)

    def enlarge(self, factor: int, taps: int = 1) -> Self:
        """Interpolates between `taps` elements: 1 nearest, 2 linear, 4 cubic; half-pixel centres."""
        if factor == 1:
            return self
        # An odd factor has one position that falls on an element's centre and reads one tap less.
        kernel = factor if taps == 1 else taps * factor - factor % 2
        return self._spread(self.size * factor, kernel, factor, 1, (kernel - factor) // 2, 0)

    def pad(self, before: int, after: int | np.ndarray) -> Self:
        """Adds elements at both ends; negative numbers crop. `after` may be an array, one for each of `input_sizes`."""
        index = np.arange(self.period)[:, None] - before
        shift = -before * self.spacing
        return self._moved(self.size + before + after, self.period, self.spacing, index, True, shift)

    @staticmethod
    def united(tracks: Sequence["AxisGeometry"]) -> "AxisGeometry":
        """Returns the geometry of a tensor made element by element from several, of equal size or of size 1."""
        moving = [track for track in tracks if track.step]
        if len(tracks) == 1:
            return tracks[0]
        if not moving:
            return replace(tracks[0], size=np.fmax.reduce([track.size for track in tracks]))
        size = moving[0].size
        for track in moving[1:]:
            size = np.where(np.isnan(size), track.size, size)
        fits = np.logical_and.reduce([track.fits for track in tracks])
        for track in tracks:
            same = np.isnan(track.size) | np.isnan(size) | (track.size == size)
            fits = fits & (same | (track.size == 1) if not track.step else same)
        if len({track.spacing for track in moving}) > 1:
            fits = np.zeros_like(fits)
            moving = moving[:1]
        period = math.lcm(*(track.period for track in moving))
        lows, highs = zip(*(track._repeated(period) for track in moving), strict=True)
        step = moving[0].step * period // moving[0].period
        low, high = np.minimum.reduce(lows), np.maximum.reduce(highs)
        return replace(moving[0], size=size, fits=fits, period=period, step=step, low=low, high=high)

    @property
    def spacing(self) -> Fraction:
        """Distance of neighbouring elements, in input elements."""
        return Fraction(self.step, self.period)

    def _repeated(self, period: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `low` and `high` written out over a multiple of the period."""
        shifts = self.step * np.arange(period // self.period)[:, None]
        low, high = ((ends[:, None, :] + shifts).reshape(2, period) for ends in (self.low, self.high))
        return low, high

    def _spread(
        self, size: np.ndarray, kernel: int, stride: int, dilation: int, before: int, shift: Fraction | int
    ) -> Self:
        period, spacing = self.period * stride, self.spacing / stride
        reached = np.arange(period)[:, None] + before - dilation * np.arange(kernel)
        return self._moved(size, period, spacing, reached // stride, reached % stride == 0, shift * spacing)

    def _moved(
        self,
        size: np.ndarray,
        period: int,
        spacing: Fraction,
        index: np.ndarray,
        used: np.ndarray | bool,
        shift: Fraction | int,
    ) -> Self:
        """Returns the geometry whose element `p` reads the elements `index[p]` of this one where `used`."""
        fits = self.fits & ~(size < 1)
        if not self.step:
            return replace(self, size=size, fits=fits)
        step = int(period * spacing)
        block, phase = np.divmod(index, self.period)
        low = np.where(used, self.step * block + self.low[:, phase], NOWHERE).min(-1)
        high = np.where(used, self.step * block + self.high[:, phase], -NOWHERE).max(-1)
        if not math.isnan(size[-1]):
            position = np.arange(period)
            low[1] = np.minimum(low[1], position * step // period)
            end = (position - int(size[-1])) * step // period + int(self.input_sizes[-1])
            high[1] = np.maximum(high[1], end)
        return replace(
            self, size=size, fits=fits, period=period, step=step, low=low, high=high, origin=self.origin + shift
        )
