"""The name under which metarl is installed, which is not the one under which it is imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

# "metarl" belongs to another author's package in the public registry.
DISTRIBUTION = "metarl-adapt"
OTHER = "metarl"


def install_command(extra: str) -> str:
    """Return what to type to get metarl with one of its extras."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def clash() -> str | None:
    """Return a sentence if the other package is installed too, None otherwise.

    Both write into a folder ``metarl``, and the one that was installed last has replaced files of the first.
    """
    try:
        other = distribution(OTHER)
    except PackageNotFoundError:
        return None
    return (
        f"another package named {OTHER} ({other.version}) is installed into the same folder as {DISTRIBUTION}, and "
        f"either may have replaced files of the other: pip uninstall {OTHER}, then pip install --force-reinstall "
        f"--no-deps {DISTRIBUTION}"
    )
