"""The documentation's site is built without a warning, and holds what it promises."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metarl
from metarl.experiments.cli import COMMANDS, SUBCOMMANDS

pytest.importorskip("sphinx", reason="Sphinx is not installed")
DOCS = Path(__file__).resolve().parents[1] / "docs"


def text_of(site: Path, page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", (site / page).read_text()))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_is_complete(tmp_path: Path) -> None:
    """One test, for a build writes into docs/: several at a time, in parallel tests, take each other's pages away."""
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-b", "html"]
    call = [sys.executable, "-m", "sphinx", *options, DOCS, tmp_path]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    every_command_has_its_help(tmp_path)
    the_reference_has_all_that_metarl_offers(tmp_path)
    links_to_filed_tables_lead_to_pages_of_the_site(tmp_path)


def every_command_has_its_help(site: Path) -> None:
    for command in COMMANDS:
        page = text_of(site, f"reference/commands/{command}.html")
        assert f"usage: metarl {command}" in page
        for kind in SUBCOMMANDS.get(command, ()):
            assert f"usage: metarl {command} {kind}" in page
    assert "--sparsities" in text_of(site, "reference/commands/compress.html")


def the_reference_has_all_that_metarl_offers(site: Path) -> None:
    page = re.sub(r"\s+", " ", text_of(site, "reference/api.html"))
    for name in metarl.__all__:
        assert re.search(rf"\b{name}\(", page), f"{name} is not in docs/reference/api.md"
    assert "checkpoints that resume goes on from" in page  # a sentence of a docstring
    assert "Meta-learning method: which layers" in page  # an attribute's, whole


def links_to_filed_tables_lead_to_pages_of_the_site(site: Path) -> None:
    assert 'href="tables/rl.html"' in (site / "findings.html").read_text()
    assert "half-cheetah-velocity" in text_of(site, "tables/rl.html")


@pytest.mark.parametrize(("command", "kinds"), SUBCOMMANDS.items())
def test_the_kinds_of_a_command_are_those_that_it_runs(command: str, kinds: tuple[str, ...]) -> None:
    from command_line import succeeds

    for kind in kinds:
        assert f"usage: metarl {command} {kind}" in succeeds(command, kind, "--help")
