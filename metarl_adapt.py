"""Start the command ``metarl``, or say why it cannot start.

It stands beside the package because the other author's ``metarl``, if it is installed later, replaces
``metarl/__init__.py``: then nothing inside the package is reached.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the command of the words in ``sys.argv``; return its exit code, 2 if another package replaced its files."""
    sentence = clash()
    try:
        from metarl.experiments.cli import main as run
    except Exception:  # whatever the other package's files raise
        if sentence is None:
            raise
        print(f"metarl: {sentence}", file=sys.stderr)
        return 2
    if sentence is not None:
        print(f"metarl: warning: {sentence}", file=sys.stderr)
    return run()


def clash() -> str | None:
    """Return a sentence if a package named ``metarl`` is installed too, None otherwise.

    The names of folders are read, because importlib.metadata would lengthen the start of every command.
    """
    found = [each for entry in sys.path for each in Path(entry).glob("metarl-*.dist-info")]
    if not found:
        return None
    version = found[0].name.removesuffix(".dist-info").partition("-")[2]
    return (
        f"a package named metarl ({version}) is installed beside metarl-adapt and writes into the same folder, so that "
        "either may have replaced files of the other: pip uninstall metarl, then pip install --force-reinstall "
        "--no-deps metarl-adapt"
    )
