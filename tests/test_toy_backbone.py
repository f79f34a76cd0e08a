"""A backbone of one class and one row of the table goes the whole way: train, save, load, inspect, cost, adapt."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_images import write_images
from command_line import succeeds
from image_problems import random_images
from toy_backbone import ToyBackbone

from metarl.images.batch import ImageBatch
from metarl.images.tasks import adapt
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.policies.methods import METHODS, get_method
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.registry import NETWORKS

NETWORK = ToyBackbone(side=16, ways=3, width=8)
SMALL = shlex.split("--ways 3 --queries 2 --side 16 --epochs 2 --tasks-per-epoch 8 --validation-tasks 3 --threads 2")


@pytest.fixture(autouse=True)
def _toy_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "toy", ToyBackbone)


def trained(folder: Path, method: str) -> tuple[Path, Classifier]:
    """Train it with two inner steps; return the controller's file and what is loaded from it."""
    data, out = write_images(folder / "images"), folder / "run"
    options = ["--data", data, "--backbone", "toy", "--method", method, "--inner-steps", 2, "--out", out]
    succeeds("train", "images", *options, *SMALL)
    file = out / "controller.safetensors"
    return file, load_classifier(file)


def test_it_trains_saves_and_loads(tmp_path: Path) -> None:
    file, classifier = trained(tmp_path, "p-meta")
    assert classifier.network == NETWORK
    for norm in ("stem_norm", "main_norm", "skip_norm", "last_norm"):
        assert not classifier.parameters[f"{norm}.weight"].eq(1).any(), "a norm starts with ones"
    classifier.save(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == file.read_bytes()


def test_it_is_inspected_and_costed(tmp_path: Path) -> None:
    file, classifier = trained(tmp_path, "p-meta")
    assert "toy: 8, 16 channels, group norm, average pooling, max pooling" in succeeds("inspect", file)
    succeeds("cost", file, "--measure", "--json", tmp_path / "cost.json")
    record = json.loads((tmp_path / "cost.json").read_text())
    assert record["static_bytes"] == sum(classifier.parameters[name].nbytes for name in NETWORK.parameter_shapes)
    assert [layer["name"] for layer in record["steps"][0]["layers"]] == list(NETWORK.layer_names)
    assert record["measured_peak_adaptation_bytes"] > 0
    assert "toy on images of 20 x 20, maml" in succeeds(*shlex.split("cost --backbone toy --side 20 --method maml"))


def test_the_page_on_own_networks_says_it_right(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "own-network.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    try:
        exec(compile(code, "own-network.md", "exec", dont_inherit=True), {"__name__": "own_network"})
        data, out = write_images(tmp_path / "images"), tmp_path / "run"
        succeeds("train", "images", "--data", data, "--backbone", "two-convolutions", "--out", out, *SMALL)
        classifier = load_classifier(out / "controller.safetensors")
        images, labels = random_images(16, 3, 3)
        assert classifier.adapt(np.tanh(images), labels).predict(np.tanh(images)).shape == (3,)
    finally:
        del NETWORKS["two-convolutions"]
    stated = {line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")}
    assert {name for names in stated for name in re.split("`, `", names)} == {field.name for field in fields(Layer)}


@pytest.mark.parametrize("method", METHODS)
def test_it_adapts_on_a_device_as_in_training(method: str, tmp_path: Path) -> None:
    _, classifier = trained(tmp_path, method)
    images, labels = random_images(16, 3, 6)
    images = np.tanh(images)
    adapted = classifier.adapt(images, labels, images_at_once=6)
    support = ImageBatch(torch.from_numpy(images), torch.from_numpy(labels))
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in classifier.parameters.items()}
    expected, _ = adapt(classifier.network, leaves, get_method(method), support, second_order=False)
    for name, tensor in expected.items():
        torch.testing.assert_close(adapted.parameters[name], tensor.detach(), rtol=1e-4, atol=1e-6)
    moved = [
        name for name in classifier.network.parameter_shapes if not torch.equal(adapted.parameters[name], leaves[name])
    ]
    assert moved
