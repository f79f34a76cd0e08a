"""Settings of the documentation's site, which `make docs` builds with Sphinx."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sphinx.application import Sphinx

from metarl import __version__
from metarl.experiments.cli import COMMANDS, SUBCOMMANDS, main

DOCS = Path(__file__).parent
GENERATED = DOCS / "reference" / "commands"
# Pages of the repository, and the pages of the site that include them.
SHOWN = {
    "experiments/results/TABLE.md": "tables/rl.md",
    "experiments/results/TRADEOFF.md": "tables/tradeoff.md",
    "experiments/results/PRUNING.md": "tables/pruning.md",
    "experiments/results/FLEET.md": "tables/fleet.md",
    "experiments/results/images/TABLE.md": "tables/images.md",
    "experiments/results/README.md": "tables/index.md",
    "experiments/runs/README.md": "tables/runs.md",
    "CHANGELOG.md": "changelog.md",
}

project = "metarl"
author = "The metarl authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures have them, and the text of Args says the rest
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
nitpicky = True
suppress_warnings = ["myst.header"]  # tables that are included begin at their second level
html_theme = "furo"
html_title = f"metarl {__version__}"
html_theme_options = {"navigation_with_keys": True}


def help_of(words: tuple[str, ...]) -> str:
    """Return what ``metarl ... --help`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*words, "--help"])
    return printed.getvalue()


def write_command_pages(app: Sphinx) -> None:
    """Write a page for each command, with its own help and that of its kinds."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    with patch.dict(os.environ, COLUMNS="100", TERM="dumb", NO_COLOR="1"):
        for command in COMMANDS:
            sections = [
                f"{'#' * len(words)} metarl {' '.join(words)}\n\n```text\n{help_of(words).rstrip()}\n```\n"
                for words in [(command,), *((command, kind) for kind in SUBCOMMANDS.get(command, ()))]
            ]
            (GENERATED / f"{command}.md").write_text("\n".join(sections))


def link_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to the repository's own pages lead to those that show them on the site."""
    for file, shown in SHOWN.items():
        target = os.path.relpath(shown, Path(page).parent)
        source[0] = re.sub(rf"\]\((?:\.\./)+{re.escape(file)}(?=[)#])", f"]({target}", source[0])


ATTRIBUTES: dict[str, list[str]] = {}


def keep_attribute(app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Keep the text of an attribute from Napoleon, which takes what stands before its first colon for a type."""
    if what in ("attribute", "property"):
        ATTRIBUTES[name] = list(lines)


def restore_attribute(app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Put the kept text of an attribute back after Napoleon."""
    if name in ATTRIBUTES:
        lines[:] = ATTRIBUTES.pop(name)


def setup(app: Sphinx) -> None:
    """Make the pages of commands, and turn links, before pages are read; leave attributes as they are written."""
    app.connect("autodoc-process-docstring", keep_attribute, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-docstring", restore_attribute, priority=600)
    app.connect("builder-inited", write_command_pages)
    app.connect("source-read", link_to_pages)
