"""Tables of text: aligned for the terminal, Markdown, CSV."""

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskzoo.errors import OptionError
from maskzoo.files import check_writable, written_atomically


def text_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Rows of cells as aligned text.

    Args:
        rows: Cells by row, the titles first; all rows of one length.
        left: The columns that are aligned to the left; the others are to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """The same as a Markdown table."""
    titles, *others = rows
    rule = ["---" if number in left else "---:" for number in range(len(titles))]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [titles, rule, *others]
    )


def check_csv(path: str | Path) -> None:
    """Refuses a table whose name is not that of one, before any work is done for it: it may be one of another file.

    Raises:
        UnwritableFile: If it cannot be written.
        OptionError: If it does not end in .csv.
    """
    check_writable(path)
    if Path(path).suffix.lower() != ".csv":
        raise OptionError("csv", "a file name that ends in .csv", str(path))


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:  # values: whatever `str` can show
    """Writes rows that have the same keys as a CSV file, which appears when it is whole."""
    with written_atomically(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def score(value: float) -> str:
    """A count as it is, a score with four digits, `-` for what is infinite or undefined."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if math.isfinite(value) else "-"
