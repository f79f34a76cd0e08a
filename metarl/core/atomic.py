"""Write files that are either whole or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from metarl.core.errors import Refusal

_PREFIX, _SUFFIX = ".metarl-", ".tmp"


class CannotWrite(Refusal):
    """A file that could not be written: no space, no permission, no such folder."""


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Put a file in place at once: every reader of ``path`` finds the old content or the new, even after a power cut.

    ``content`` may be an iterable of chunks that are written one after the other, for files larger than memory. Raise
    CannotWrite with the reason if the file cannot be written, and let through what the iterable raises; the old file
    then stays.
    """
    # In the same folder, because a file can only be renamed within one file system. The user's umask applies to it.
    temporary = path.parent / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    with _explained(path):
        file = open(temporary, "xb")  # noqa: SIM115 - closed below, where a second failure of a full disk is no news
    try:
        # The kernel releases the lock when the process ends in whatever way: see remove_stale.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        for chunk in [content] if isinstance(content, bytes) else content:
            with _explained(path):
                file.write(chunk)
        with _explained(path):
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.close()
    _sync_folder(path.parent)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder; those of living writers stay."""
    for temporary in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError), open(temporary, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
