"""Checks on this machine whether a training is right: several devices against one, memory, reading.

Takes the options of train. Where there are not several GPUs, several logical processors take their place: what is
proved is the arithmetic of a step, which is the same. Exit code 1 says that several devices do not equal one.

examples:
  maskzoo doctor --recipe recipes/membrane.yaml --data FOLDER
  maskzoo doctor --model vnet3d --data FOLDER --batch-size 8 --accumulate 4 --memory 16GB
      also whether it would fit a device of 16 GB, and what would
"""

import logging
import sys

from .. import data, training
from . import load_keras, train
from .predict import parse_bytes

# Recipes are found as they are for train.
complete = train.complete
SIGNS = {"ok": "ok", "advice": "!", "wrong": "WRONG"}


def add_arguments(parser):
    train.add_arguments(parser)
    parser.add_argument(
        "--memory", type=str | None, default=None, help="memory of a device, such as 16GB; by default what it has free"
    )


def run(arguments):
    recipe = training.Recipe.of(arguments)
    memory = arguments.memory and parse_bytes(arguments.memory)
    data.read_spec(recipe.data, **recipe.data_options())
    # That the same step is built again and again is what is wanted here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    load_keras("tensorflow")
    # Imported late: it brings Keras, which a wrong option must not wait for.
    from ..training.doctor import examine

    wrong = 0
    for finding in examine(recipe, memory):
        wrong += finding.state == "wrong"
        print(f"{SIGNS[finding.state]:<6} {finding.name:<16} {finding.text}", flush=True)
    if wrong:
        print(f"error: {wrong} of the checks went wrong: several devices do not train as one", file=sys.stderr)
        sys.exit(1)
