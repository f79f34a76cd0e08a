"""Files that are no controllers any more, or never were: each gets one sentence, none runs code."""

import json
import math
import os
import pickle
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from controller_files import write_text_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.policies.controller import Controller
from metarl.policies.files.controller_file import PATCH, to_json
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
from metarl.policies.files.tensor_file import write_tensors
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(2, (3,), 1)
CONTROLLER = Controller(
    {**NETWORK.initial_parameters(torch.Generator().manual_seed(0)), "step_sizes": torch.full((2, 2), 0.1)},
    NETWORK,
    ControllerMetadata(
        method="maml",
        family="navigation-2d",
        task_fields=(FieldRecord("goal_x", -0.5, 0.5, "m"),),
        horizon=200,
        observation_low=(-math.inf, -math.inf),
        observation_high=(math.inf, math.inf),
        action_low=(-1.0,),
        action_high=(1.0,),
        action_scale=0.1,
        inner_steps=2,
        episodes_per_step=20,
        discount=0.99,
        gae_lambda=1.0,
        training={"seed": 3},
    ),
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "controller.safetensors"


def assert_same(loaded: Controller) -> None:
    assert (loaded.metadata, loaded.network) == (CONTROLLER.metadata, CONTROLLER.network)
    assert loaded.parameters.keys() == CONTROLLER.parameters.keys()
    assert all(torch.equal(tensor, CONTROLLER.parameters[name]) for name, tensor in loaded.parameters.items())


def write_by_hand(path: Path, tensors=None, version="2", **metadata_changes) -> None:
    """A file with a right checksum, whatever its content: what a faulty program could have written."""
    content = {**json.loads(to_json(CONTROLLER.metadata, CONTROLLER.network)), **metadata_changes}
    content = {name: value for name, value in content.items() if value is not ...}
    write_text_by_hand(path, json.dumps(content), CONTROLLER.parameters if tensors is None else tensors, version)


def test_a_file_written_by_hand_loads(path):
    write_by_hand(path)
    assert_same(load_controller(path))


def test_a_file_truncated_anywhere_is_refused(path):
    CONTROLLER.save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_controller(path)


def test_a_flipped_byte_is_refused_or_means_the_same(path):
    CONTROLLER.save(path)
    content = path.read_bytes()
    refused = 0
    for offset in range(len(content)):
        altered = bytearray(content)
        altered[offset] ^= 1 << offset % 8
        path.write_bytes(altered)
        try:
            loaded = load_controller(path)
        except ValueError:
            refused += 1
        else:
            assert_same(loaded)
    # Spaces that pad the header may become other white space.
    assert refused > len(content) - 10


@settings(max_examples=300)
@given(cut=st.floats(0, 1), junk=st.binary(max_size=40), rest=st.floats(0, 1))
def test_junk_is_refused(tmp_path_factory, cut, junk, rest):
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    CONTROLLER.save(path, overwrite=True)
    content = path.read_bytes()
    junked = content[: int(cut * len(content))] + junk + content[int(rest * len(content)) :]
    path.write_bytes(junked)
    if junked != content:
        with pytest.raises(ValueError, match="junk"):
            load_controller(path)


def test_a_missing_file_a_folder_and_one_that_cannot_be_read(path):
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: there is no such file$"):
        load_controller(path)
    with pytest.raises(ValueError, match=r"this is a folder, and there is no controller\.safetensors in it$"):
        load_controller(path.parent)
    path.mkdir()
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: this is a folder, not a file$"):
        load_controller(path)
    for unreadable in ("x" * 5000, "x" * 5000 + ".safetensors"):
        with pytest.raises(ValueError, match="cannot be read: File name too long$"):
            load_controller(unreadable)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(path):
    CONTROLLER.save(path)
    path.chmod(0)
    with pytest.raises(ValueError, match=r"controller\.safetensors: cannot be read: Permission denied$"):
        load_controller(path)


def test_the_folder_of_a_run_stands_for_its_controller(path):
    CONTROLLER.save(path)
    assert_same(load_controller(path.parent))
    assert_same(load_controller(f"{path.parent}/"))


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)


def test_a_pickle_is_not_run(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    pickle.loads(pickle.dumps(Malice()))
    Path("ran").unlink()
    path.write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ValueError, match="not a controller"):
        load_controller(path)
    torch.save({"weight": torch.zeros(2), "malice": Malice()}, path)
    with pytest.raises(ValueError, match="not a controller"):
        load_controller(path)
    assert not Path("ran").exists()


@pytest.mark.parametrize("strings", [None, {}, {"format": "pt"}, {"metarl": "[]"}, {"metarl": '{"format": "other"}'}])
def test_the_file_of_another_program(path, strings):
    safetensors.torch.save_file(CONTROLLER.parameters, path, strings)
    with pytest.raises(ValueError, match="not a controller of metarl"):
        load_controller(path)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("4", "has format version 4, this metarl reads up to 3: upgrade it"),
        ("123456789", "format version 123456789"),
        ("0", "has format version 0, this metarl reads from 1 on"),
        ("-1", "must be a whole number from 1, got '-1'"),
        ("one", "must be a whole number from 1, got 'one'"),
        ("²", "must be a whole number from 1"),
        ("1" * 5000, "must be a whole number from 1"),
        ("", "must be a whole number from 1, got ''"),
    ],
)
def test_other_format_versions(path, version, sentence):
    write_by_hand(path, version=version)
    with pytest.raises(ValueError, match=sentence):
        load_controller(path)


@pytest.mark.parametrize("name", ["content", "checksum", "version"])
def test_a_header_that_lacks_a_part(path, name):
    CONTROLLER.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["metarl"])
    del header[name]
    safetensors.torch.save_file(CONTROLLER.parameters, path, {"metarl": json.dumps(header)})
    with pytest.raises(ValueError, match="lacks 'c|format version must be"):
        load_controller(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": ...}, "the metadata lacks 'family'"),
        ({"horizon": -3}, "horizon must be at least 1"),
        ({"inner_steps": 3}, r"'step_sizes' must have the shape \[3, 2\], got \[2, 2\]"),
    ],
)
def test_metadata_that_does_not_fit(path, change, sentence):
    write_by_hand(path, **change)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{sentence}"):
        load_controller(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_metadata_that_is_not_json(path, text):
    write_text_by_hand(path, text, CONTROLLER.parameters)
    with pytest.raises(ValueError, match="the metadata is not JSON"):
        load_controller(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden_sizes": [4]}, r"'layer1.weight' must have the shape \[4, 2\], got \[3, 2\]"),
        ({"hidden_sizes": [10**15]}, "the parameters of the network would take 10.* GB of memory"),
        ({"hidden_sizes": [1] * 100_000}, "at most 1000 layers, got 100001"),
        ({"hidden_sizes": []}, "unknown parameter 'layer2"),
        ({"hidden_sizes": [3, 3]}, "unknown parameter 'layer2.log_std'"),
        ({"observation_size": 3}, "the observation bounds have 2 numbers, but the network has 3"),
    ],
)
def test_networks_that_do_not_fit(path, change, sentence):
    network = {"kind": "gaussian-mlp", **asdict(CONTROLLER.network), **change}
    write_by_hand(path, network=network)
    with pytest.raises(ValueError, match=sentence):
        load_controller(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer1.bias": None}, "'layer1.bias' is missing"),
        ({"layer3.bias": torch.zeros(1)}, "unknown parameter 'layer3.bias'"),
        ({"layer1.bias": torch.zeros(1, 3)}, "'layer1.bias' must have the shape"),
        (
            {"layer1.bias": torch.zeros(3, dtype=torch.float64)},
            "'layer1.bias' must have the type F32 or .* or I32, got F64",
        ),
        (
            {"layer1.bias": torch.zeros(3, dtype=torch.int32)},
            "'layer1.bias' must be float32, got int32",
        ),
        (
            {"layer1.bias": torch.zeros(3, dtype=torch.complex64)},
            "'layer1.bias' must have the type F32 or .* or I32, got C64",
        ),
        ({"layer1.bias": torch.tensor([0.0, math.nan, 0.0])}, "'layer1.bias' holds a NaN"),
        ({"layer2.log_std": torch.tensor([-math.inf])}, "'layer2.log_std' holds a NaN or an infinite number"),
    ],
)
def test_tensors_that_do_not_fit(path, change, sentence):
    tensors = {name: tensor for name, tensor in {**CONTROLLER.parameters, **change}.items() if tensor is not None}
    write_by_hand(path, tensors)
    with pytest.raises(ValueError, match=sentence):
        load_controller(path)


@pytest.mark.parametrize(
    "change", [{"layer1.bias": torch.ones(3)}, {"layer1.bias": torch.zeros(1, 3)}, {"extra": torch.zeros(1)}]
)
def test_altered_tensors_are_told_by_the_checksum(path, change):
    CONTROLLER.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        strings = file.metadata()
    safetensors.torch.save_file({**CONTROLLER.parameters, **change}, path, strings)
    with pytest.raises(ValueError, match="altered or damaged: its checksum does not match"):
        load_controller(path)


def test_a_patch_is_no_controller(path):
    write_tensors(path, PATCH, "{}", {"layer1.weight.values": torch.zeros(2)})
    with pytest.raises(ValueError, match="this is a patch of metarl, and a controller is needed here$"):
        load_controller(path)


def test_headers_larger_than_any_are_refused(path):
    write_by_hand(path, training={"junk": "x" * 2**22})
    with pytest.raises(ValueError, match=r"the controller's header has 4.*, more than any that metarl writes"):
        load_controller(path)
    with pytest.raises(ValueError, match=r"the controller has 2.* characters of metadata, at most 1048576"):
        replace(CONTROLLER, metadata=replace(CONTROLLER.metadata, training={"junk": "x" * 2**21})).save(
            path, overwrite=True
        )
    write_by_hand(path, {f"layer{number}.bias": torch.zeros(1) for number in range(10_001)})
    with pytest.raises(ValueError, match="the controller has 10001 tensors, at most 10000 are allowed"):
        load_controller(path)
