"""The command line: `maskzoo VERB`, `python -m maskzoo VERB`; in a checkout also `train.py` and `predict.py`."""

import difflib
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

__all__ = ["main"]

VERBS = {
    "train": "train a model on a folder of images and masks, or on images that it makes itself",
    "predict": "segment images of any size with a trained run",
    "evaluate": "score a trained run on labelled images: overlap, distances, objects, calibration",
    "decide": "search thresholds, minimum areas and ensemble weights on held-out images",
    "compare": "compare architectures: parameters, multiply-adds, receptive field, memory, speed",
    "export": "write trained runs as one model for deployment, checked against predict",
    "runs": "list and compare runs: what was trained, how far it came, its Dice",
    "pseudo": "label images with trained runs where those are sure, as a data set to train on",
    "doctor": "check that a training is right on this machine: several devices equal one, memory, reading",
    "inspect": "look at a data set: sizes, label values, class shares, suspicious pairs, a picture",
    "folds": "distribute the images of a data set over folds, for every run and tool alike",
    "synth": "write a synthetic data set in the format of a real one",
}
ROOT = Path(__file__).resolve().parent.parent


def main(verb=None, arguments=None):
    """Runs one verb and exits: 0 on success, 2 with one line on stderr for a mistake of the user, 130 after Ctrl-C.

    Args:
        verb: One of `VERBS`, or `None` to take it from the command line.
        arguments: Command-line arguments after the program's name (and verb); `sys.argv` by default.
    """
    # TensorFlow logs as errors what is none, such as an operation without a faster form; real ones are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    program = Path(sys.argv[0]).name if verb else f"maskzoo {arguments[0] if arguments else ''}"
    if verb is None:
        if not arguments or arguments[0] in ("-h", "--help"):
            print_overview()
            return
        verb = arguments.pop(0)
    try:
        run_verb(verb, program, arguments)
    except KeyboardInterrupt as interrupt:
        sys.exit(fail(f"interrupted{interrupt}", code=130))
    except BrokenPipeError:  # whoever read our output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError as error:
        sys.exit(fail(f"out of memory: {error}"))
    except (ValueError, OSError) as error:
        if os.environ.get("MASKZOO_DEBUG") or not is_for_people(error):
            raise
        sys.exit(fail(str(error)))


def run_verb(verb, program, arguments):
    if verb not in VERBS:
        raise ValueError(f"unknown verb: expected {nearest(verb, VERBS)}; received {verb!r}")
    # Imported here: the overview and a misspelt verb must not wait for the parser.
    from .parser import Parser

    module = import_module(f"{__name__}.{verb}")
    parser = Parser(prog=program, description=module.__doc__)
    module.add_arguments(parser)
    if hasattr(module, "complete"):
        arguments = module.complete(arguments)
    module.run(parser.parse_args(arguments))


def nearest(word, known):
    """The known word most like `word`, then all of them: `train (of train, predict)`."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    everything = ", ".join(known)
    return f"{close[0]} (of {everything})" if close else f"one of {everything}"


def is_for_people(error):
    """True for an error of the file system, or one that this project raised: its message was written to be read.

    A `ValueError` out of a library's depths is a defect of ours and keeps its traceback.
    """
    if isinstance(error, OSError):
        return True
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return raised_in.is_relative_to(ROOT) and "site-packages" not in raised_in.relative_to(ROOT).parts


def load_keras(*others):
    """Imports Keras, and others, without the notices that TensorFlow's C++ code prints past every log level.

    Args:
        *others: Names of modules that are needed too, such as `tensorflow` on another backend.

    Raises:
        ValueError: If the backend of Keras is not installed.
    """
    if os.environ.get("MASKZOO_DEBUG"):
        import_module("keras")
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        for name in ("keras", *others):
            import_module(name)
    except ModuleNotFoundError as error:
        if error.name != os.environ.get("KERAS_BACKEND"):
            raise
        raise ValueError(f"KERAS_BACKEND: expected a backend that is installed; received {error.name}") from error
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def fail(message, code=2):
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


def print_overview():
    print("usage: maskzoo VERB [options]\n\nSegmentation, from a TIFF to a mask.\n\nverbs:")
    for verb, purpose in VERBS.items():
        print(f"  {verb:<10}{purpose}")
    print("\nstart with:\n  maskzoo train --model vnet3d\n  maskzoo VERB --help")
