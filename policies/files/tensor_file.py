"""Tensors with a JSON text in one safetensors file that tells what it is and whether it is whole.

The file's own metadata holds one string, ``metarl``, a JSON object of four: ``format`` and ``version`` tell what the
file is, ``content`` is the JSON text, and ``checksum`` the SHA-256 over that text and the tensors. (One string, because
safetensors writes several in random order; now the same content gives the same bytes.) Reading a file never runs
anything in it.

Every tensor keeps its own type, one of ``DTYPES``. Bits are packed into uint8, eight to a byte with the lowest bit
first, because safetensors spends a byte on each bool. Version 1 of every format held float32 alone, and its checksum
leaves the types out. A kind may have deflated files, by a version of their own (controllers: 3). Their header has no
``content``, and they hold one tensor, ``deflated``, uint8: zlib's stream of the JSON text, a line feed, and the tensors
as safetensors writes them without metadata.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal

HEADER = "metarl"
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8", torch.int32: "I32"}
# Far above what any network needs; a file beyond them is refused before anything is built from it.
MAX_CONTENT, MAX_TENSORS = 2**20, 10_000
DEFLATED, MAX_INFLATED = "deflated", 2**28  # the tensor of a deflated file, and the bytes that it may hold


@dataclass(frozen=True)
class FileKind:
    """What a file is for: its noun in a sentence, its format's name, the version written and the oldest one read.

    ``newest`` is the version of deflated files, if there are any.
    """

    noun: str
    format: str
    version: int
    oldest: int = 1
    newest: int | None = None


class NewerVersion(Refusal):
    """A file that a later metarl wrote."""


def write_tensors(path: Path, kind: FileKind, content: str, tensors: dict[str, Tensor], deflate: bool = False) -> None:
    """Write tensors and an ASCII JSON text in one stroke.

    Raise ValueError if a tensor's type is none of ``DTYPES``, or if the file cannot be written.

    Args:
        path: The file to write.
        kind: What it is for.
        content: The JSON text.
        tensors: The tensors by name.
        deflate: Whether content and tensors are deflated, if they are small enough to be read back.
    """
    if len(content) > MAX_CONTENT:
        raise Refusal(f"the {kind.noun} has {len(content)} characters of metadata, at most {MAX_CONTENT} are allowed")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise Refusal(f"the tensor '{name}' must have {_one_of(DTYPES.values())}, got {tensor.dtype}")
    # Copies, because a safetensors file takes no views that share memory.
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    header = {
        "format": kind.format,
        "version": str(kind.version),
        "content": content,
        "checksum": checksum(kind.version, content, copies),
    }
    if deflate and kind.newest is not None:
        plain = content.encode() + b"\n" + safetensors.torch.save(copies)
        if len(plain) <= MAX_INFLATED:
            del header["content"]
            header["version"] = str(kind.newest)
            copies = {DEFLATED: torch.frombuffer(bytearray(zlib.compress(plain, 9)), dtype=torch.uint8)}
    write_atomically(path, safetensors.torch.save(copies, {HEADER: json.dumps(header, sort_keys=True)}))


def read_tensors(path: Path, kind: FileKind) -> tuple[str, dict[str, Tensor]]:
    """Return the JSON text and the tensors of a file.

    Raise NewerVersion if a later metarl wrote it, and ValueError if it is missing, damaged, altered, another program's
    or absurdly large.
    """
    with _opened(path, kind) as file:
        header = _header(kind, file.metadata() or {})
        version, names = int(header["version"]), sorted(file.keys())
        _check_number(kind, names)
        tensors = {name: _tensor(file, name, version) for name in names}
    content = header.get("content", "")
    if version == kind.newest:
        content, tensors = _inflated(kind, tensors)
        _check_number(kind, tensors)
    if checksum(version, content, tensors) != header["checksum"]:
        raise Refusal(f"the {kind.noun} was altered or damaged: its checksum does not match")
    return content, tensors


def _inflated(kind: FileKind, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the JSON text and the tensors that the only tensor of a file deflates."""
    if [*tensors] != [DEFLATED] or tensors[DEFLATED].dtype != torch.uint8 or tensors[DEFLATED].dim() != 1:
        raise Refusal(f"the {kind.noun} must hold one tensor, '{DEFLATED}', uint8 of one axis")
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(tensors[DEFLATED].numpy().tobytes(), MAX_INFLATED)
        content, _, saved = plain.partition(b"\n")
        if not stream.eof or stream.unused_data or len(content) > MAX_CONTENT:
            raise Refusal(f"the {kind.noun} is truncated, or far larger than any that metarl writes")
        loaded = safetensors.torch.load(saved)
        for name, tensor in loaded.items():
            _check_type(name, DTYPES.get(tensor.dtype, str(tensor.dtype)), [*DTYPES.values()])
        return content.decode("ascii"), loaded
    except (zlib.error, safetensors.SafetensorError, UnicodeDecodeError, KeyError) as error:
        raise Refusal(f"the {kind.noun} is damaged ({error})") from None


def _check_number(kind: FileKind, names: Collection[str]) -> None:
    if len(names) > MAX_TENSORS:
        raise Refusal(f"the {kind.noun} has {len(names)} tensors, at most {MAX_TENSORS} are allowed")


@contextmanager
def _opened(path: Path, kind: FileKind) -> Iterator[Any]:
    try:
        path.open("rb").close()  # safetensors does not say why it cannot open a file
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise Refusal(f"not a {kind.noun}, or a truncated one ({error})") from None
    except FileNotFoundError:
        raise Refusal("there is no such file") from None
    except IsADirectoryError:
        raise Refusal("this is a folder, not a file") from None
    except OSError as error:
        raise Refusal(f"cannot be read: {error.strerror or error}") from None


def _header(kind: FileKind, strings: dict[str, str]) -> dict[str, str]:
    """Return the entries of the header, the version a whole number that this metarl reads."""
    text = strings.get(HEADER, "{}")
    if len(text) > 2 * MAX_CONTENT:  # every quote of the content has a backslash before it
        raise Refusal(f"the {kind.noun}'s header has {len(text)} characters, more than any that metarl writes")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(f"the {kind.noun}'s header is not JSON") from None
    written = header.get("format") if isinstance(header, dict) else None
    if written != kind.format:
        if isinstance(written, str) and written.startswith("metarl-"):
            raise Refusal(f"this is a {written.removeprefix('metarl-')} of metarl, and a {kind.noun} is needed here")
        raise Refusal(f"not a {kind.noun} of metarl, but another safetensors file")
    version = header.get("version", "")
    if not (isinstance(version, str) and version.isascii() and version.isdigit() and len(version) < 10):
        raise Refusal(f"the {kind.noun}'s format version must be a whole number from 1, got {version!r:.40}")
    if int(version) < kind.oldest:
        raise Refusal(f"the {kind.noun} has format version {int(version)}, this metarl reads from {kind.oldest} on")
    newest = kind.newest or kind.version
    if int(version) > newest:
        raise NewerVersion(
            f"the {kind.noun} has format version {version}, this metarl reads up to {newest}: upgrade it"
        )
    for name in ("checksum",) if int(version) == kind.newest else ("content", "checksum"):
        if not (isinstance(header.get(name), str) and header[name].isascii()):
            raise Refusal(f"the {kind.noun}'s header lacks '{name}' as ASCII text")
    return dict(header)


def _tensor(file: Any, name: str, version: int) -> Tensor:
    """Return a copy in memory of its own, so that the file may change or go."""
    dtype = file.get_slice(name).get_dtype()
    allowed = ["F32"] if version == 1 else list(DTYPES.values())
    _check_type(name, dtype, allowed)
    tensor: Tensor = file.get_tensor(name).clone()
    return tensor


def _check_type(name: str, dtype: str, allowed: Collection[str]) -> None:
    if dtype not in allowed:
        raise Refusal(f"the tensor '{name}' must have {_one_of(allowed)}, got {dtype}")


def checksum(version: int, content: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256, hexadecimal, over the JSON text, then over each tensor in the order of the names.

    Of a tensor, the JSON list of its name, type (left out in version 1) and shape counts, then its little-endian bytes.
    """
    digest = hashlib.sha256(content.encode())
    for name, tensor in sorted(tensors.items()):
        dtype = [] if version == 1 else [DTYPES[tensor.dtype]]
        digest.update(json.dumps([name, *dtype, list(tensor.shape)]).encode())
        array = tensor.numpy()
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _one_of(dtypes: Iterable[str]) -> str:
    return f"the type {' or '.join(dtypes)}"
