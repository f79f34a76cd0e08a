"""Tables of words and numbers, for the terminal and as a page of Markdown that one command writes and rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from metarl.core.errors import Refusal

MISSING = "-"
NARROW = {"measured": "meas.", "iterations": "iter-\nations", " at ": "\n", ": ": "\n"}


@dataclass(frozen=True)
class Sheet:
    """Rows of cells under headings; the first ``words`` columns are words and the others numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def mark(name: str) -> str:
    """What tells the page that ``metarl table NAME`` wrote from other files, so that only such pages are replaced."""
    return f"<!-- Written by metarl table {name}. -->"


def printed(sheet: Sheet) -> Table:
    """The sheet with headings of several lines, for a narrow terminal."""
    table = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0))
    for number, heading in enumerate(sheet.headings):
        for long, narrow in NARROW.items():
            heading = heading.replace(long, narrow)
        table.add_column(heading, justify="right" if number >= sheet.words else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def page(name: str, sheets: Sequence[Sheet], caption: str) -> str:
    """The sheets as Markdown, under the mark of ``metarl table NAME``."""
    parts = [mark(name)]
    for sheet in sheets:
        rules = ["---"] * sheet.words + ["---:"] * (len(sheet.headings) - sheet.words)
        lines = [sheet.headings, rules, *sheet.rows]
        parts += [f"## {sheet.title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, caption]) + "\n"


def check_page(path: Path, name: str) -> None:
    """ValueError unless the page can be written there; only an older one is replaced."""
    if path.is_dir() or (path.exists() and not path.read_text(errors="replace").startswith(mark(name))):
        raise Refusal(f"{path} is there already and was not written by metarl table {name}: choose another name")
    if not path.parent.is_dir():
        raise Refusal(f"cannot write {path}: there is no folder {path.parent}")
