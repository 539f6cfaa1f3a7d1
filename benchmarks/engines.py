"""Pixels per second of every engine beside MONAI's sliding window, on one RGB image with one architecture.

    python benchmarks/engines.py --peers /tmp/peers

Ours: `backbone_unet` over ResNet34, in every engine that is installed. Theirs: `SlidingWindowInferer` of MONAI over
`Unet("resnet34")` of segmentation_models.pytorch, channels last. The same tile, overlap and number of threads for both,
from an array in memory to float32 probabilities in memory; then ours once more with the plan that `predict` makes. The
weights are random: they do not change the time. Each measurement is a process of its own; the order goes round, and the
median of the rounds counts.

The peers stay out of this project's environment:

    pip install --target /tmp/peers torch monai segmentation-models-pytorch
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np

OURS = ("keras float32", "saved_model float32", "onnx float32", "openvino float32", "openvino bfloat16")


def image_of(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def starts(length: int, tile: int, step: int) -> list[int]:
    """Where MONAI's windows begin: every step, the last one moved back inside."""
    return sorted({*range(0, max(1, length - tile), step), max(0, length - tile)})


def measure_ours(engine: str, side: int, tile: int, overlap: float, own_halo: int | None) -> tuple[float, str]:
    """Seconds for the image, once everything is compiled."""
    from maskzoo import data, inference, models

    model = models.build_model("backbone_unet", (None, None, 3), 1, encoder="resnet34", encoder_weights=None)
    runner = inference.open_engine(model, *engine.split())
    source = data.open_source(image_of(side), spatial_dims=2)
    read = data.Normalizer("none", 3)(source)
    scores = np.empty((side, side, 1), np.float32)
    if own_halo:
        plan = inference.plan_tiles(model, source.shape, 3, inference.TileOptions(halo=own_halo))
        runner.predict(np.zeros((plan.batch, *plan.input_size, 3), np.float32))
        start = time.perf_counter()
        for window, logits in inference.predict_tiles(runner, read, plan):
            scores[window.slices] = 1 / (1 + np.exp(-logits))
        return time.perf_counter() - start, str(plan)
    # The grid of MONAI, every window of which counts in full: the work alone, to compare the networks.
    offsets = starts(side, tile, round(tile * (1 - overlap)))
    runner.predict(np.zeros((1, tile, tile, 3), np.float32))
    start = time.perf_counter()
    total, count = np.zeros((side, side, 1), np.float32), np.zeros((side, side, 1), np.float32)
    for row in offsets:
        for column in offsets:
            window = data.Window((row, column), (tile, tile))
            total[window.slices] += runner.predict(read(window)[None])[0]
            count[window.slices] += 1
    np.divide(1, 1 + np.exp(-total / count), out=scores)
    return time.perf_counter() - start, f"{len(offsets) ** 2} windows"


def measure_monai(side: int, tile: int, overlap: float, threads: int) -> tuple[float, str]:
    import segmentation_models_pytorch as smp
    import torch
    from monai.inferers import SlidingWindowInferer

    torch.set_num_threads(threads)
    network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=1).eval()
    network = network.to(memory_format=torch.channels_last)
    inferer = SlidingWindowInferer(roi_size=(tile, tile), sw_batch_size=1, overlap=overlap)
    image = image_of(side)
    with torch.inference_mode():
        network(torch.zeros(1, 3, tile, tile).contiguous(memory_format=torch.channels_last))
        start = time.perf_counter()
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float().mul_(1 / 255)
        scores = inferer(pixels.contiguous(memory_format=torch.channels_last), network)
        torch.sigmoid(scores).numpy()
        return time.perf_counter() - start, f"torch {torch.__version__}"


def measured(name: str, arguments: argparse.Namespace) -> tuple[float | None, str]:
    """Runs one measurement in a process of its own: seconds, and a note; no seconds if it failed."""
    command = [sys.executable, __file__, "--measure", name]
    for option in ("side", "tile", "overlap", "threads", "own_halo"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    threads = str(arguments.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    if name == "monai":
        environment["PYTHONPATH"] = arguments.peers
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        print(f"{name}: not measured; {last}", file=sys.stderr)
        return None, last
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="pixels per side of the image")
    parser.add_argument("--tile", type=int, default=512, help="what the networks are given at a time")
    parser.add_argument(
        "--overlap", type=float, default=0.25, help="fraction of a window that overlaps its neighbour's"
    )
    parser.add_argument("--own-halo", type=int, default=384, help="halo of our own plan, as --seam-tolerance finds it")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="/tmp/peers", help="PYTHONPATH that holds torch, monai and smp")
    parser.add_argument("--engines", nargs="+", default=list(OURS), help="which of ours")
    parser.add_argument("--skip-own-plan", action="store_true", help="measure only MONAI's windows")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        if arguments.measure == "monai":
            found = measure_monai(arguments.side, arguments.tile, arguments.overlap, arguments.threads)
        else:
            name, _, own = arguments.measure.partition(", ")
            own = arguments.own_halo if own else None
            found = measure_ours(name, arguments.side, arguments.tile, arguments.overlap, own)
        print(json.dumps(found))
        return
    names = ["monai", *arguments.engines]
    if not arguments.skip_own_plan:
        names += [f"{name}, own plan" for name in arguments.engines]
    seconds, notes = {name: [] for name in names}, {}
    for number in range(arguments.rounds):
        for name in names[number:] + names[:number]:
            if name in notes and not seconds[name]:
                continue  # it failed before
            took, notes[name] = measured(name, arguments)
            if took is not None:
                seconds[name].append(took)
                print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
    print(f"machine   {platform.machine()}, {arguments.threads} threads, load {os.getloadavg()[0]:.1f} at the end")
    print(f"versions  {', '.join(f'{p} {version(p)}' for p in ('tensorflow', 'onnxruntime', 'openvino', 'maskzoo'))}")
    side = arguments.side
    print(f"image     {side} x {side} RGB; windows of {arguments.tile}, overlap {arguments.overlap}")
    peer = statistics.median(seconds["monai"]) if seconds["monai"] else None
    for name in names:
        if seconds[name]:
            took = statistics.median(seconds[name])
            ratio = f"{peer / took:5.2f} x MONAI" if peer else ""
            spread = f"{min(seconds[name]):.1f} to {max(seconds[name]):.1f} s"
            print(f"{name:32} {side**2 / took / 1e6:6.3f} megapixels/s  {ratio}  ({spread}; {notes[name]})")


if __name__ == "__main__":
    main()
