"""A patch: what of a controller's numbers changes, for a robot that has the controller already.

The content is one JSON object. ``base`` and ``outcome`` are the first half of the SHA-256 over network and parameters
before and after. ``coding`` has a letter for each parameter in the order of their names: ``.`` unchanged, ``s`` for
some numbers, ``w`` for all of them. ``facts`` is the server's record of the update.

The tensors, each left out if it would be empty:

* ``positions`` uint8: where numbers change among those of the parameters ``s`` one after the other, by ``rice.encode``;
  ``values`` float32 [n]: what they are after the patch.
* ``whole`` float32: the numbers of the parameters ``w``, one after the other.

New numbers and not differences, so that the outcome is the same to the last bit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.validation import plain_json
from metarl.policies.compression.masks import is_mask
from metarl.policies.files.controller_file import PATCH, described_network
from metarl.policies.files.rice import Positions, decode, encode
from metarl.policies.files.tensor_file import checksum, read_tensors, write_tensors
from metarl.policies.networks.network import Network, Parameters

UNCHANGED, SOME, WHOLE = ".", "s", "w"
DIGEST = re.compile("[0-9a-f]{32}")
NUMBER_BITS = 32
KEYS = {"base", "outcome", "coding", "facts"}


@dataclass(frozen=True)
class Patch:
    """The change of a controller's numbers."""

    base: str  # the digest of the parameters before
    outcome: str  # and after
    coding: str  # a letter for each parameter in the order of the names
    positions: Positions  # [n] among the numbers of the parameters that change in part
    values: NDArray[np.float32]  # [n] after the patch
    whole: NDArray[np.float32]  # of the parameters that change as a whole
    facts: Mapping[str, Any]  # the server's record

    @property
    def changed(self) -> int:
        """The count of numbers that the patch writes."""
        return len(self.values) + len(self.whole)


def digest(network: Network, parameters: Parameters) -> str:
    """Return what tells these parameters from others: 32 hexadecimal digits."""
    return checksum(PATCH.version, json.dumps(described_network(network), sort_keys=True), parameters)[:32]


def difference(network: Network, old: Parameters, new: Parameters, facts: Mapping[str, Any]) -> Patch:
    """Return the patch that makes the new parameters out of the old ones, to the last bit.

    A parameter is sent whole if it takes fewer bits than the changed numbers with about a bit for the place of each.

    Args:
        network: The network of both.
        old: The parameters that robots have.
        new: Those that they are to have.
        facts: A record of the update, plain JSON.

    Raises:
        Refusal: If they differ in more than numbers.
    """
    _check_same(old, new)
    letters, some_old, some_new, whole = [], [np.zeros(0, np.float32)], [np.zeros(0, np.float32)], []
    for name in sorted(old):
        before, after = _flat(old[name]), _flat(new[name])
        changed = np.count_nonzero(_bits(before) != _bits(after))
        whole_is_shorter = NUMBER_BITS * (len(after) - changed) < len(after)
        letters.append(UNCHANGED if not changed else WHOLE if whole_is_shorter else SOME)
        if letters[-1] == SOME:
            some_old.append(before)
            some_new.append(after)
        elif letters[-1] == WHOLE:
            whole.append(after)
    before, after = np.concatenate(some_old), np.concatenate(some_new)
    positions = np.flatnonzero(_bits(before) != _bits(after)).astype(np.int64)
    numbers = np.concatenate([np.zeros(0, np.float32), *whole])
    coding = "".join(letters)
    return Patch(digest(network, old), digest(network, new), coding, positions, after[positions], numbers, facts)


def patched(network: Network, parameters: Parameters, patch: Patch) -> Parameters:
    """Return the parameters after a patch; those that it does not change are shared.

    Raises:
        Refusal: If the patch is for other parameters, has been applied already, or is damaged.
    """
    own = digest(network, parameters)
    if own != patch.base:
        if own == patch.outcome:
            raise Refusal("the patch has been applied to this controller already")
        raise Refusal(
            f"the patch is for a controller with the digest {patch.base}, and this one has {own}: patches are applied "
            "in the order in which they were made, to controllers that have not been adapted"
        )
    names, new = sorted(parameters), dict(parameters)
    _write_some(new, [name for name, letter in zip(names, patch.coding, strict=True) if letter == SOME], patch)
    _write_whole(new, [name for name, letter in zip(names, patch.coding, strict=True) if letter == WHOLE], patch)
    if digest(network, new) != patch.outcome:
        raise Refusal("the patch was altered or damaged: its outcome is not what it says")
    return new


def write_patch(path: Path, patch: Patch) -> None:
    """Write a patch's file in one stroke; raise Refusal if it exists already or cannot be written."""
    if path.exists():
        raise Refusal(f"{path} exists already and is not overwritten: choose another name")
    content = {"base": patch.base, "outcome": patch.outcome, "coding": patch.coding, "facts": dict(patch.facts)}
    tensors: dict[str, NDArray[Any]] = {"values": patch.values, "whole": patch.whole}
    tensors["positions"] = encode(patch.positions)
    filled = {name: torch.from_numpy(each) for name, each in tensors.items() if len(each)}
    write_tensors(path, PATCH, json.dumps(plain_json(content), sort_keys=True), filled)


def read_patch(path: Path, network: Network, parameters: Parameters) -> Patch:
    """Return the patch of a file, for the controller with these parameters; raise Refusal if it cannot be used."""
    try:
        content, tensors = read_tensors(path, PATCH)
        return _from_file(content, tensors, parameters)
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from None


def _from_file(text: str, tensors: dict[str, Tensor], parameters: Parameters) -> Patch:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("the patch's content is not JSON") from None
    if not isinstance(content, dict) or content.keys() != KEYS or not isinstance(content["facts"], dict):
        raise Refusal(f"the patch's content must be an object of {', '.join(sorted(KEYS))}")
    base, outcome, coding = content["base"], content["outcome"], content["coding"]
    if not all(isinstance(each, str) and DIGEST.fullmatch(each) for each in (base, outcome)):
        raise Refusal("the patch's digests must be 32 hexadecimal digits")
    if not isinstance(coding, str) or set(coding) - {UNCHANGED, SOME, WHOLE}:
        raise Refusal("the patch's coding must be letters, one of '.', 's' and 'w' for each parameter")
    if len(coding) != len(parameters):
        raise Refusal(
            f"the patch is for another controller: of {len(coding)} parameters, and this one has {len(parameters)}"
        )
    values, whole = (_vector(tensors, name, torch.float32) for name in ("values", "whole"))
    code = _vector(tensors, "positions", torch.uint8)
    some = (name for name, letter in zip(sorted(parameters), coding, strict=True) if letter == SOME)
    positions = decode(code, len(values), sum(parameters[name].numel() for name in some))
    return Patch(base, outcome, coding, positions, values, whole, content["facts"])


def _vector(tensors: dict[str, Tensor], name: str, dtype: torch.dtype) -> NDArray[Any]:
    tensor = tensors.get(name, torch.zeros(0, dtype=dtype))
    if tensor.dtype != dtype or tensor.dim() != 1:
        raise Refusal(f"the patch's '{name}' must be a vector of {dtype}")
    return np.asarray(tensor.numpy())


def _write_some(new: Parameters, names: list[str], patch: Patch) -> None:
    """Put the values into their places, touching no others."""
    start = 0
    for name in names:
        size = new[name].numel()
        first, last = np.searchsorted(patch.positions, [start, start + size])
        tensor = new[name].clone()
        places = torch.from_numpy(patch.positions[first:last] - start)
        tensor.view(-1)[places] = torch.from_numpy(patch.values[first:last])
        new[name], start = tensor, start + size


def _write_whole(new: Parameters, names: list[str], patch: Patch) -> None:
    sizes = [new[name].numel() for name in names]
    if sum(sizes) != len(patch.whole):
        raise Refusal(f"the patch has {len(patch.whole)} numbers of whole parameters, and they have {sum(sizes)}")
    parts = torch.from_numpy(patch.whole).split(sizes)
    new.update({name: part.reshape(new[name].shape).clone() for name, part in zip(names, parts, strict=True)})


def _check_same(old: Parameters, new: Parameters) -> None:
    if old.keys() != new.keys():
        raise Refusal(f"the controllers differ in their parameters: {', '.join(sorted(old.keys() ^ new.keys()))}")
    for name, before in old.items():
        after = new[name]
        if before.shape != after.shape or before.dtype != after.dtype:
            raise Refusal(f"the controllers differ in the shape of '{name}': {[*before.shape]} and {[*after.shape]}")
        if before.dtype != torch.float32:
            raise Refusal(f"a patch changes float32 alone, and '{name}' is {before.dtype}")
        if is_mask(name) and not torch.equal(before, after):
            raise Refusal("the controllers are pruned in different places, which a patch does not change")


def _flat(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy()).reshape(math.prod(tensor.shape))


def _bits(numbers: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the numbers' bits, which tell -0 from +0."""
    return numbers.view(np.uint32)
