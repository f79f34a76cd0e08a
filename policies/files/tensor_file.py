"""Tensors with a JSON text in one safetensors file that tells what it is and whether it is whole.

The file's own metadata holds one string, ``metarl``, a JSON object of four: ``format`` and ``version`` tell what the
file is, ``content`` is the JSON text, and ``checksum`` the SHA-256 over that text and the tensors. (One string, because
safetensors writes several in random order; so the same content gives the same bytes.) Reading a file never runs
anything in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarl.core.atomic import write_atomically

HEADER = "metarl"


@dataclass(frozen=True)
class FileKind:
    """What a file is for: ``noun`` in a sentence, ``format`` in the file, and the version that is written."""

    noun: str
    format: str
    version: int


class NewerVersion(ValueError):
    """A file that a later metarl wrote."""


def write_tensors(path: Path, kind: FileKind, content: str, tensors: dict[str, Tensor]) -> None:
    """Writes float32 tensors and a JSON text in one stroke; ValueError if the file cannot be written."""
    # Copies, because a safetensors file takes no views that share memory.
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    header = {
        "format": kind.format,
        "version": str(kind.version),
        "content": content,
        "checksum": _checksum(content, copies),
    }
    write_atomically(path, safetensors.torch.save(copies, {HEADER: json.dumps(header, sort_keys=True)}))


def read_tensors(path: Path, kind: FileKind) -> tuple[str, dict[str, Tensor]]:
    """The JSON text and the tensors of a file.

    ValueError says what is wrong with it: missing, damaged, altered, another program's; NewerVersion if it is that.
    """
    with _opened(path, kind) as file:
        content, checksum = _header(kind, file.metadata() or {})
        tensors = {name: _tensor(file, name) for name in sorted(file.keys())}
    if _checksum(content, tensors) != checksum:
        raise ValueError(f"the {kind.noun} was altered or damaged: its checksum does not match")
    return content, tensors


@contextmanager
def _opened(path: Path, kind: FileKind) -> Iterator[Any]:
    """ValueError if it is no safetensors file."""
    try:
        path.open("rb").close()  # safetensors does not say why it cannot open a file
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a {kind.noun}, or a truncated one ({error})") from None
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except IsADirectoryError:
        raise ValueError("this is a folder, not a file") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def _header(kind: FileKind, strings: dict[str, str]) -> tuple[str, str]:
    """The JSON text and the checksum."""
    try:
        header = json.loads(strings.get(HEADER, "{}"))
    except (ValueError, RecursionError):
        raise ValueError(f"the {kind.noun}'s header is not JSON") from None
    if not isinstance(header, dict) or header.get("format") != kind.format:
        raise ValueError(f"not a {kind.noun} of metarl, but another safetensors file")
    version = header.get("version", "")
    if not (
        isinstance(version, str) and version.isascii() and version.isdigit() and len(version) < 10 and int(version) >= 1
    ):
        raise ValueError(f"the {kind.noun}'s format version must be a whole number from 1, got {version!r}")
    if int(version) > kind.version:
        raise NewerVersion(
            f"the {kind.noun} has format version {version}, this metarl reads up to {kind.version}: upgrade it"
        )
    for name in ("content", "checksum"):
        if not isinstance(header.get(name), str):
            raise ValueError(f"the {kind.noun}'s header lacks '{name}'")
    return header["content"], header["checksum"]


def _tensor(file: Any, name: str) -> Tensor:
    """A copy in memory of its own, so that the file may change or go."""
    dtype = file.get_slice(name).get_dtype()
    if dtype != "F32":
        raise ValueError(f"the tensor '{name}' must be F32, got {dtype}")
    tensor: Tensor = file.get_tensor(name).clone()
    return tensor


def _checksum(content: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256, hexadecimal, over the JSON, then every tensor's name, shape and little-endian float32 bytes, by name."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        digest.update(json.dumps([name, list(tensors[name].shape)]).encode())
        digest.update(tensors[name].numpy().astype("<f4").tobytes())
    return digest.hexdigest()
