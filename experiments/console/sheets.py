"""Tables of the paper's numbers beside ours, for the terminal and as a page of Markdown that one command rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich import box
from rich.table import Table

from metarl.core.errors import Refusal

MISSING = "-"
NARROW = {
    "measured": "meas.",
    "iterations": "iter-\nations",
    "horizon": "hori-\nzon",
    "to oracle": "to\noracle",
    " at ": "\n",
    ": ": "\n",
}


class Row(NamedTuple):
    """The name of a row, what the paper reports under it, and our result, None as long as there is none."""

    name: str
    paper: Any
    ours: Any


class Column(NamedTuple):
    """A heading, the part of each row that the column shows, and how; ``show`` may return None for nothing."""

    heading: str
    part: Literal["name", "paper", "ours"]
    show: Callable[[Any], str | None]


@dataclass(frozen=True)
class Sheet:
    """Rows of cells under headings; the first ``words`` columns are words and the others numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def sheet(title: str, columns: Sequence[Column], rows: Sequence[Row], words: int = 1) -> Sheet:
    """Return the rows as text, with dashes where there is no result.

    Args:
        title: Title of the sheet.
        columns: What to show of each row.
        rows: The rows, in the paper's order.
        words: How many columns from the left hold words.

    Returns:
        The sheet.
    """

    def cell(column: Column, row: Row) -> str:
        value = getattr(row, column.part)
        return (None if value is None else column.show(value)) or MISSING

    cells = [[cell(column, row) for column in columns] for row in rows]
    return Sheet(title, [column.heading for column in columns], cells, words)


def mark(name: str) -> str:
    """Return the first line of a page of ``metarl table NAME``; only a file that begins with it is replaced."""
    return f"<!-- Written by metarl table {name}. -->"


def printed(sheet: Sheet) -> Table:
    """Return the sheet with headings of several lines, for a narrow terminal."""
    table = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0))
    for number, heading in enumerate(sheet.headings):
        for long, narrow in NARROW.items():
            heading = heading.replace(long, narrow)
        table.add_column(heading, justify="right" if number >= sheet.words else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def page(name: str, sheets: Sequence[Sheet], caption: str) -> str:
    """Return the sheets as a page of Markdown of ``metarl table NAME``."""
    parts = [mark(name)]
    for sheet in sheets:
        rules = ["---"] * sheet.words + ["---:"] * (len(sheet.headings) - sheet.words)
        lines = [sheet.headings, rules, *sheet.rows]
        parts += [f"## {sheet.title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, caption]) + "\n"


def check_page(path: Path, name: str) -> None:
    """Raise Refusal unless the page can be written there; only an older one is replaced."""
    if path.is_dir() or (path.exists() and not path.read_text(errors="replace").startswith(mark(name))):
        raise Refusal(f"{path} is there already and was not written by metarl table {name}: choose another name")
    if not path.parent.is_dir():
        raise Refusal(f"cannot write {path}: there is no folder {path.parent}")
