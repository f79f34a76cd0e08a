"""Controller files written by hand, with a right checksum whatever their content: as a faulty program could."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import safetensors.torch
import torch

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8", torch.int32: "I32"}


def write_text_by_hand(path: Path, text: str, tensors: dict[str, torch.Tensor], version: str = "2") -> None:
    # The checksum as the docstring of policies/files/tensor_file.py tells it, written a second time.
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        dtype = [] if version == "1" else [NAMES.get(tensor.dtype, "other")]
        digest.update(json.dumps([name, *dtype, list(tensor.shape)]).encode() + tensor.numpy().tobytes())
    header = {"format": "metarl-controller", "version": version, "content": text, "checksum": digest.hexdigest()}
    if version == "3":
        del header["content"]
        stream = zlib.compress(text.encode() + b"\n" + safetensors.torch.save(tensors))
        tensors = {"deflated": torch.frombuffer(bytearray(stream), dtype=torch.uint8)}
    path.write_bytes(safetensors.torch.save(tensors, {"metarl": json.dumps(header)}))
