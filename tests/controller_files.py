"""Controller files written by hand, with a right checksum whatever their content: as a faulty program could."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch


def write_text_by_hand(path: Path, text: str, tensors: dict[str, torch.Tensor], version: str = "1") -> None:
    # The checksum as the docstring of policies/tensor_file.py tells it, written a second time.
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, list(tensor.shape)]).encode() + tensor.numpy().tobytes())
    header = {"format": "metarl-controller", "version": version, "content": text, "checksum": digest.hexdigest()}
    path.write_bytes(safetensors.torch.save(tensors, {"metarl": json.dumps(header)}))
