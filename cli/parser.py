"""The parser behind every verb: jsonargparse, with errors in one line that name the nearest option, and plain help."""

import argparse
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import jsonargparse
import yaml

from maskzoo import __version__
from maskzoo.errors import OptionError, UnreadableFile
from maskzoo.names import nearest_name, one_of

from .console import fail, with_flags

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
WORDS: dict[Any, str] = {  # keys: types, also such as `list[int]`, for which there is no narrower name
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list[int]: "whole numbers such as [1,2]",
    list[float]: "numbers such as [0.5,0.3]",
    list[str]: "names such as [a,b]",
}


class Parser(jsonargparse.ArgumentParser):
    """An argument parser that answers a mistake with one line on stderr and exit code 2.

    Args:
        program: What the user typed to start it.
        description: The text above the options in `--help`.
    """

    def __init__(
        self, program: str = "maskzoo", description: str = "", **kwargs: Any
    ) -> None:  # as jsonargparse has it
        super().__init__(
            prog=program,
            description=description,
            formatter_class=HelpFormatter,
            exit_on_error=True,
            allow_abbrev=False,
            **kwargs,
        )
        # Options, and keys of a recipe, that have another name now: old name to new, as keys.
        self.renamed: dict[str, str] = {}
        # What a Python caller calls an option that has another name here: to the option.
        self.also_called: dict[str, str] = {}
        # Changes that a verb makes to its arguments before they are parsed.
        self.rewrite: Callable[[list[str]], list[str]] = list

    def add_dataclass_options(
        self, options: "type[DataclassInstance]", skip: Iterable[str] = (), types: Mapping[str, Any] | None = None
    ) -> None:  # `Any`: types such as `int | None` have no narrower name
        """Adds an option per field of a dataclass made with `maskzoo.options.setting`.

        Args:
            options: The dataclass.
            skip: Fields that are no options.
            types: Types of fields that are typed otherwise than they are stored.
        """
        group: Any = self  # a parser or one of its groups
        hints = typing.get_type_hints(options)
        for field in fields(options):
            if field.metadata.get("group"):
                group = self.add_argument_group(field.metadata["group"])
            if field.name in skip:
                continue
            kind = (types or {}).get(field.name, hints[field.name])
            flag, help = key_flag(field.name), field.metadata.get("help", "")
            if kind is bool:
                group.add_argument(flag, action="store_true", default=default_of(field), help=help)
            else:
                group.add_argument(flag, type=kind, default=default_of(field), help=help)

    def add_flag(self, flag: str, help: str) -> None:
        """Adds an option without a value."""
        self.add_argument(flag, action="store_true", default=False, help=help)

    def add_common_options(self) -> None:
        """Adds what every verb has."""
        for action in self._actions:
            if "--print_config" in action.option_strings:  # of jsonargparse, where there are recipes
                action.help = "print the recipe that these options make, and exit"
        group = self.add_argument_group("messages")
        group.add_argument("--verbose", action="store_true", default=False, help="print details too")
        group.add_argument("--quiet", action="store_true", default=False, help="print errors and results only")
        group.add_argument(
            "--version", action="version", version=f"maskzoo {__version__}", help="print the version and exit"
        )

    def options(self) -> list[str]:
        """The long options, as written on the command line."""
        strings = {string for action in self._actions for string in action.option_strings}
        return sorted(s for s in strings if s.startswith("--") and "print_" not in s and not s.endswith("+"))

    def flags(self) -> dict[str, str]:
        """What each argument of a Python caller is called here: options with dashes, positional arguments bare."""
        named = {option[2:].replace("-", "_"): option for option in self.options()}
        bare = {action.dest: action.dest for action in self._actions if not action.option_strings}
        return named | bare | self.also_called

    def parse(self, arguments: list[str]) -> jsonargparse.Namespace:
        """Parses the arguments of a verb, or prints a mistake in one line and exits."""
        arguments = list(join_named_values(self.with_new_flags(self.rewrite(list(arguments)))))
        parsed = self.parse_args(self.options_first(arguments))
        if parsed.verbose and parsed.quiet:
            raise OptionError("quiet", "either `verbose` or `quiet`", "both")
        return parsed

    def with_new_flags(self, arguments: list[str]) -> list[str]:
        """The arguments with options of earlier versions under their present names."""
        changed = []
        for argument in arguments:
            flag, separator, value = argument.partition("=")
            new = self.renamed.get(flag[2:].replace("-", "_")) if flag.startswith("--") else None
            if new is not None:
                note_renamed(flag, key_flag(new))
                argument = f"{key_flag(new)}{separator}{value}"
            changed.append(argument)
        return changed

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:  # as jsonargparse has it
        """Reads a recipe, with keys of earlier versions under their present names."""
        if self.renamed:
            text = read_recipe(Path(cfg_path))
            # Nobody wrote the recipe in a run folder: how its keys are called now is of no use to anybody.
            noted = not Path(cfg_path).with_name("manifest.json").is_file()
            changed = with_new_keys(text, self.renamed, noted)
            if changed != text:
                return super().parse_string(changed, **kwargs)
        return super().parse_path(cfg_path, *args, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:  # as jsonargparse has it
        """The help, in which arguments in backquotes are shown as options."""
        return with_flags(super().format_help(*args, **kwargs), self.flags())

    def options_first(self, arguments: Iterable[str]) -> list[str]:
        """Moves options in front of positional arguments, which argparse would otherwise take in pieces."""
        actions = {string: action for action in self._actions for string in action.option_strings}
        options, others, rest = [], [], iter(arguments)
        for argument in rest:
            (options if argument.startswith("-") else others).append(argument)
            action = actions.get(argument)
            if action is not None and action.nargs != 0 and (value := next(rest, None)) is not None:
                options.append(value)
        return options + others

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints a mistake in one line and exits."""
        message = str(message)
        if found := re.search(r"[Uu]nrecognized arguments: (--[^\s=]+)", message):
            if "--option" in self.options() and nearest_name(found[1], ["encoder"]):
                meant = "--option encoder=NAME"
            else:
                meant = nearest_name(found[1], self.options()) or "one of those that --help lists"
            message = f"unknown option: expected {meant}; received {found[1]}"
        elif found := re.search(r"Option '([^']+)' is not accepted", message):
            keys = [option[2:].replace("-", "_") for option in self.options()]
            meant = nearest_name(found[1], keys) or "an option of train with _ for -"
            message = f"unknown key in the recipe: expected {meant}; received {found[1]}"
        elif found := re.search(r"[Uu]nrecognized arguments: (.+)", message):
            message = f"expected no further arguments; received {found[1]}"
        elif found := re.match(r'Parser key "([^".]+)[^"]*":', message):
            message = self.wrong_value(found[1], message)
        sys.exit(fail(with_flags(message, self.flags())))

    def wrong_value(self, key: str, message: str) -> str:
        """Says what an option expects and what it got, from a message that may list every type that was tried."""
        if any(words in message for words in ("File does not exist", "not readable", "Path is not a file")):
            path = message.rsplit(": ", 1)[-1].strip("'")
            return f"--{key}: expected a file that can be read; received {path}"
        found = re.search(r"(?:Given value|Got value): (.*)", message)
        received = found[1] if found else message
        action = next(action for action in self._actions if action.dest == key)
        name = key_flag(key) if action.option_strings else key
        return f"{name}: expected {type_in_words(type_of(action), received)}; received {received}"


def key_flag(key: str) -> str:
    """The option of a key: `--batch-size` of `batch_size`."""
    return "--" + key.replace("_", "-")


def default_of(field: Field[Any]) -> Any:  # of whatever type the field has
    """The default of a dataclass's field."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def options_of(options: type[Options], arguments: argparse.Namespace, **values: Any) -> Options:  # fields' values
    """A dataclass of options from a parsed command line.

    Args:
        options: The dataclass, whose fields the parser has as options.
        arguments: What was parsed; other entries are left alone.
        **values: Fields whose value is another than what was parsed.
    """
    parsed = vars(arguments)
    names = [field.name for field in fields(options)]
    return options(**{name: parsed[name] for name in names if name in parsed} | values)


def type_of(action: argparse.Action) -> Any:  # a type, also such as `int | None`
    """The type of an option's values."""
    return vars(action).get("_typehint") or action.type


def type_in_words(kind: Any, received: str = "") -> str:  # a type, also such as `int | None`
    """What values of a type look like, in words: `a whole number`, `batch (of batch, sync, group)`.

    Args:
        kind: The type.
        received: A wrong value, of which the nearest right one is named.
    """
    if kind in WORDS:
        return WORDS[kind]
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and len(parts) == 1:
        return str(parts[0])
    if origin is Literal:
        return one_of(received, list(map(str, parts)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(part, received) for part in parts if part is not type(None))
    if origin is list and typing.get_origin(parts[0]) is Literal:
        return f"a list of {', '.join(map(str, typing.get_args(parts[0])))}, such as [{typing.get_args(parts[0])[0]}]"
    if origin is list:
        return "a list such as [{a: 1}]" if typing.get_origin(parts[0]) is dict else "a list such as [a,b]"
    if origin is dict:
        return "names with values, such as {a: 1}"
    return "another value"


def placeholder(kind: Any) -> str | None:  # a type, also such as `int | None`
    """The placeholder of a value in the help, if it is not the name of the option: `N`, `X`, `{batch,sync}`."""
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return placeholder(parts[0]) if len(parts) == 1 else None
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    return {int: "N", float: "X"}.get(kind)


def note_renamed(old: str, new: str) -> None:
    """Says that a name has changed."""
    # Not yet within the messages of a verb: said whatever comes of it.
    print(f"note: {old} is now called {new}", file=sys.stderr)


def read_recipe(path: Path) -> str:
    """The text of a recipe; refuses what is no mapping from options to values."""
    expected = "a YAML file with options as keys, such as epochs: 5"
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnreadableFile(path, expected, str(error)) from error
    if not isinstance(content, dict):
        received = "nothing" if content is None else "a list" if isinstance(content, list) else content
        raise UnreadableFile(path, expected, received)
    return text


def with_new_keys(text: str, renamed: Mapping[str, str], noted: bool = True) -> str:
    """A recipe's text in which keys of earlier versions have their present names, each with a note if `noted`."""
    try:
        root = yaml.compose(text)
    except yaml.YAMLError:
        return text  # refused where it is parsed
    keys = [key for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    found = [key for key in keys if isinstance(key, yaml.ScalarNode) and key.value in renamed]
    names = {key.value for key in keys if isinstance(key, yaml.ScalarNode)}
    for key in found:
        if renamed[key.value] in names:
            raise OptionError(renamed[key.value], "one value in the recipe", f"another one as {key.value}")
    for key in sorted(found, key=lambda key: -key.start_mark.index):
        if noted:
            note_renamed(key.value, renamed[key.value])
        text = text[: key.start_mark.index] + renamed[key.value] + text[key.end_mark.index :]
    return text


def join_named_values(arguments: Iterable[str]) -> Iterator[str]:
    """Rewrites `--option NAME=VALUE` to jsonargparse's `--option.NAME=VALUE`, so that several may follow each other."""
    rest = iter(arguments)
    for argument in rest:
        if argument != "--option":
            yield argument
            continue
        named = next(rest, "")
        name, separator, value = named.partition("=")
        if not separator or not name.isidentifier():
            raise OptionError("option", "NAME=VALUE, such as filters=[8,16,32]", repr(named))
        yield f"--option.{name}={value}"


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of a verb's description, where its examples stand, and shows defaults but no types."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.strip().splitlines(keepends=True))

    def _get_help_string(self, action: argparse.Action) -> str:
        help = (action.help or "").replace("%", "%%")
        # No `in`: 0 equals False.
        nothing = action.default is None or action.default is False or action.default in ({}, [], argparse.SUPPRESS)
        return help if nothing or not action.option_strings else f"{help} (default: {action.default})"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # jsonargparse lets lists be appended to with `--name+`, which is of no use here.
        return re.sub(r", --[\w-]+\+ \S+", "", super()._format_action_invocation(action))

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return placeholder(type_of(action)) or super()._get_default_metavar_for_optional(action)
