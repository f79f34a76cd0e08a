"""Text for progress lines and summaries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from rich.console import Console


def decoding_line(console: Console) -> Callable[[int, int], None]:
    """Return what ``load_images`` calls while it decodes: it says so once, for only the first time takes long."""

    def show(done: int, total: int) -> None:
        if done == total:
            console.print(f"decoded {total} images")

    return show


def number(value: float) -> str:
    """Return a return as text with about four digits, whatever its size."""
    if value and not 0.1 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def join(*parts: str) -> str:
    """Return the parts that are not empty, side by side."""
    return "  ".join(part for part in parts if part)


def clock_time(seconds: float) -> str:
    """Return ``0:03:05`` for 185 seconds."""
    return str(timedelta(seconds=round(seconds)))
