"""Patches: the outcome to the last bit, and what is refused with the controller as it was."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import MASK, masked
from metarl.policies.controller import Controller
from metarl.policies.files import patch as module
from metarl.policies.files.controller_file import PATCH
from metarl.policies.files.patch import Patch, difference, patched, read_patch, write_patch
from metarl.policies.files.tensor_file import read_tensors, write_tensors
from metarl.policies.loading import load_controller
from metarl.policies.updates import apply_patch, update_file


@pytest.fixture
def base() -> Controller:
    return load_controller("navigation-2d/maml")


def changed(controller: Controller, share: float = 0.05, seed: int = 0) -> Controller:
    """Some weights of the middle layer, all biases of the first, and a zero that becomes -0."""
    random = torch.Generator().manual_seed(seed)
    weight = controller.parameters["layer2.weight"].clone()
    places = torch.rand(weight.shape, generator=random) < share
    weight[places] = torch.randn(int(places.sum()), generator=random)
    weight[0, 0] = -0.0
    bias = controller.parameters["layer1.bias"] + 1
    return replace(controller, parameters=controller.parameters | {"layer2.weight": weight, "layer1.bias": bias})


def assert_same_bits(one: Controller, other: Controller) -> None:
    assert one.parameters.keys() == other.parameters.keys()
    for name, tensor in one.parameters.items():
        assert tensor.numpy().tobytes() == other.parameters[name].numpy().tobytes()


def written(tmp_path: Path, old: Controller, new: Controller) -> Path:
    path = tmp_path / "r1.patch"
    write_patch(path, difference(old.network, old.parameters, new.parameters, {"round": 1}))
    return path


def test_the_outcome_is_the_servers_to_the_last_bit(base: Controller, tmp_path: Path) -> None:
    new = changed(base)
    path = written(tmp_path, base, new)
    assert_same_bits(apply_patch(base, path), new)
    patch = read_patch(path, base.network, base.parameters)
    assert dict(zip(sorted(base.parameters), patch.coding, strict=True)) == {
        "layer1.bias": "w",
        "layer1.weight": ".",
        "layer2.bias": ".",
        "layer2.weight": "s",
        "layer3.bias": ".",
        "layer3.log_std": ".",
        "layer3.weight": ".",
        "step_sizes": ".",
    }
    assert patch.facts == {"round": 1} and patch.changed == len(patch.values) + 100
    # 4 bytes for each number, under a byte for its place, and the header.
    assert path.stat().st_size < 5 * patch.changed + 800


def test_numbers_that_a_patch_leaves_alone_are_not_copied(base: Controller, tmp_path: Path) -> None:
    outcome = apply_patch(base, written(tmp_path, base, changed(base)))
    shared = {name for name in base.parameters if outcome.parameters[name] is base.parameters[name]}
    assert shared == base.parameters.keys() - {"layer1.bias", "layer2.weight"}


def test_a_patch_of_no_change(base: Controller, tmp_path: Path) -> None:
    patch = difference(base.network, base.parameters, base.parameters, {})
    assert patch.changed == 0 and patch.base == patch.outcome
    assert patched(base.network, base.parameters, patch) == base.parameters


def test_a_patch_fits_one_controller_and_once(base: Controller, tmp_path: Path) -> None:
    path = written(tmp_path, base, changed(base))
    file = tmp_path / "controller.safetensors"
    base.save(file)
    update_file(file, path)
    before = file.read_bytes()
    with pytest.raises(Refusal, match="applied to this controller already"):
        update_file(file, path)
    other = changed(base, seed=1)
    with pytest.raises(Refusal, match="for a controller with the digest .* and this one has"):
        apply_patch(other, path)
    with pytest.raises(Refusal, match="for another controller: of 8 parameters, and this one has 24"):
        apply_patch(load_controller("navigation-2d/p-meta"), path)
    adapted = replace(base, metadata=replace(base.metadata, adapted_to={"goal_x": 0.1, "goal_y": 0.1}))
    with pytest.raises(Refusal, match="adapted to a task"):
        apply_patch(adapted, path)
    assert file.read_bytes() == before


def test_pruned_weights_stay_zero(base: Controller, tmp_path: Path) -> None:
    mask = (torch.rand(100, 100, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    parameters = masked(base.parameters | {"layer2.weight" + MASK: mask})
    old = replace(base, parameters=parameters)
    new = replace(base, parameters=masked(parameters | {"layer2.weight": parameters["layer2.weight"] + 1}))
    path = written(tmp_path, old, new)
    assert_same_bits(apply_patch(old, path), new)
    other = replace(base, parameters=masked(base.parameters | {"layer2.weight" + MASK: 1 - mask}))
    with pytest.raises(Refusal, match="pruned in different places"):
        difference(base.network, old.parameters, other.parameters, {})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_patch_is_refused(base: Controller, tmp_path: Path, share: float) -> None:
    path = written(tmp_path, base, changed(base))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Refusal, match="not a patch, or a truncated one"):
        apply_patch(base, path)


def test_every_altered_byte_is_noticed(base: Controller, tmp_path: Path) -> None:
    path = written(tmp_path, base, changed(base, share=0.005))
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 37):
        path.write_bytes(bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]]))
        with pytest.raises(Refusal):
            apply_patch(base, path)


def rewritten(path: Path, **changes: object) -> None:
    """Change parts of the content or tensors, with a right checksum: as a faulty server could."""
    text, tensors = read_tensors(path, PATCH)
    content = json.loads(text)
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else content)[name] = value
    write_tensors(path, PATCH, json.dumps(content), tensors)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"coding": "."}, "for another controller: of 1 param"),
        ({"coding": "wxsw...."}, "must be letters"),
        ({"coding": "...s...."}, "numbers of whole parameters"),
        ({"coding": 3}, "must be letters"),
        ({"base": "0"}, "32 hexadecimal digits"),
        ({"outcome": "0" * 32}, "altered or damaged"),
        ({"facts": []}, "an object of base"),
        ({"more": 1}, "an object of base"),
        ({"whole": torch.zeros(99)}, "99 numbers of whole parameters, and they have 100"),
        ({"whole": torch.zeros(10, 10)}, "must be a vector"),
        ({"whole": torch.zeros(100)}, "altered or damaged"),
        ({"values": torch.zeros(3)}, "more positions"),
        ({"positions": torch.zeros(3)}, "must be a vector of torch.uint8"),
    ],
)
def test_what_a_faulty_server_writes_is_refused(base: Controller, tmp_path: Path, changes, sentence: str) -> None:
    path = written(tmp_path, base, changed(base))
    rewritten(path, **changes)
    with pytest.raises(Refusal, match=sentence):
        apply_patch(base, path)


def test_a_controller_is_no_patch(base: Controller, tmp_path: Path) -> None:
    path = tmp_path / "controller.safetensors"
    base.save(path)
    with pytest.raises(Refusal, match="this is a controller of metarl, and a patch is needed here"):
        apply_patch(base, path)


def test_only_numbers_of_one_network_make_a_patch(base: Controller) -> None:
    less = {name: tensor for name, tensor in base.parameters.items() if name != "step_sizes"}
    with pytest.raises(Refusal, match="differ in their parameters: step_sizes"):
        difference(base.network, base.parameters, less, {})
    with pytest.raises(Refusal, match="differ in the shape of 'layer1.bias'"):
        difference(base.network, base.parameters, base.parameters | {"layer1.bias": torch.zeros(3)}, {})


def test_a_patch_is_not_overwritten(base: Controller, tmp_path: Path) -> None:
    path = written(tmp_path, base, changed(base))
    with pytest.raises(Refusal, match="exists already"):
        written(tmp_path, base, changed(base))
    assert isinstance(read_patch(path, base.network, base.parameters), Patch)


APPLYING = """
import sys
from pathlib import Path
from metarl.policies.updates import update_file
print("ready", flush=True)
while True:
    for patch in sys.argv[2:]:
        update_file(Path(sys.argv[1]), Path(patch))
"""


@pytest.mark.slow
def test_a_robot_that_loses_power_has_the_old_controller_or_the_new_one(base: Controller, tmp_path: Path) -> None:
    new = changed(base)
    there, back = tmp_path / "there.patch", tmp_path / "back.patch"
    write_patch(there, difference(base.network, base.parameters, new.parameters, {}))
    write_patch(back, difference(base.network, new.parameters, base.parameters, {}))
    file, random, found = tmp_path / "robot" / "controller.safetensors", np.random.default_rng(0), set()
    file.parent.mkdir()
    for _ in range(8):
        base.save(file, overwrite=True)
        words = [sys.executable, "-c", APPLYING, str(file), str(there), str(back)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as robot:
            assert robot.stdout is not None
            robot.stdout.readline()
            time.sleep(float(random.uniform(0, 0.1)))
            robot.kill()
        left = load_controller(file)
        found.add(module.digest(left.network, left.parameters))
    assert found <= {module.digest(each.network, each.parameters) for each in (base, new)}
