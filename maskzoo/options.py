"""Options that travel together: fields of frozen dataclasses, each with the sentence that `--help` shows for it."""

from dataclasses import field
from typing import Any


def setting(default: Any, help: str, group: str | None = None) -> Any:
    """A field of a dataclass of options.

    Args:
        default: Its default, of whatever type the field has; a dictionary or a list is copied for every instance.
        help: What the option means, for the command line's help.
        group: Heading that begins with this option in the command line's help.
    """
    # Any is what `dataclasses.field` returns too: a checker takes it for a default of the type that is declared.
    metadata = {"help": help, "group": group}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
