"""Words for people: plurals, and what identifies an object."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def plural(count: int, noun: str) -> str:
    """Return the count with its noun: ``1 episode``, ``2 episodes``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def facts_as_text(name: str, facts: Mapping[str, str]) -> str:
    """Return a short ``repr``: ``<Controller: method maml, family navigation-2d>``."""
    return f"<{name}: {', '.join(f'{fact} {value}' for fact, value in facts.items())}>"


def facts_as_html(name: str, facts: Mapping[str, str]) -> str:
    """Return a small table for notebooks, with ``name`` as its caption."""
    rows = "".join(f"<tr><th>{escape(fact)}</th><td>{escape(value)}</td></tr>" for fact, value in facts.items())
    return f"<table><caption>{escape(name)}</caption>{rows}</table>"
