"""What is written to terminals, pipes and files: any text, in any encoding, and nothing that steers a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from metarl.experiments.console.output import LONGEST_MESSAGE, Terminal, has_reader, tell, write_anything

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("ascii", "1 → 2 ± 3", b"1 -> 2 +- 3"),
        ("cp1252", "1 → 2 ± 3", b"1 -> 2 \xb1 3"),
        ("latin-1", "\N{SNOWMAN}", b"?"),
        ("utf-8", "run-\udcff", b"run-\xff"),
        ("utf-8", "1 → 2", "1 → 2".encode()),
    ],
)
def test_what_an_encoding_lacks_is_replaced(
    encoding: str, text: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    write_anything()
    print(text, end="", flush=True)
    assert written.getvalue() == expected


@pytest.mark.parametrize("text", ["run [bold]x", "run:smile:y", "run[/lr]", "[red]1[/red]"])
def test_a_users_text_is_no_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.print(text, soft_wrap=True)
    table = Table()
    table.add_column("name")
    table.add_row(text)
    terminal.print(table)
    assert capsys.readouterr().out.count(text) == 2


def test_a_sentence_has_one_line_no_escape_codes_and_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    tell("\x1b[33mWARN: first\n  second\x1b[0m \x01 \u202e")
    assert capsys.readouterr().err == "metarl: WARN: first second \\x01 \\u202e\n"
    tell(f"the file {'x' * 100_000} is missing")
    err = capsys.readouterr().err
    assert len(err) < LONGEST_MESSAGE + 50 and err.startswith("metarl: the file") and err.endswith("is missing\n")


def test_a_pipe_knows_whether_it_is_read() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        assert has_reader(stream)
        os.close(reading)
        assert not has_reader(stream)
    assert has_reader(io.StringIO())


def test_replacements_do_not_move_the_edge_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    write_anything()
    table = Table()
    table.add_column("interval")
    table.add_row("1 → 2 ± 3")
    Terminal().print(table)
    sys.stdout.flush()
    lines = written.getvalue().decode().splitlines()
    assert any("1 -> 2 +- 3" in line for line in lines) and len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "> /dev/full"])
def test_an_output_that_cannot_be_written(redirection: str) -> None:
    command = f"{sys.executable} -m metarl.experiments.cli inspect navigation-2d/maml {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    if "full" in redirection:
        assert (done.returncode, done.stderr) == (2, "metarl: [Errno 28] No space left on device\n")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_a_reader_ends_with_141() -> None:
    code = (
        "import sys; from metarl.experiments import cli; from metarl.experiments.console.output import Terminal; "
        "cli.run = lambda words: [Terminal().print('x' * 100_000) for _ in range(10)]; sys.exit(cli.main([]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, "")
