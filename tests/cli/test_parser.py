"""The parser: types in words, options of dataclasses, names of earlier versions, plain help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from maskzoo.cli.parser import Parser, options_of, type_in_words
from maskzoo.errors import OptionError, UnreadableFile
from maskzoo.options import setting


@dataclass(frozen=True)
class Options:
    batch_size: int = setting(4, "windows per step, see `norm`", group="size")
    norm: Literal["batch", "group"] = setting("batch", "normalisation layers")
    fast: bool = setting(False, "do it fast")
    patch: list[int] | int | None = setting(None, "window size")
    hidden: str = setting("x", "not on the command line")


@pytest.fixture
def parser():
    parser = Parser(program="maskzoo test", description="Tests.\n\nexamples:\n  maskzoo test")
    parser.add_argument("--recipe", action="config", help="YAML file")
    parser.add_argument("runs", type=str, nargs="*", help="runs")
    parser.add_dataclass_options(Options, skip=["hidden"])
    parser.renamed |= {"batch": "batch_size"}
    parser.add_common_options()
    return parser


def refused(capsys, parser, *arguments):
    with pytest.raises(SystemExit) as stop:
        parser.parse(list(arguments))
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err.strip()


def test_options_come_from_a_dataclass_and_go_back_into_it(parser):
    assert options_of(Options, parser.parse([])) == Options()
    parsed = parser.parse(["a", "--batch-size", "8", "b", "--fast", "--patch", "[3,4]"])
    assert options_of(Options, parsed, hidden="y") == Options(8, fast=True, patch=[3, 4], hidden="y")
    assert parsed.runs == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "many"], "--batch-size: expected a whole number; received many"),
        (["--norm", "grup"], "--norm: expected group (of batch, group); received grup"),
        (["--patch", "x"], "--patch: expected whole numbers such as [1,2] or a whole number; received x"),
        (["--bach-size", "3"], "unknown option: expected --batch-size; received --bach-size"),
        (["--batch-siz", "3"], "unknown option: expected --batch-size; received --batch-siz"),
        (["--patc=3"], "unknown option: expected --patch; received --patc"),
        (["--colour", "3"], "unknown option: expected one of those that --help lists; received --colour"),
        (["--recipe", "none.yaml"], "--recipe: expected a file that can be read; received none.yaml"),
    ],
)
def test_mistakes_are_said_in_words(capsys, parser, arguments, message):
    assert refused(capsys, parser, *arguments).replace(f"{Path.cwd()}/", "") == f"error: {message}"


@pytest.mark.parametrize("option", ["--backbone", "--encoder", "--backbone=resnet34"])
def test_options_of_models_are_values_of_option(capsys, option):
    parser = Parser(program="maskzoo test", description="Tests.")
    parser.add_argument("--option", type=dict)
    parser.add_argument("--encoder-learning-rate", type=float)
    told = refused(capsys, parser, option)
    assert told == f"error: unknown option: expected --option encoder=NAME; received {option.partition('=')[0]}"
    near = refused(capsys, parser, "--encoder-lerning-rate=1")
    assert near == "error: unknown option: expected --encoder-learning-rate; received --encoder-lerning-rate"


def test_quiet_and_verbose_exclude_each_other(parser):
    with pytest.raises(OptionError, match="quiet: expected either `verbose` or `quiet`; received both"):
        parser.parse(["--quiet", "--verbose"])


def test_names_of_earlier_versions_are_understood_with_a_note(capsys, parser, tmp_path):
    assert parser.parse(["--batch", "8"]).batch_size == 8
    assert parser.parse(["--batch=9"]).batch_size == 9
    assert capsys.readouterr().err.splitlines() == ["note: --batch is now called --batch-size"] * 2
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("norm: group\nbatch: 8  # batch\npatch:\n  - 3\n  - 4\n")
    parsed = parser.parse(["--recipe", str(recipe)])
    assert (parsed.batch_size, parsed.norm, parsed.patch) == (8, "group", [3, 4])
    assert capsys.readouterr().err == "note: batch is now called batch_size\n"
    assert parser.parse(["--recipe", str(recipe), "--batch-size", "5"]).batch_size == 5
    recipe.write_text("batch_size: 3\n")
    capsys.readouterr()
    assert parser.parse(["--recipe", str(recipe)]).batch_size == 3
    assert capsys.readouterr().err == ""


def test_unknown_keys_and_broken_recipes_are_one_line(capsys, parser, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("bach_size: 3\n")
    assert "expected batch_size; received bach_size" in refused(capsys, parser, "--recipe", str(recipe))
    for content in (b"norm: [\n", b"norm: \xff\n", b"- norm\n", b"# nothing yet\n"):
        recipe.write_bytes(content)
        with pytest.raises(UnreadableFile, match=r"recipe.yaml: expected a YAML file with options as keys"):
            parser.parse(["--recipe", str(recipe)])
    recipe.write_text("batch: 3\nbatch_size: 4\n")
    with pytest.raises(
        OptionError, match="batch_size: expected one value in the recipe; received another one as batch"
    ):
        parser.parse(["--recipe", str(recipe)])
    assert refused(capsys, parser, "--recipe", str(tmp_path)).endswith(f"that can be read; received {tmp_path}")


def test_help_shows_options_and_no_types(parser):
    text = parser.format_help()
    assert "see --norm (default: 4)" in " ".join(text.split())
    assert "--batch-size N" in text
    assert "{batch,group}" in text
    for word in ("type:", "int |", "None", "null", "Literal", "--patch+", "hidden"):
        assert word not in text.replace("print_config", "").replace("Print", ""), word


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int | None, "a whole number"),
        (float | list[float], "a number or numbers such as [0.5,0.3]"),
        (dict[str, float] | None, "names with values, such as {a: 1}"),
        (list[Literal["a", "b"]], "a list of a, b, such as [a]"),
        (list[dict[str, int]], "a list such as [{a: 1}]"),
        (int | Literal["all"] | None, "a whole number or all"),
    ],
)
def test_types_in_words(kind, words):
    assert type_in_words(kind) == words
