"""What the terminal shows of messages and errors: streams, levels, names of options."""

import logging

import pytest

from maskzoo.cli.console import about, error_text, logging_to_terminal
from maskzoo.errors import MissingFile, OptionError

FLAGS = {
    "tile": "--tile",
    "batch_size": "--batch-size",
    "input": "input",
    "holes": "--fill-holes",
    "option": "--option",
}
logger = logging.getLogger("maskzoo.test")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OptionError("batch_size", "at least 1", 0), "--batch-size: expected at least 1; received 0"),
        (OptionError("input", "an image", "x"), "input: expected an image; received x"),
        (OptionError("holes", "0 or more", -1), "--fill-holes: expected 0 or more; received -1"),
        (OptionError("filters", "a list", 1), "filters: expected a list; received 1"),
        (OptionError("option of vnet3d", "depth", "dept"), "--option of vnet3d: expected depth; received dept"),
        (OptionError("tile", "none with `batch_size` or `filters`", 1), None),
        (MissingFile("a.tif", "an image, or `tile`", "none"), "a.tif: expected an image, or --tile; received none"),
        (FileNotFoundError(2, "No such file or directory", "a.tif"), "a.tif: No such file or directory"),
        (OSError("disk on fire"), "disk on fire"),
    ],
)
def test_arguments_have_the_names_of_options(error, text):
    expected = text or "--tile: expected none with --batch-size or `filters`; received 1"
    assert error_text(error, FLAGS) == expected


def say_everything():
    logger.debug("detail of `tile`")
    logger.info("done in %d s, 50%%", 3)
    logger.warning("beware")
    logger.error("broken")


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        ({}, ["done in 3 s, 50%"], ["beware", "broken"]),
        ({"verbose": True}, ["detail of --tile", "done in 3 s, 50%"], ["beware", "broken"]),
        ({"quiet": True}, [], ["broken"]),
        ({"data": True}, [], ["done in 3 s, 50%", "beware", "broken"]),
    ],
)
def test_messages_go_where_they_belong(capsys, options, out, err):
    with logging_to_terminal(FLAGS, **options):
        say_everything()
    printed = capsys.readouterr()
    assert (printed.out.splitlines(), printed.err.splitlines()) == (out, err)


def test_afterwards_the_logger_is_as_it_was(capsys, caplog):
    library = logging.getLogger("maskzoo")
    before = library.level, library.propagate, list(library.handlers)
    with logging_to_terminal(FLAGS, quiet=True):
        assert library.level == logging.ERROR
    assert (library.level, library.propagate, list(library.handlers)) == before
    with caplog.at_level(logging.INFO, "maskzoo"):
        logger.info("to the notebook")
    assert caplog.messages == ["to the notebook"]
    assert capsys.readouterr().out == ""


def test_messages_about_a_file_begin_with_its_name_and_only_warnings_are_left_where_it_is_brief(capsys):
    with logging_to_terminal(FLAGS):
        with about("a.tif", brief=False):
            say_everything()
        with about("b.tif", brief=True):
            say_everything()
        logger.info("end")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["a.tif: done in 3 s, 50%", "end"]
    assert printed.err.splitlines() == ["a.tif: beware", "a.tif: broken", "b.tif: beware", "b.tif: broken"]
    with logging_to_terminal(FLAGS, verbose=True), about("b.tif", brief=True):
        say_everything()
    assert len(capsys.readouterr().out.splitlines()) == 2
