"""Lines that show how far something is: in a file, a terminal and a notebook."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metarl.runs import progress
from metarl.runs.progress import live_progress


def shown(pace: list[tuple[int, float]]) -> list[str]:
    """The lines in a file after each pair of what is done and the seconds that it took."""
    now, file = 100.0, io.StringIO()
    console = Console(file=file, width=80, markup=False, get_time=lambda: now)
    with live_progress(console, 4, "steps") as show:
        for done, seconds in pace:
            now += seconds
            show(done, "[bold]text")
    return file.getvalue().splitlines()


def test_plain_lines_come_once_a_second_and_at_the_end() -> None:
    assert shown([(1, 30.0), (2, 0.1), (3, 29.9), (4, 0.2)]) == [
        "1/4 steps  [bold]text",
        "3/4 steps  [bold]text  0:00:15 left",
        "4/4 steps  [bold]text  0:01:00 in all",
    ]


def test_what_was_done_before_a_resumption_says_nothing_about_the_pace() -> None:
    assert shown([(2, 1.0), (3, 50.0)])[-1] == "3/4 steps  [bold]text  0:00:50 left"


def test_a_terminal_gets_one_line_that_moves() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, highlight=False)
    with live_progress(console, 4, "steps") as show:
        show(4, "[bold]text")
    assert "4/4" in file.getvalue() and "[bold]text" in file.getvalue() and file.getvalue().count("\n") == 1


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_count_and_the_time_are_shown_on_narrow_terminals_too(width: int) -> None:
    file = io.StringIO()
    with live_progress(Console(file=file, force_terminal=True, width=width), 4, "steps") as show:
        show(2, "return -1.49 → -1.70  KL 0.0006  16k steps/s  1 skipped")
    assert "2/4" in file.getvalue() and "-:--:--" in file.getvalue() and "return" in file.getvalue()


def test_a_notebook_without_widgets_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    console = Console(force_jupyter=True, width=80)
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda line, **_: lines.append(line))
    with live_progress(console, 1, "steps") as show:
        show(1, "text")
    assert lines == ["1/1 steps  text  0:00:00 in all"]
