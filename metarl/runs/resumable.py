"""A folder of work in rounds, which goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal


def opened(out: Path, name: str, config: dict[str, Any], what: str) -> bool:
    """Make the folder and return False, or True if it holds one of the same settings already.

    Args:
        out: The folder.
        name: The file of the settings.
        config: The settings, and what the work is on.
        what: What the folder holds, in the sentence of a refusal: ``pruning``.

    Raises:
        Refusal: The folder holds something else.
    """
    content = json.loads(json.dumps(config, sort_keys=True, default=str))
    if (out / name).is_file():
        if json.loads((out / name).read_text()) != content:
            raise Refusal(f"{out} holds a {what} with other settings or of another controller: choose another folder")
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refusal(f"{out} exists already and is not the folder of a {what}: choose another one")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / name, content)
    return False


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON in one stroke."""
    write_atomically(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
