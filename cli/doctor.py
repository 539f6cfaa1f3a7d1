"""Checks training on this machine: whether several devices equal one, memory, reading speed.

Takes the options of train. Without several GPUs, several logical CPU devices take their place: what is checked is the
arithmetic of a training step, which is the same. The exit code is 1 if several devices do not equal one.

examples:
  maskzoo doctor --recipe recipes/membrane.yaml --data FOLDER
  maskzoo doctor --model vnet3d --data FOLDER --batch-size 8 --accumulate 4 --memory 16GB
      also whether it fits a device of 16 GB, and if not, what does
"""

import logging
import sys
from argparse import Namespace

from maskzoo.names import counted

from .. import data, training
from . import train
from .backend import load_keras
from .console import fail
from .parser import Parser
from .sizes import parse_bytes

logger = logging.getLogger(__name__)

SIGNS = {"ok": "ok", "advice": "!", "wrong": "WRONG"}


def add_arguments(parser: Parser) -> None:
    """Adds the options of `doctor`: those of `train`, and the memory of a device."""
    train.add_arguments(parser)
    parser.add_argument(
        "--memory", type=str | None, default=None, help="memory of a device, such as 16GB; by default what is free"
    )


def run(arguments: Namespace) -> None:
    """Runs `doctor`."""
    recipe = training.Recipe.of(arguments)
    memory = arguments.memory and parse_bytes(arguments.memory)
    data.read_spec(recipe.data, recipe.data_options())
    # TensorFlow warns that the same step is built again and again, which is intended here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    load_keras("tensorflow")
    # Imported late: it brings Keras, which a wrong option must not wait for.
    from ..training.doctor import examine

    wrong = 0
    for result in examine(recipe, memory):
        wrong += result.status == "wrong"
        logger.info("%-6s %-16s %s", SIGNS[result.status], result.name, result.message)
    if wrong:
        sys.exit(fail(f"{counted(wrong, 'check')} failed: several devices do not train as one", code=1))
