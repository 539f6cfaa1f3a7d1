"""How far tiled prediction is from whole prediction, and what a halo that is one stride too small does.

    python benchmarks/seams.py MODEL IMAGE --tiles 256 384 512 [--crop 900 900] [--pad 96 96 96]

Builds a registered model with random weights that let far pixels matter, predicts the image in one tile and then in
tiles of each size, and prints the largest difference of the logits beside their range. The whole image has the same
mirrored halo as the tiles. At the end the same with the halo cut by one stride.

A model that sees the whole image has no such comparison. Its tiles are put together without overlap, and blended by
cosines and by Gaussians. Printed is how much probabilities jump at the borders of tiles: the mean difference of the two
pixels beside a border, divided by that of neighbouring pixels elsewhere. 1 means no seam.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np

from maskzoo import data, inference, metrics, models
from maskzoo.models import analysis


def randomised(model: keras.Model) -> keras.Model:
    """Gives a model He-normal kernels and statistics other than the initial ones, so that no path is dead."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "gamma" in weight.path or "moving_variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif "kernel" in weight.path:
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
        elif "seed" not in weight.path:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


def predict(model: keras.Model, source: data.Source, plan: inference.TilePlan) -> np.ndarray:
    logits = np.empty((*plan.shape, model.outputs[0].shape[-1]), np.float32)
    for window, tile in inference.predict_tiles(model, source.read, plan):
        logits[window.slices] = tile
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("--tiles", type=int, nargs="+", required=True)
    parser.add_argument("--crop", type=int, nargs="+", help="take only the middle of the image, of this size")
    parser.add_argument("--pad", type=int, nargs="+", help="mirror the image to this size first")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    with data.open_source(arguments.image) as file:
        size = arguments.crop or arguments.pad or file.shape
        offset = tuple((n - s) // 2 for n, s in zip(file.shape, size, strict=True))
        pixels = file.read(data.Window(offset, tuple(size))).astype(np.float32)
    source = data.open_source((pixels - pixels.mean()) / pixels.std(), spatial_dims=len(size))
    model = models.build_model(arguments.model, (*(None,) * len(size), source.channels), 2)
    randomised(model)
    title = f"{arguments.model} on {' x '.join(map(str, size))} of {arguments.image}"
    if analysis.geometry(model).is_global:
        print(f"{title}: jump at the borders of tiles, relative to the rest")
        for tile in arguments.tiles:
            print(f"tile {tile}: {', '.join(jumps(model, source, tile))}")
        return
    whole_plan = plan_of(model, source, tile=max(size))
    whole = predict(model, source, whole_plan)
    print(f"{title}: logits range over {np.ptp(whole):.3g}")
    for tile in arguments.tiles:
        plan = plan_of(model, source, tile=tile)
        difference = np.abs(predict(model, source, plan) - whole).max()
        print(f"tile {tile}: {plan.tiles} tiles, halo {plan.halo[0]}: largest difference {difference:.2e}", flush=True)
    if not any(analysis.geometry(model).crop):
        stride = analysis.geometry(model).stride
        cut = replace(
            plan,
            halo=tuple((before - s, after - s) for (before, after), s in zip(plan.halo, stride, strict=True)),
            crop=tuple(c - s for c, s in zip(plan.crop, stride, strict=True)),
        )
        difference = np.abs(predict(model, source, cut) - whole).max()
        print(f"tile {tile} with the halo cut by {stride[0]}: largest difference {difference:.2e}")


def plan_of(model: keras.Model, source: data.Source, tile: int, blend: str = "cosine") -> inference.TilePlan:
    """The exact plan of tiles, in as much memory as it takes."""
    return inference.plan_tiles(
        model, source.shape, source.channels, inference.TileOptions(memory=10**12, tile=tile, blend=blend)
    )


def jumps(model: keras.Model, source: data.Source, tile: int) -> Iterator[str]:
    """Yields the jump at the borders without overlap, and in the middle of the overlaps of blended tiles."""
    for blend in ("cosine", "gaussian"):
        plan = plan_of(model, source, tile=tile, blend=blend)
        if blend == "cosine":
            nothing = (0,) * len(plan.shape)
            abrupt = replace(plan, tile=plan.input_size, overlap=nothing, halo=((0, 0),) * len(plan.shape))
            yield f"without overlap {jump(predict(model, source, abrupt), abrupt.tile, nothing):.2f}"
        middle = [o // 2 for o in plan.overlap]
        yield f"{blend} over {plan.overlap[0]} {jump(predict(model, source, plan), plan.tile, middle):.2f}"


def jump(logits: np.ndarray, step: Sequence[int], shift: Sequence[int]) -> float:
    """The mean step of the probabilities from pixel to pixel at borders of tiles, relative to that elsewhere."""
    scores = metrics.probabilities(logits, "multiclass")
    at, elsewhere = [], []
    for axis, (size, before) in enumerate(zip(step, shift, strict=True)):
        steps = np.abs(np.diff(scores, axis=axis))
        places = np.arange(size, logits.shape[axis], size) - before - 1
        at.append(np.take(steps, places, axis).ravel())
        elsewhere.append(np.delete(steps, places, axis).ravel())
    return float(np.concatenate(at).mean() / np.concatenate(elsewhere).mean())


if __name__ == "__main__":
    main()
