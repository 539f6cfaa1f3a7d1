"""Writes a synthetic data set to disk in the format of a real one, with the `spec.yaml` that train reads.

  nuclei    RGB PNG with masks                    organs    RGB PNG, a folder of masks per class, which overlap
  kidney    large tiled RGB TIFF, run-length CSV  clouds    RGB PNG, run-length CSV with image_Class
  xray      grey PNG, relative run-length CSV     volumes   NIfTI with class ids
  tumour    NIfTI of few slices, masks

examples:
  maskzoo synth nuclei OUT
  maskzoo synth kidney OUT --size 20000
      slides of 400 million pixels each, made block by block in the memory that a small slide takes
"""

import logging
import shlex
from argparse import Namespace

from maskzoo.errors import OptionError

from .. import data
from .parser import Parser

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `synth`."""
    parser.add_argument("kind", type=str, help="nuclei, kidney, xray, organs, clouds, volumes or tumour")
    parser.add_argument("output", type=str, help="folder to create")
    parser.add_argument("--count", type=int | None, default=None, help="number of images, at least 2")
    parser.add_argument("--size", type=int | None, default=None, help="pixels per axis, at least 32")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same images")


def run(arguments: Namespace) -> None:
    """Runs `synth`."""
    if arguments.seed < 0:
        raise OptionError("seed", "at least 0", arguments.seed)
    spec = data.write_synthetic(
        arguments.kind, arguments.output, count=arguments.count, size=arguments.size, seed=arguments.seed
    )
    model = "vnet3d" if arguments.kind in ("volumes", "tumour") else "unet_padded"
    logger.info("wrote %s", spec.parent)
    logger.info("try: python train.py --model %s --data %s", model, shlex.quote(str(spec)))
