"""Mutate controller files at random and see that each is refused in a sentence or gives finite actions only.

The tests do this thousands of times; from the command line it runs as long as one likes, from the root of a checkout::

    PYTHONPATH=. python tests/fuzz_controllers.py --hours 2

Every file follows from the seed and its number, so what fails can be repeated.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from controller_files import write_text_by_hand

import metarl
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller

FROZEN = sorted((Path(__file__).parent / "fixtures" / "controllers").glob("version-*/*.safetensors"))
DTYPES = [torch.float16, torch.int8, torch.uint8, torch.int32, torch.float64, torch.bool, torch.int64]
EXTREMES = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, -1e20, 1e-45, 0.0, -0.0]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 10**3, 10**6, 10**9, 10**12, 2**63, 10**400, 0.5, -0.5, 1e-300, 1e30, 1e300,
    "inf", "-inf", "nan", "", "maml", "p-meta", "anil", "conv4", "gaussian-mlp", "batch", "a" * 1000, "\ud800", "\0",
    [], {}, [1], [0.0], ["inf"], [[]], [1] * 5, [5, 4], [1] * 100_000, [10**9], {"a": 1},
    {"kind": "masks", "version": 1},
    {"name": "goal_x", "low": 1, "high": 0, "unit": "", "choices": []}, float("inf"), float("nan"),
]  # fmt: skip


def mutated_bytes(path: Path, source: Path, random: np.random.Generator) -> None:
    """Flip, cut, insert or repeat some bytes."""
    content = bytearray(source.read_bytes())
    for _ in range(random.integers(1, 4)):
        start, stop = np.sort(random.integers(0, len(content) + 1, 2))
        match random.integers(5):
            case 0:
                content[min(start, len(content) - 1)] ^= 1 << int(random.integers(8))
            case 1:
                del content[start : min(stop, start + 50)]
            case 2:
                content[start:start] = random.bytes(int(random.integers(1, 20)))
            case 3:
                content[start:start] = content[start : min(stop, start + 50)]
            case 4:
                del content[max(start, 1) :]
    path.write_bytes(content)


def mutated_header(path: Path, source: Path, random: np.random.Generator) -> None:
    """Change an entry of the JSON header that safetensors itself reads."""
    content = source.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    strings = json.loads(header["__metadata__"]["metarl"])
    if random.integers(2):
        mutate(strings, random)
        header["__metadata__"]["metarl"] = json.dumps(strings)
    else:
        mutate(header, random)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def mutated_fields(path: Path, source: Path, random: np.random.Generator) -> None:
    """Change the metadata or the network, with a right checksum: as a faulty program or a stranger could write them."""
    content, tensors, version = parts(source)
    for _ in range(random.integers(1, 3)):
        mutate(content, random)
    write_text_by_hand(path, json.dumps(content), tensors, version)


def mutated_tensors(path: Path, source: Path, random: np.random.Generator) -> None:
    """Change numbers, types, shapes or names of tensors, with a right checksum."""
    content, tensors, version = parts(source)
    for _ in range(random.integers(1, 4)):
        name = str(random.choice(sorted(tensors)))
        tensor = tensors.pop(name)
        match random.integers(6):
            case 0:
                tensors[name] = tensor.to(DTYPES[random.integers(len(DTYPES))])
            case 1:
                tensors[name] = tensor.reshape(-1)[: int(random.integers(tensor.numel() + 1))].clone()
            case 2:
                tensors[str(random.choice([name + ".x", "", "layer9.weight", "step_sizes", "patch"]))] = tensor
            case 3:
                tensors[name] = tensor * float(random.choice([-1.0, 0.0, 1e10, 1e38]))
            case _ if tensor.numel():
                flat = tensor.double().reshape(-1).clone()
                flat[int(random.integers(len(flat)))] = float(random.choice(EXTREMES))
                tensors[name] = flat.reshape(tensor.shape).to(tensor.dtype)
        if not tensors:
            tensors[name] = tensor
    write_text_by_hand(path, json.dumps(content), tensors, version)


MUTATIONS: dict[str, Callable[[Path, Path, np.random.Generator], None]] = {
    "bytes": mutated_bytes,
    "header": mutated_header,
    "fields": mutated_fields,
    "tensors": mutated_tensors,
}


def parts(source: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], str]:
    """Return the content, the tensors and the format's version of a file, read without metarl."""
    with safetensors.safe_open(source, framework="pt") as file:
        header = json.loads(file.metadata()["metarl"])
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    if header["version"] == "3":
        text, _, saved = zlib.decompress(tensors["deflated"].numpy().tobytes()).partition(b"\n")
        return json.loads(text), safetensors.torch.load(saved), "3"
    return json.loads(header["content"]), tensors, header["version"]


def mutate(content: dict[str, Any], random: np.random.Generator) -> None:
    """Replace, remove, rename or add a value somewhere inside a JSON object."""
    inside: Any = content
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = keys[random.integers(len(keys))]
        if isinstance(inside[key], dict | list) and inside[key] and random.integers(3):
            inside = inside[key]
            continue
        value = deepcopy(VALUES[random.integers(len(VALUES))])
        match random.integers(8):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[str(random.choice(["x", "compression", "kind", "width"]))] = value
            case 1:
                inside.append(value)
            case 2 if isinstance(inside[key], float):
                inside[key] *= float(random.choice([-1, 0.5, 2, 1e6, 1e300]))
            case 3 if isinstance(inside[key], int) and not isinstance(inside[key], bool):
                inside[key] += int(random.choice([-2, -1, 1, 8]))
            case _:
                inside[key] = value
        return


def outcome(path: Path, source: Path, random: np.random.Generator) -> str:
    """Return ``refused``, ``unchanged`` or ``altered``; what loads must act and adapt in finite numbers."""
    try:
        loaded = metarl.load(path)
    except ValueError:
        return "refused"
    original = metarl.load(source)
    same = loaded.parameters.keys() == original.parameters.keys() and all(
        torch.equal(tensor, original.parameters[name]) for name, tensor in loaded.parameters.items()
    )
    if same and type(loaded) is type(original) and described(loaded) == described(original):
        return "unchanged"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflows, which the checks after them name
        try_controller(loaded, random) if isinstance(loaded, Controller) else try_classifier(loaded, random)
    return "altered"


def described(loaded: Controller | Classifier) -> tuple[Any, Any]:
    return asdict(loaded.metadata), asdict(loaded.network)


def try_controller(controller: Controller, random: np.random.Generator) -> None:
    size, actions = controller.network.observation_size, controller.network.action_size
    low = np.array(controller.metadata.action_low, np.float32)
    high = np.array(controller.metadata.action_high, np.float32)
    chooses = controller.network.choices is not None
    for scale in (0.0, 1.0, 1e30):
        for deterministic in (True, False):
            observations = scale * random.standard_normal((2, size))
            try:
                action, _ = controller.predict(observations, None, None, deterministic, random)
            except ValueError:
                continue
            assert action.shape == ((2,) if chooses else (2, actions)) and np.isfinite(action).all(), action
            assert ((low <= action) & (action <= high)).all(), action
    episode = {
        "observations": random.standard_normal((4, size)),
        "actions": controller.network.random_actions(random, 4),
        "rewards": random.standard_normal(4),
    }
    try:
        adapted = controller.adapt([episode, episode])
    except ValueError:
        return
    assert all(bool(torch.isfinite(tensor).all()) for tensor in adapted.parameters.values())


def try_classifier(classifier: Classifier, random: np.random.Generator) -> None:
    side, ways = classifier.network.side, classifier.network.ways
    images = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    try:
        assert all(0 <= label < ways for label in classifier.predict(images))
        if classifier.metadata.inner_steps <= 3:
            adapted = classifier.adapt(images, random.integers(0, ways, 2))
            assert all(bool(torch.isfinite(tensor).all()) for tensor in adapted.parameters.values())
    except ValueError:
        return


def fuzz(seed: int, first: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the kind of mutation and the outcome of one file after the other, without end."""
    with tempfile.TemporaryDirectory() as folder:
        path, number = Path(folder, "fuzzed.safetensors"), first
        while True:
            random = np.random.default_rng([seed, number])
            kind = list(MUTATIONS)[number % len(MUTATIONS)]
            source = FROZEN[random.integers(len(FROZEN))]
            try:
                MUTATIONS[kind](path, source, random)
                yield kind, outcome(path, source, random)
            except Exception as error:
                raise AssertionError(f"seed {seed}, file {number}: {kind} of {source}") from error
            number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the file to begin with")
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + 3600 * arguments.hours
    for result in fuzz(arguments.seed, arguments.first):
        counts[result] += 1
        if time.monotonic() > end:
            break
    for kind in MUTATIONS:
        print(kind, *(f"{counts[kind, what]} {what}" for what in ("refused", "unchanged", "altered")))


if __name__ == "__main__":
    main()
