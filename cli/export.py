"""Writes a trained run as a TensorFlow SavedModel with free spatial sizes, checked against the Keras model.

example:
  maskzoo export runs/membrane membrane-savedmodel

The SavedModel's `serve` takes normalised images (batch, *spatial, channels) and returns logits.
"""

from pathlib import Path

from maskzoo import inference

from . import load_keras


def add_arguments(parser):
    parser.add_argument("run", type=str, help="run folder that train wrote")
    parser.add_argument("output", type=str, help="folder to write; it must not exist yet")


def run(arguments):
    folder, output = inference.check_run(arguments.run), Path(arguments.output)
    if output.exists():
        raise FileExistsError(f"output: expected a folder that does not exist yet; received {output}")
    load_keras()
    for size, difference in inference.export_saved_model(inference.load_run(folder), output):
        print(f"{' x '.join(map(str, size))}: largest difference from the Keras model {difference:.1e}")
    print(f"wrote {output}")
