"""The parser behind every verb: jsonargparse whose errors are one line and name the nearest right option."""

import re
import sys
from dataclasses import MISSING, fields

import jsonargparse

from . import fail, nearest


class Parser(jsonargparse.ArgumentParser):
    """An argument parser that answers a mistake with one line on stderr and exit code 2."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=HelpFormatter, exit_on_error=True, **kwargs)

    def add_dataclass_options(self, options):
        """Adds an option per field of a dataclass: its metadata hold `help`, and `group` where a group begins."""
        group = self
        for field in fields(options):
            if field.metadata.get("group"):
                group = self.add_argument_group(field.metadata["group"])
            default = field.default if field.default_factory is MISSING else field.default_factory()
            flag = "--" + field.name.replace("_", "-")
            if field.type is bool:
                group.add_argument(flag, action="store_true", default=default, help=field.metadata["help"])
            else:
                group.add_argument(flag, type=field.type, default=default, help=field.metadata["help"])

    def options(self):
        """The long options, as written on the command line."""
        strings = {string for action in self._actions for string in action.option_strings}
        return sorted(s for s in strings if s.startswith("--") and "print_" not in s and not s.endswith("+"))

    def parse_args(self, arguments):
        return super().parse_args(self.options_first(join_named_values(arguments)))

    def options_first(self, arguments):
        """Moves options in front of positional arguments, which argparse else counts piece by piece between options."""
        actions = {string: action for action in self._actions for string in action.option_strings}
        options, others, arguments = [], [], iter(arguments)
        for argument in arguments:
            (options if argument.startswith("-") else others).append(argument)
            action = actions.get(argument)
            if action is not None and action.nargs != 0 and (value := next(arguments, None)) is not None:
                options.append(value)
        return options + others

    def error(self, message, ex=None):
        message = str(message)
        if found := re.search(r"[Uu]nrecognized arguments: (--[^\s=]+)", message):
            message = f"unknown option: expected {nearest(found[1], self.options())}; received {found[1]}"
        elif found := re.search(r"Option '([^']+)' is not accepted", message):
            keys = [option[2:].replace("-", "_") for option in self.options()]
            message = f"unknown key in the recipe: expected {nearest(found[1], keys)}; received {found[1]}"
        elif found := re.match(r'Parser key "([^".]+)[^"]*":', message):
            message = self.wrong_value(found[1], message)
        sys.exit(fail(message))

    def wrong_value(self, key, message):
        """Says what an option expects and what it got, from a message that may list every type that was tried."""
        if "File does not exist" in message or "not readable" in message:
            return f"--{key}: expected a file that can be read; received {message.rsplit(': ', 1)[-1]}"
        received = re.search(r"(?:Given value|Got value): (.*)", message)
        expected = next(str(action._typehint) for action in self._actions if action.dest == key)
        expected = expected.replace("typing.", "").replace("<class '", "").replace("'>", "")
        return f"--{key.replace('_', '-')}: expected {expected}; received {received[1] if received else message}"


def join_named_values(arguments):
    """Rewrites `--option NAME=VALUE` to jsonargparse's `--option.NAME=VALUE`, so that several may follow each other."""
    arguments = iter(arguments)
    for argument in arguments:
        if argument != "--option":
            yield argument
            continue
        named = next(arguments, "")
        name, separator, value = named.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"--option: expected NAME=VALUE, such as filters=[8,16,32]; received {named!r}")
        yield f"--option.{name}={value}"


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of a verb's description, where its examples stand."""

    def _fill_text(self, text, width, indent):
        return "".join(indent + line for line in text.strip().splitlines(keepends=True))
