"""The command line, run in this process."""

from maskzoo import cli


def run(verb, *arguments):
    """Runs a verb and returns its exit status."""
    try:
        cli.main(verb, [str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def run_and_capture(capsys, verb, *arguments):
    """Runs a verb and returns its exit status, what it printed and what it complained of."""
    status = run(verb, *arguments)
    printed = capsys.readouterr()
    return status, printed.out, printed.err
