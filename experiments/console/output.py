"""What the commands write to the terminal: text of any kind, on terminals of any encoding, and in files."""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

LONGEST_MESSAGE = 1000  # characters
ASCII = {ord(letter): text for letter, text in {"→": "->", "±": "+-", "×": "x", "−": "-", "…": "..."}.items()}


class Terminal(Console):
    """A rich console that prints every string as it is: paths are no markup, ``:name:`` is no emoji."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        """Replace what an encoding other than Unicode may lack before rich aligns it in a table."""
        plain = text if self.encoding.startswith("utf") else text.translate(ASCII)
        return super().render_str(plain, *arguments, **options)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, where rich would end the process with exit code 1."""
        self.quiet = True
        raise BrokenPipeError


def write_anything() -> None:
    """Make stdout and stderr replace what their encoding lacks, e.g. ``→`` by ``->``, instead of raising an error.

    What is written to a stream that the user has closed goes to nowhere.
    """
    codecs.register_error("metarl", _replacement)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="metarl")


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        # A byte of a file's name that is no UTF-8; Python names it so when it reads the name.
        return bytes([ord(character) & 0xFF]), error.start + 1
    return ASCII.get(ord(character), "?"), error.start + 1


def has_reader(stream: TextIO) -> bool:
    """Return whether the reader of a pipe that we write to is still there; True for files and terminals."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return not any(event & select.POLLERR for _, event in poll.poll(0))


def discard(stream: TextIO) -> None:
    """Send to nowhere what a stream still holds: its reader has left, and Python flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell(message: str) -> None:
    """Print a sentence of metarl to stderr, in one line, of bounded length, without what could steer a terminal."""
    plain = re.sub(r"\s*\n\s*", " ", Text.from_ansi(message).plain.strip())
    plain = "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in plain)
    if len(plain) > LONGEST_MESSAGE:
        plain = f"{plain[: LONGEST_MESSAGE * 2 // 3]} ... {plain[-LONGEST_MESSAGE // 3 :]}"
    print(f"metarl: {plain}", file=sys.stderr)
