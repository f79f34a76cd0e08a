"""The name under which metarl is installed, which is not the one under which it is imported."""

from __future__ import annotations

# "metarl" belongs to another author's package in the public registry; metarl_adapt.py tells where both are installed.
DISTRIBUTION = "metarl-adapt"


def install_command(extra: str) -> str:
    """Return what to type to get metarl with one of its extras."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
