"""Clients that hold images: who has which, and what a layer-wise pass computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_images import write_images
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.fleet.federated.client_memory import peak_bytes
from metarl.fleet.federated.images import ImageClients, ImageClientSettings, image_clients, split_images
from metarl.fleet.federated.layerwise import layerwise_gradients, layerwise_outputs
from metarl.fleet.federated.quantizer import largest_integer
from metarl.fleet.federated.rounds import federate
from metarl.fleet.federated.settings import FederationSettings, client_random
from metarl.fleet.federated.weights import held, layout_of
from metarl.losses import cross_entropy
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import LayerTrace, Operation

LABELS = np.repeat(np.arange(10), 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), classes=4, images=30)


def clients_of(folder: Path, **overrides: object) -> ImageClients:
    own = ImageClientSettings(data=folder, start_steps=3, batch=3)
    return image_clients(FederationSettings(**{"clients": 5, "per_round": 3, "rounds": 2, **overrides}), own)


@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_every_image_is_held_once(skew: float) -> None:
    own = ImageClientSettings(data=Path(), test_share=0.2, start_share=0.1)
    split = split_images(LABELS, own, 40, skew, np.random.default_rng(0))
    assert sorted(np.concatenate([split.tested, split.begun_with, *split.held])) == list(range(600))
    assert np.bincount(LABELS[split.tested]).tolist() == [12] * 10
    assert np.bincount(LABELS[split.begun_with]).tolist() == [6] * 10
    assert min(map(len, split.held)) >= 1


def test_skewed_clients_have_fewer_classes() -> None:
    own = ImageClientSettings(data=Path())

    def classes(skew: float) -> float:
        split = split_images(LABELS, own, 20, skew, np.random.default_rng(0))
        shares = [np.bincount(LABELS[hand], minlength=10) / len(hand) for hand in split.held]
        return float(np.mean([1 / (each**2).sum() for each in shares]))  # effective number of classes

    assert classes(0.1) < classes(1.0) < classes(0.0)
    assert classes(0.1) < 4 < 6 < classes(0.0)


def test_too_many_clients_are_refused(folder: Path) -> None:
    with pytest.raises(Refusal, match="too few for 1000"):
        clients_of(folder, clients=1000)
    with pytest.raises(Refusal, match="below 1"):
        ImageClientSettings(data=folder, test_share=0.5, start_share=0.5)


def rounded(tensor: Tensor, bits: int) -> Tensor:
    """The straight-through formulation of a constant scale, written anew."""
    scale = tensor.detach().abs().max() / largest_integer(bits)
    return tensor + ((tensor / scale).round() * scale - tensor).detach()


@pytest.mark.parametrize(("bits", "activation_bits"), [(32, 32), (8, 8), (4, 8), (4, 32)])
def test_layer_by_layer_is_autograd_of_the_rounded_network(bits: int, activation_bits: int) -> None:
    network = Conv4(side=16, ways=3, width=8)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    weights = held(parameters, layout_of(network, parameters, tuple(sorted(parameters)), bits))
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1])
    gradients, logits = layerwise_gradients(
        network, weights, images, activation_bits, lambda outputs: cross_entropy(outputs, labels)
    )

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.parameters().items()}

    def run(name: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        return LayerTrace(
            inputs, operation(rounded(inputs, 8) if name.startswith("conv") and activation_bits == 8 else inputs)
        )

    outputs, _ = network(leaves, images, run)
    expected = torch.autograd.grad(cross_entropy(outputs, labels), [*leaves.values()])
    assert torch.allclose(logits, outputs, atol=1e-5)
    assert torch.allclose(layerwise_outputs(network, weights, images, activation_bits), outputs, atol=1e-5)
    assert gradients.keys() == leaves.keys()
    for name, gradient in zip(leaves, expected, strict=True):
        assert torch.allclose(gradients[name], gradient, atol=1e-5, rtol=1e-4), name


def test_integers_take_less_memory_than_floats(folder: Path) -> None:
    peaks = {}
    for bits in (32, 8, 4):
        clients = clients_of(folder, bits=bits)
        layout = layout_of(clients.network, clients.start(), clients.trained, bits)
        peaks[bits] = peak_bytes(clients, held(clients.start(), layout), clients.settings, 0)
    assert peaks[4] < peaks[8] < peaks[32]


def test_clients_learn_and_the_outcome_is_a_classifier(folder: Path, tmp_path: Path) -> None:
    clients = clients_of(folder, bits=4, relay=True, rounds=25, learning_rate=0.05, skew=0.5)
    layout = layout_of(clients.network, clients.start(), clients.trained, 4)
    before = clients.score(held(clients.start(), layout)).mean
    outcome = federate(clients, clients.settings, tmp_path / "run")
    assert outcome.score.mean > before + 0.1
    # What is saved are integers times a scale: no more than 15 different numbers in a matrix.
    assert len(outcome.controller.parameters["conv2.weight"].unique()) <= 15
    again = federate(clients_of(folder, bits=4, relay=True, rounds=25, learning_rate=0.05, skew=0.5), clients.settings)
    assert all(
        torch.equal(tensor, again.controller.parameters[name]) for name, tensor in outcome.controller.parameters.items()
    )


def test_a_client_takes_its_own_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = clients_of(folder)
    taken: list[int] = []
    batch = ImageClients.batch
    monkeypatch.setattr(ImageClients, "batch", lambda self, indices: (taken.extend(indices), batch(self, indices))[1])
    layout = layout_of(clients.network, clients.start(), clients.trained, 8)
    taken.clear()
    clients.gradient(2, held(clients.start(), layout), client_random(clients.settings, 0, 2))
    assert set(taken) <= set(clients.split.held[2].tolist())
    assert len(taken) == 3
