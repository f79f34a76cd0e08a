"""What a training shows while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metarl.experiments.console import progress
from metarl.experiments.console.progress import clock_time, live_progress, number


@pytest.mark.parametrize(
    ("value", "text"), [(-13.304, "-13.30"), (99.994, "99.99"), (-150.06, "-150.1"), (0.0, "0.00")]
)
def test_returns_keep_four_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (185, "3:05"), (3605, "1:00:05")])
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
    time = Time()
    monkeypatch.setattr(progress, "time", time)
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False)
    with live_progress(console, 4, "steps") as show:
        for done, seconds in ((1, 30.0), (2, 0.1), (3, 29.9), (4, 0.2)):
            time.now += seconds
            show(done, "text")
    return file.getvalue()


def test_plain_lines_come_once_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False).splitlines() == [
        "1/4 steps  text",
        "3/4 steps  text  0:15 left",
        "4/4 steps  text  0:00 left",
    ]


def test_a_terminal_gets_one_line_that_moves() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, highlight=False)
    with live_progress(console, 4, "steps") as show:
        show(4, "text")
    shown = file.getvalue()
    assert "4/4" in shown and "text  0:00 left" in shown and shown.count("\n") == 1
