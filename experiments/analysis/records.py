"""Records of results, as JSON files in a folder of the repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal

Item = TypeVar("Item")


def read_filed(folder: Path, read: Callable[[Path, dict[str, Any]], Item], what: str) -> list[Item]:
    """Return what is read from each record below a folder, in the order of their paths.

    Args:
        folder: The folder, which need not exist.
        read: Reads a record, given its path and content.
        what: What a record is, in the sentence of a refusal: ``verdict on a pruned controller``.

    Raises:
        Refusal: A file is no such record, or no JSON.
    """
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            found.append(read(path, json.loads(path.read_text())))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Refusal(f"{path} is no {what}: {error!r}") from None
    return found


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record in one stroke."""
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
