"""The messages of a round as bytes: safetensors with a JSON header, checked before anything is believed.

A broadcast holds ``integers`` uint8 (the packed integers of the quantized parameters one after the other), ``scales``
float32 (one for each) and ``floats`` float32 (all other parameters), each in the order of the names. A reply holds
``update`` float32, the numbers of the trained parameters in the order of the names. The layout is not sent again.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.fleet.federated.weights import ClientWeights, Layout
from metarl.policies.networks.network import Parameters

MOST_BYTES = 2**31 - 1
HEADER_LENGTH = 8


@dataclass(frozen=True)
class ReplyHeader:
    """What a reply says beside its numbers."""

    round: int
    digest: str  # of the broadcast that it answers
    examples: int  # what the client's update counts for
    score: float  # of the client before its update: the share of right labels, or the return after adaptation
    moved: float  # the share of quantized weights whose integer the client has changed; 0 without steps of its own


class Reply(NamedTuple):
    """An update, checked."""

    header: ReplyHeader
    update: Tensor  # [number]


class Broken(Refusal):
    """A reply that cannot be used; ``fault`` is the word that it is counted under."""

    def __init__(self, fault: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


def broadcast(weights: ClientWeights, number: int) -> bytes:
    """Return the message that opens round ``number``."""
    layout = weights.layout
    tensors = {"floats": flat([weights.floats[name] for name in layout.floats])}
    if layout.quantized:
        tensors["integers"] = torch.cat([weights.packed[name] for name in layout.quantized])
        tensors["scales"] = torch.stack([weights.scales[name] for name in layout.quantized])
    return safetensors.torch.save(tensors, {"metarl": json.dumps({"round": number, "bits": layout.bits})})


def read_broadcast(message: bytes, layout: Layout) -> tuple[int, ClientWeights]:
    """Return the round and the weights; raise Refusal if the message is not one of this layout."""
    header, tensors = opened(message)
    if not isinstance(header.get("round"), int) or header.get("bits") != layout.bits:
        raise Refusal(f"the broadcast is not one of a federation with {layout.bits} bits")
    shapes = {name: tuple(layout.shapes[name]) for name in layout.floats}
    sizes = [layout.packed_bytes(name) for name in layout.quantized]
    wanted = {"floats": (sum(map(math.prod, shapes.values())), torch.float32)}
    if sizes:
        wanted |= {"integers": (sum(sizes), torch.uint8), "scales": (len(sizes), torch.float32)}
    found = {name: (tensor.numel(), tensor.dtype) for name, tensor in tensors.items()}
    if found != wanted:
        raise Refusal("the broadcast has other numbers than the model that was agreed on")
    parts = tensors["integers"].split(sizes) if sizes else ()
    scales = tensors["scales"].unbind() if sizes else ()
    weights = ClientWeights(
        layout,
        dict(zip(layout.quantized, parts, strict=True)),
        dict(zip(layout.quantized, scales, strict=True)),
        named(tensors["floats"], shapes),
    )
    return header["round"], weights


def reply(header: ReplyHeader, update: Parameters, layout: Layout) -> bytes:
    """Return a client's answer."""
    tensors = {"update": flat([update[name] for name in layout.trained])}
    return safetensors.torch.save(tensors, {"metarl": json.dumps(asdict(header))})


def read_reply(message: bytes | None, layout: Layout, number: int, opening: str) -> Reply:
    """Return a client's answer to round ``number``; raise Broken, with the kind of fault, if it cannot be used.

    Args:
        message: The answer, None if there was none.
        layout: What was agreed on.
        number: The round.
        opening: The digest of the round's broadcast.
    """
    if message is None:
        raise Broken("silent", "the client did not answer")
    try:
        content, tensors = opened(message)
        header = ReplyHeader(**content)
        whole = [type(each) is int for each in (header.round, header.examples)]
        fits = all(whole) and isinstance(header.digest, str) and math.isfinite(header.score + header.moved)
    except (Refusal, TypeError):
        raise Broken("damaged", "the answer cannot be read") from None
    if not fits or header.examples < 1 or tensors.keys() != {"update"}:
        raise Broken("damaged", "the answer is not that of a client")
    if (header.round, header.digest) != (number, opening):
        raise Broken("wrong round", f"the answer is for another broadcast than that of round {number}")
    update, size = tensors["update"], sum(math.prod(layout.shapes[name]) for name in layout.trained)
    if tuple(update.shape) != (size,) or update.dtype != torch.float32:
        raise Broken("wrong shape", f"the update must be {size} numbers of float32, got {list(update.shape)}")
    if not bool(torch.isfinite(update).all()):
        raise Broken("not finite", "the update holds a NaN or an infinite number")
    return Reply(header, update)


def digest(message: bytes) -> str:
    """Return what tells a broadcast from others."""
    return sha256(message).hexdigest()[:16]


def opened(message: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the tensors of a message; raise Refusal if it is none."""
    try:
        tensors = safetensors.torch.load(message)
        length = int.from_bytes(message[:HEADER_LENGTH], "little")
        strings = json.loads(message[HEADER_LENGTH : HEADER_LENGTH + length])["__metadata__"]
        header = json.loads(strings["metarl"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise Refusal("this is no message of a federated round") from None
    if not isinstance(header, dict):
        raise Refusal("this is no message of a federated round")
    return header, tensors


def flat(tensors: list[Tensor]) -> Tensor:
    """Return all numbers one after the other, as float32."""
    return torch.cat([tensor.detach().flatten().float() for tensor in tensors])


def named(numbers: Tensor, shapes: dict[str, tuple[int, ...]]) -> Parameters:
    """Return the parameters of these shapes from their numbers one after the other."""
    parts = numbers.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
