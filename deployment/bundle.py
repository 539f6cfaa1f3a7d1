"""Trained runs as one graph, from raw pixels to the final mask, written only if it answers as `predict` does.

Inside are normalisation, mirrored borders, test-time augmentation, the ensemble, activation and thresholds. An image
goes through in one piece.
"""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from .. import data, metrics
from ..inference.engines import check_backend, needed, to_onnx
from ..inference.predict_image import plan_image, reader, scorer
from ..inference.results import Result
from ..inference.tile_plan import predict_tiles
from ..models import analysis
from .graph import Bundle

FORMATS = ("saved_model", "onnx", "openvino", "litert")
DTYPES = ("uint8", "uint16", "int16", "float32")
# Largest difference of probabilities; labels may differ only where both are this close to a decision.
TOLERANCE = 1e-4
# Spatial sizes on which a bundle is compared with `predict`.
COMPARED_SIZES = {2: ((64, 64), (131, 97), (200, 256)), 3: ((16, 16, 16), (21, 32, 17), (32, 24, 40))}
REPORT = "parity.json"
MODEL_FILE = {"onnx": "model.onnx", "openvino": "model.xml", "litert": "model.tflite"}
# What `predict` reads of the images that it measures is its memory's business, ours is one piece.
COMPARING_MEMORY = 1 << 40


def export_bundle(run, output, *, format="saved_model", dtype=None, size=None, tolerance=TOLERANCE):
    """Writes a folder with a model from raw images of any size to their masks, and the report of its comparison.

    Args:
        run: A `Run`, or an `Ensemble`.
        output: Folder to write; it must not exist. It appears under its name only after the comparison held.
        format: One of `FORMATS`.
        dtype: Type of the raw pixels, one of `DTYPES`; `None` for that of the run's validation images.
        size: Spatial sizes of the images, for `litert`, which takes one size only; `None` for the run's patch.
        tolerance: Largest difference of probabilities that is let pass.

    Returns:
        The report, a dict: see `compare`.

    Raises:
        FileExistsError: If the output is there already.
        ValueError: If something in the run has no form in a graph, the bundle does not answer as `predict` does, or the
            backend of Keras is another than TensorFlow.
    """
    check_backend("export")
    output = Path(output)
    if format not in FORMATS:
        raise ValueError(f"--format: expected one of {', '.join(FORMATS)}; received {format!r}")
    if output.exists():
        raise FileExistsError(f"output: expected a folder that does not exist yet; received {output}")
    origin, images = parity_images(run, dtype, (size or run.data.patch) if format == "litert" else None)
    dtype = dtype or images[0].dtype.name
    if dtype not in DTYPES:
        raise ValueError(f"--dtype: expected one of {', '.join(DTYPES)}; received {dtype}")
    bundle = Bundle(run, dtype, images[0].shape[:-1] if format == "litert" else None)
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        WRITERS[format](bundle, unfinished)
        report = {"format": format, "dtype": dtype, "images": origin, "tolerance": tolerance}
        report["sizes"] = compare(run, CALLERS[format](unfinished), images, tolerance)
        (unfinished / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def write_saved_model(bundle, folder):
    tf.saved_model.save(
        bundle, str(folder), signatures={"serving_default": bundle.segment, "probabilities": bundle.score}
    )


def write_onnx(bundle, folder):
    folder.mkdir()
    to_onnx(bundle.both, folder / MODEL_FILE["onnx"])


def write_openvino(bundle, folder):
    ov = needed("openvino")
    write_onnx(bundle, folder)
    source = folder / MODEL_FILE["onnx"]
    ov.save_model(ov.convert_model(str(source)), str(folder / MODEL_FILE["openvino"]), compress_to_fp16=False)
    source.unlink()


def write_litert(bundle, folder):
    # Without the object that holds the variables they become constants; LiteRT would look for them in vain.
    content = tf.lite.TFLiteConverter.from_concrete_functions([bundle.both.get_concrete_function()]).convert()
    folder.mkdir()
    (folder / MODEL_FILE["litert"]).write_bytes(content)


def call_saved_model(folder):
    loaded = tf.saved_model.load(str(folder))

    def call(images):
        images = tf.constant(images)
        mask = loaded.signatures["serving_default"](images=images)["mask"]
        return mask.numpy(), loaded.signatures["probabilities"](images=images)["probabilities"].numpy()

    return call


def call_onnx(folder):
    session = needed("onnxruntime").InferenceSession(
        str(folder / MODEL_FILE["onnx"]), providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["mask", "probabilities"], {"images": images})


def call_openvino(folder):
    core = needed("openvino").Core()
    compiled = core.compile_model(folder / MODEL_FILE["openvino"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call(images):
        answer = compiled({"images": images})
        return answer["mask"], answer["probabilities"]

    return call


def call_litert(folder):
    with warnings.catch_warnings():
        # The interpreter will move to a package of its own.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(folder / MODEL_FILE["litert"]))
    interpreter.allocate_tensors()
    (given,), answers = interpreter.get_input_details(), interpreter.get_output_details()
    # The mask is the output of whole numbers.
    answers = sorted(answers, key=lambda answer: answer["dtype"] != np.uint8)

    def call(images):
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return [interpreter.get_tensor(answer["index"]) for answer in answers]

    return call


WRITERS = {"saved_model": write_saved_model, "onnx": write_onnx, "openvino": write_openvino, "litert": write_litert}
CALLERS = {"saved_model": call_saved_model, "onnx": call_onnx, "openvino": call_openvino, "litert": call_litert}


def parity_images(run, dtype, size):
    """Pixels to compare on: windows of the images that the run held out; noise where those cannot be read.

    Args:
        run: A `Run`, or an `Ensemble`.
        dtype: The type they are to have, `None` for their own.
        size: Their spatial sizes, `None` for several.

    Returns:
        What they are, and a list of arrays `(*size, channels)`.
    """
    first = getattr(run, "runs", [run])[0]
    sizes = COMPARED_SIZES[run.data.spatial_dims] if size is None else (tuple(size),)
    rng = np.random.default_rng(0)
    try:
        cases = data.labelled_cases(first.data.as_mapping())
        images = []
        for index, size in enumerate(sizes):
            image = cases[index % len(cases)].image
            offset = [int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(image.shape, size, strict=True)]
            images.append(image.read(data.Window(offset, size)))
        origin = "windows of the run's validation images"
    except (OSError, ValueError, KeyError, IndexError):
        images = [rng.integers(0, 256, (*size, run.data.channels)).astype(dtype or "uint8") for size in sizes]
        origin = "noise: the run's validation images cannot be read"
    if dtype is not None:
        images = [image.astype(dtype) for image in images]
    return origin, images


def compare(run, call, images, tolerance):
    """Compares a bundle with `predict`, which is told to see each image in one piece.

    Args:
        run: A `Run`, or an `Ensemble`.
        call: Function from raw images `(batch, *size, channels)` to masks and probabilities.
        images: List of arrays `(*size, channels)`.
        tolerance: Largest difference of probabilities.

    Returns:
        A dict per image: its `size`, `pixels`, the `largest_difference` of probabilities, and `different_pixels` of the
        mask, which are those on which a decision hangs on rounding.

    Raises:
        ValueError: If probabilities differ by more than the tolerance, or masks beyond rounding.
    """
    report = []
    for image in images:
        source = data.open_source(image, spatial_dims=image.ndim - 1)
        expected_mask, expected = predicted_whole(run, source)
        mask, received = (np.asarray(answer)[0] for answer in call(image[None]))
        size = " x ".join(map(str, source.shape))
        if mask.shape != expected_mask.shape or received.shape != expected.shape or mask.dtype != np.uint8:
            raise ValueError(
                f"export: expected a mask of {expected_mask.shape} at {size}; received {mask.shape} {mask.dtype}"
            )
        difference = float(np.abs(received - expected).max())
        if not difference <= tolerance:
            raise ValueError(
                f"export: expected probabilities within {tolerance:.0e} of those of predict at {size}; received a "
                f"difference of {difference:.1e}"
            )
        different = mask != expected_mask
        if (different & ~hanging(expected, run, tolerance)).any():
            raise ValueError(
                f"export: expected the mask of predict at {size}; received one that differs in {different.sum()} pixels"
            )
        report.append(
            {
                "size": list(source.shape),
                "pixels": int(different.size),
                "different_pixels": int(different.sum()),
                "largest_difference": difference,
            }
        )
    return report


def predicted_whole(run, source):
    """The mask and the probabilities that `predict` gives an image that it takes as one exact tile."""
    one_piece = any(analysis.geometry(one.model).is_global for one in getattr(run, "runs", [run]))
    options = {"tile": max(source.shape)} if one_piece else {}
    plan = plan_image(run, source, memory=COMPARING_MEMORY, **options)
    classes = len(run.data.class_names)
    logits = np.empty((*source.shape, classes), np.float32)
    for window, part in predict_tiles(scorer(run, plan), reader(run, source), plan):
        logits[window.slices] = part
    task, names = run.data.task, run.data.class_names
    mask = Result(task, names, run.thresholds).values(logits)
    return mask if task == "multilabel" else mask[..., 0], metrics.probabilities(logits, task)


def hanging(probabilities, run, tolerance):
    """Where a label may turn over within the tolerance."""
    if run.data.task == "multiclass":
        two = np.sort(probabilities, axis=-1)[..., -2:]
        return two[..., 1] - two[..., 0] <= 2 * tolerance
    near = np.abs(probabilities - np.array(run.thresholds)) <= tolerance
    return near[..., 0] if run.data.task == "binary" else near
