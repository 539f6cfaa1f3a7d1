"""Progress over many files, by a clock that is set by hand."""

import pytest

from maskzoo.cli.console import logging_to_terminal
from maskzoo.cli.progress import Progress
from maskzoo.names import duration


def lines(capsys, seconds, **options):
    """What is printed elsewhere than on a terminal, while files take so many seconds each."""
    now = [0.0]
    with (
        logging_to_terminal({}, **options),
        Progress(len(seconds), "image", terminal=False, clock=lambda: now[0]) as progress,
    ):
        for each in seconds:
            now[0] += each
            progress.advance()
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.splitlines()


def test_the_first_file_says_how_long_the_others_take(capsys):
    assert lines(capsys, [4.0] * 3) == ["1 of 3 images, about 8 s left"]


def test_there_is_a_line_now_and_then_and_none_at_the_end(capsys):
    assert lines(capsys, [10.0] * 8) == [
        "1 of 8 images, about 70 s left",
        "4 of 8 images, about 40 s left",
        "7 of 8 images, about 10 s left",
    ]


def test_recent_files_count_most(capsys):
    # Ten files were finished before; what the others take shows soon.
    last = lines(capsys, [0.0] * 10 + [60.0] * 10)[-1]
    assert last == "19 of 20 images, about 58 s left"


def test_quiet_is_quiet(capsys):
    assert lines(capsys, [10.0] * 8, quiet=True) == []


def test_a_terminal_shows_a_bar(capsys):
    with logging_to_terminal({}), Progress(2, "image", terminal=True) as progress:
        progress.advance()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1/2" in printed.err


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (89, "89 s"), (100, "2 min"), (3600, "60 min"), (7800, "2 h 10 min")]
)
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
