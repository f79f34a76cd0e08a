"""The shares of channels that are kept, over inner steps and tasks, and their names in a log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from point_family import TINY, point_family
from torch import Tensor

from metarl.core.clock import Clock
from metarl.inner_loop import as_leaves, inner_step
from metarl.kept_channels import KeptChannels, attended_layers, kept_channels, kept_columns, kept_row, kept_shares
from metarl.policies.attention import Attention
from metarl.policies.methods import METHODS, STEP_SIZES, get_method
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.batch import Batch
from metarl.rl.iteration import meta_iteration
from metarl.rl.sampling import Sampler
from metarl.rl.start import build_network, initial_state
from metarl.rl.workers import TaskWorker, adaptation_settings

LAYERS = ("layer1", "layer2", "layer3")


def one_step(observation: int) -> Batch:
    """An episode of one step whose action is 1 above the mean of ``by_hand`` at observation 1."""
    return Batch(
        torch.tensor([[float(observation)]]),
        torch.tensor([[1.8]]),
        torch.ones(1),
        torch.ones(1, dtype=torch.bool),
        episodes=1,
    )


def attention_of(layer: str, channels: int, gain: float) -> dict[str, Tensor]:
    """A forward module whose logits are ``gain`` times the channels' means, if those are not negative."""
    name = f"attention.{layer}.forward"
    weights = {"fc1": torch.eye(channels), "fc2": gain * torch.eye(channels)}
    return {f"{name}.{part}.weight": weight for part, weight in weights.items()} | {
        f"{name}.{part}.bias": torch.zeros(channels) for part in weights
    }


def by_hand() -> Parameters:
    """At observation 1: h1 = (1, 1, 1, 1), h2 = (1 + 0.1 - 0.3, 0), mean 0.8; so g(mean) = -1 at the action 1.8.

    So g(h1) = (-0.1, 0.1, 0.1, 0.1), and a step of 10 in layer 1 alone gives weights (2, 0, 0, 0) and biases
    (1, -1, -1, -1): h1 becomes (3, 0, 0, 0). At observation -1 it is (0, 0, 0, 0), and layer 1 has no gradient.
    """
    return {
        "layer1.weight": torch.ones(4, 1),
        "layer1.bias": torch.zeros(4),
        "layer2.weight": torch.tensor([[0.1, -0.1, -0.1, -0.1], [0, 0, 0, 0]]),
        "layer2.bias": torch.tensor([1.0, 0]),
        "layer3.weight": torch.tensor([[1.0, 0]]),
        "layer3.bias": torch.zeros(1),
        "layer3.log_std": torch.zeros(1),
        STEP_SIZES: torch.tensor([[10.0, 0, 0], [10.0, 0, 0]]),
        **attention_of("layer1", 1, 9),
        **attention_of("layer2", 4, 9),
    }


def test_means_over_the_first_four_tasks_along_the_inner_steps() -> None:
    """Four equal shares all stay at a clip of 0.3; (3, 0, 0, 0), times 9 in the softmax, leaves the first alone.

    Layer 2 has h1 as its input: first equal in all tasks, then (3, 0, 0, 0) in three of the first four, and still
    (1, 1, 1, 1) in the one whose first step found no gradient.
    """
    method = replace(METHODS["p-meta"], attention=Attention(0.3, None))
    moving, still = [one_step(1), one_step(1)], [one_step(-1), one_step(1)]
    tasks = [moving, moving, still, moving, still]
    network, starts, scores = GaussianMLP(1, (4, 2), 1), [by_hand()] * len(tasks), []
    for step in (0, 1):
        steps = [
            inner_step(network, as_leaves(start), method, step, task[step], second_order=False)
            for start, task in zip(starts, tasks, strict=True)
        ]
        starts, of_step = zip(*steps, strict=True)
        scores.append(of_step)
    kept = kept_channels(method, network.layer_names, scores)
    assert kept == KeptChannels({"layer1": [1.0, 1.0], "layer2": [1.0, (3 * 0.25 + 1) / 4]}, {})
    assert kept_row(kept) == {
        "kept_input_layer1_1": 1.0,
        "kept_input_layer1_2": 1.0,
        "kept_input_layer2_1": 1.0,
        "kept_input_layer2_2": 0.4375,
    }
    assert list(kept_row(kept)) == kept_columns(method, LAYERS, 2)


def test_methods_without_attention_look_at_nothing() -> None:
    for name in ("maml", "anil", "p-meta-layers", "p-meta-alpha-ch"):
        kept = kept_channels(get_method(name), LAYERS, [[{}], [{}]])
        assert kept == ({}, {}) and kept_row(kept) == {} and kept_columns(get_method(name), LAYERS, 2) == []


@pytest.mark.parametrize(
    ("method", "inputs", "outputs"),
    [
        ("p-meta", LAYERS[:2], LAYERS[:2]),
        ("p-meta-fw0-bw0", LAYERS[:2], LAYERS[:2]),
        ("p-meta-fw0.3", LAYERS[:2], ()),
        ("p-meta-gy0.3", (), LAYERS[:2]),
        ("boil", (), ()),
    ],
)
def test_attention_is_on_all_but_the_last(method: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    assert attended_layers(get_method(method), LAYERS) == (inputs, outputs)


def test_columns_go_by_side_layer_and_inner_step() -> None:
    assert kept_columns(METHODS["p-meta"], ("block1.conv1", "fc"), 2) == [
        "kept_input_block1.conv1_1",
        "kept_input_block1.conv1_2",
        "kept_output_block1.conv1_1",
        "kept_output_block1.conv1_2",
    ]


def test_a_meta_iteration_reports_the_support_batches() -> None:
    """The means over the very tasks and episodes that it draws, for outputs whose scores differ by episode."""
    settings, family = replace(TINY, method="p-meta-fw0.3-bw0.3"), point_family()
    network, random = build_network(family, settings), torch.Generator().manual_seed(0)
    state = initial_state(network, settings)
    parameters = {
        name: 2 * torch.randn(tensor.shape, generator=random) if "backward.fc2" in name else tensor
        for name, tensor in state.parameters.items()
    }
    inner = adaptation_settings(settings)
    with ThreadPoolExecutor(2) as executor, Sampler(family, network, settings.action_scale, 1) as sampler:
        generator, worker = np.random.default_rng(3), TaskWorker(settings, sampler, executor)
        _, _, report = meta_iteration(parameters, state.moments, settings, worker, generator, Clock())
        generator = np.random.default_rng(3)
        tasks = family.sample_tasks(settings.meta_batch_size, generator)
        batches = adapt_to_tasks(parameters, tasks, inner, sampler, executor, generator, Clock()).batches
    support, query = (
        [
            kept_shares(inner_step(network, as_leaves(parameters), inner.method, 0, batch, False).scores)["layer1"][1]
            for batch in of_step
        ]
        for of_step in batches
    )
    assert report.kept == ({"layer1": [1.0]}, {"layer1": [pytest.approx(np.mean(support))]})
    assert np.mean(support) != pytest.approx(np.mean(query))
