"""Synthetic slides of any size: tissue with round bodies to find, drawn window by window from one description."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..windows import Window

GLASS = np.array([243, 241, 244], np.float32)
TISSUE = np.array([214, 142, 182], np.float32)
DARK = np.array([112, 62, 138], np.float32)
# Bodies per pixel, their radii, and how many waves their outlines have.
DENSITY = 3e-6
RADII = (40, 90)
WAVES = np.arange(2, 6)


class SyntheticSlide:
    """A slide whose windows meet without a seam, however they are cut.

    Bodies are as bright as the tissue around them and differ from it by their finer texture; lighter rings without a
    body inside must be left out.

    Args:
        size: Pixels per axis.
        seed: Numbers that identify the slide; the same numbers make the same slide.
    """

    def __init__(self, size: int, seed: Sequence[int]) -> None:
        rng = np.random.default_rng(seed)
        self._size = size
        self._salt = int(rng.integers(1 << 31))
        count = max(8, round(DENSITY * size**2))
        radii = np.minimum(rng.uniform(*RADII, count), size / 6)
        # Around the centre, where there is tissue.
        angle, distance = rng.uniform(0, 2 * np.pi, count), 0.3 * np.sqrt(rng.uniform(0, 1, count))
        self._centres = (0.5 + distance[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)) * size
        self._radii = radii
        self._heights = rng.uniform(0, 0.06, (count, len(WAVES)))
        self._phases = rng.uniform(0, 2 * np.pi, (count, len(WAVES)))
        # The first three quarters are bodies, the others empty rings.
        self._bodies = max(1, 3 * count // 4)

    def image(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window, `uint8` `(*size, 3)`."""
        inwards = self._inwards(window, 0, self._bodies)
        rings = self._inwards(window, self._bodies, len(self._radii))
        coarse, middle = (self._noise(window, cell, layer) for layer, cell in enumerate((380, 41)))
        fine, finest = (self._noise(window, cell, layer) for layer, cell in enumerate((9, 5), 2))
        inside = np.clip(inwards / 3 + 0.5, 0, 1)
        edge = np.clip(self._border(window) + 0.5 * coarse + 0.12 * middle, 0, 1)
        rim = np.maximum(ring(inwards), ring(rings))
        # The fraction of dark stain: larger grains outside, finer ones inside of bodies.
        stain = 0.22 + 0.16 * coarse + (1 - inside) * (0.1 * middle + 0.22 * fine) + inside * 0.34 * finest
        stain = np.clip(stain, 0, 1) * (1 - 0.85 * rim)
        cover = np.minimum(1, 4 * edge)
        grain = 7 * self._noise(window, 1, 4)
        out = np.empty((*window.size, 3), np.uint8)
        for channel, (glass, tissue, dark) in enumerate(zip(GLASS, TISSUE, DARK, strict=True)):
            color = tissue - glass + stain * (dark - tissue) + rim * (0.6 * (glass - tissue))
            out[..., channel] = np.clip(glass + cover * color + grain, 0, 255)
        return out

    def mask(self, window: Window) -> np.ndarray:
        """Returns the bodies of a window, `uint8` `(*size, 1)`."""
        return (self._inwards(window, 0, self._bodies) > 0).astype(np.uint8)[..., None]

    def _inwards(self, window: Window, first: int, last: int) -> np.ndarray:
        """Returns how far each pixel of a window lies inside the nearest of some bodies, `(*size,)`, at least -20."""
        out = np.full(window.size, -20, np.float32)
        reach = self._radii[first:last, None] * (1 + self._heights[first:last].sum(axis=1, keepdims=True)) + 20
        low, high = self._centres[first:last] - reach, self._centres[first:last] + reach
        for number in np.flatnonzero(((low < window.stop) & (high > window.offset)).all(axis=1)):
            start = np.maximum(np.floor(low[number]).astype(int), window.offset)
            stop = np.minimum(np.ceil(high[number]).astype(int), window.stop)
            if (stop <= start).any():
                continue
            box = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, window.offset, strict=True))
            middle = self._centres[first + number]
            rows = np.arange(start[0], stop[0])[:, None] - middle[0]
            columns = np.arange(start[1], stop[1]) - middle[1]
            out[box] = np.maximum(out[box], self._depth(rows, columns, first + int(number)))
        return out

    def _depth(self, rows: np.ndarray, columns: np.ndarray, number: int) -> np.ndarray:
        """Returns how far pixels lie inside a body, by their distances `(height, 1)` and `(width,)` from its centre."""
        angle = np.arctan2(rows, columns).astype(np.float32)
        waves = np.zeros(angle.shape)
        for wave, height, phase in zip(WAVES, self._heights[number], self._phases[number], strict=True):
            waves += height * np.cos(wave * angle + phase)
        return (self._radii[number] * (1 + waves) - np.hypot(rows, columns)).astype(np.float32)

    def _border(self, window: Window) -> np.ndarray:
        """Returns how far inside the tissue pixels lie, `(*size,)`, as a fraction of half the slide."""
        half = self._size / 2
        rows, columns = np.ogrid[tuple(slice(a, b) for a, b in zip(window.offset, window.stop, strict=True))]
        return (0.92 - np.hypot((rows - half) / half, (columns - half) / half)).astype(np.float32) * 2

    def _noise(self, window: Window, cell: int, layer: int) -> np.ndarray:
        """Returns smooth noise `(*size,)` between -1 and 1 whose waves are about two cells long."""
        if cell == 1:
            rows, columns = (np.arange(a, b) for a, b in zip(window.offset, window.stop, strict=True))
            return scattered(rows, columns, self._salt + layer)
        places = [np.arange(a, b) / cell for a, b in zip(window.offset, window.stop, strict=True)]
        knots = [np.floor(place).astype(np.int64) for place in places]
        rows, columns = (np.arange(knot[0], knot[-1] + 3) for knot in knots)
        value = scattered(rows, columns, self._salt + layer)
        for axis, (place, knot) in enumerate(zip(places, knots, strict=True)):
            rest = (place - knot).astype(np.float32)
            # Quadratic splines: their waves are round, whereas straight lines between knots show squares.
            weights = 0.5 * (1 - rest) ** 2, 0.75 - (rest - 0.5) ** 2, 0.5 * rest**2
            parts = [np.take(value, knot - knot[0] + step, axis) for step in range(3)]
            first, second, third = (p * (w[:, None] if axis == 0 else w) for p, w in zip(parts, weights, strict=True))
            value = first + second + third
        return 1.8 * value


def ring(inwards: np.ndarray) -> np.ndarray:
    """Returns 1 on an outline, falling to 0 a few pixels from it."""
    return np.clip(1 - np.abs(inwards + 4) / 5, 0, 1)


def scattered(rows: np.ndarray, columns: np.ndarray, salt: int) -> np.ndarray:
    """Returns a number between -1 and 1 for every place of a grid, `(rows, columns)`, always the same for a place."""
    value = rows.astype(np.uint32)[:, None] * np.uint32(0x9E3779B1) ^ columns.astype(np.uint32) * np.uint32(0x85EBCA77)
    value ^= np.uint32(salt * 0xC2B2AE3D & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        value ^= value >> np.uint32(shift)
        value *= np.uint32(factor)
    value ^= value >> np.uint32(16)
    return (value.astype(np.float32) / np.float32(2**31) - 1).astype(np.float32)
