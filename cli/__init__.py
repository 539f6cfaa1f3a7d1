"""The command line: `maskzoo VERB`, `python -m maskzoo VERB`; in a checkout also `train.py` and `predict.py`."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from maskzoo import __version__
from maskzoo.errors import MaskzooError, OptionError
from maskzoo.names import one_of

from .console import error_text, fail, logging_to_terminal

__all__ = ["main"]

VERBS = {
    "train": "train a model on a folder of images and masks, or on synthetic images",
    "predict": "segment images of any size with a trained run",
    "evaluate": "score a trained run on labelled images: overlap, distances, objects, calibration",
    "decide": "search thresholds, minimum areas and ensemble weights on held-out images",
    "explain": "show which level of a trained run answers to which class, as a table and as heat maps",
    "compare": "compare architectures: parameters, multiply-adds, receptive field, memory, speed",
    "export": "write trained runs as one model for deployment, checked against predict",
    "runs": "list and compare runs: what was trained, how far each got, its Dice",
    "pseudo": "label images with trained runs where they are confident, as a data set to train on",
    "doctor": "check training on this machine: several devices equal one, memory, reading speed",
    "inspect": "look at a data set: sizes, label values, class frequencies, suspicious pairs, a picture",
    "folds": "split the images of a data set into folds, shared by every run and tool",
    "synth": "write a synthetic data set in the format of a real one",
}


def main(verb: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits: 0 on success, 2 with one line on stderr after an error, 130 after Ctrl-C.

    Args:
        verb: One of `VERBS`, or `None` to take it from the command line.
        arguments: Command-line arguments after the program's name (and verb); `sys.argv` by default.
    """
    # TensorFlow logs harmless things as errors, such as an operation without a faster form; real errors are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    words = sys.argv[1:] if arguments is None else list(arguments)
    program = Path(sys.argv[0]).name if verb else f"maskzoo {words[0] if words else ''}"
    if verb is None:
        if not words or words[0] in ("-h", "--help"):
            print_overview()
            return
        if words[0] == "--version":
            print(f"maskzoo {__version__}")
            return
        verb = words.pop(0)
    if code := run_verb(verb, program, words):
        sys.exit(code)


def run_verb(verb: str, program: str, arguments: list[str]) -> int:
    """Runs a verb and returns the exit code."""
    flags: dict[str, str] = {}
    try:
        if verb not in VERBS:
            raise OptionError("unknown verb", one_of(verb, VERBS), repr(verb))
        # Imported late: the overview and a misspelt verb must not wait for the parser.
        from .parser import Parser

        module = import_module(f"{__name__}.{verb}")
        parser = Parser(program=program, description=module.__doc__ or "")
        module.add_arguments(parser)
        parser.add_common_options()
        flags = parser.flags()
        parsed = parser.parse(arguments)
        is_data = vars(parsed).get("json", False)
        with logging_to_terminal(flags, verbose=parsed.verbose, quiet=parsed.quiet, data=is_data):
            module.run(parsed)
    except KeyboardInterrupt as interrupt:
        return fail(f"interrupted{interrupt}", code=130)
    except BrokenPipeError:  # whoever read our output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError as error:
        return fail(f"out of memory: {error}")
    except (MaskzooError, OSError) as error:
        if os.environ.get("MASKZOO_DEBUG"):
            raise
        return fail(error_text(error, flags))
    return 0


def print_overview() -> None:
    """Prints what the verbs are."""
    print("usage: maskzoo VERB [options]\n\nSegmentation, from a TIFF to a mask.\n\nverbs:")
    for verb, purpose in VERBS.items():
        print(f"  {verb:<10}{purpose}")
    print("\nstart with:\n  maskzoo train --model vnet3d\n  maskzoo VERB --help")
