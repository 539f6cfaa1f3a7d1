"""Runs evaluated by the command line."""

import json

import pytest
from run_verb import run


def refuse(constant):
    raise AssertionError(f"JSON has no {constant}")


@pytest.fixture
def evaluated(capsys):
    """A function that evaluates a run through the command line and returns the JSON."""

    def evaluate(folder, *arguments):
        capsys.readouterr()
        assert run("evaluate", folder, "--json", *arguments) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out, parse_constant=refuse)

    return evaluate
