"""The memory of the on-device step: measured against the cost model, and the meter against the process's allocators."""

import numpy as np
import pytest
import torch
from contexts import suited
from device_problems import device_parameters, random_samples
from masked import pruned
from torch.profiler import ProfilerActivity, profile
from traced_memory import traced_peak

from metarl.cost.memory import LayerUpdate, Workload
from metarl.cost.operations import Plan, cost, plan_updates
from metarl.policies.attention import PAPERS_MODULES, SIDES, Attention, attention_scores, initial_attention
from metarl.policies.compression.masks import masked_layers
from metarl.policies.device.memory import device_memory
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import Samples, device_layers
from metarl.policies.device.scores import SCORING_BYTES
from metarl.policies.device.step import device_step, recorded_step
from metarl.policies.device.workload import Estimator
from metarl.policies.device.workload import Workload as DeviceWorkload
from metarl.policies.methods import METHODS, get_method
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP, PolicyNetwork
from metarl.policies.networks.network import Parameters

NETWORKS: dict[str, PolicyNetwork] = {
    "half-cheetah": GaussianMLP(20, (100, 100), 6),
    "navigation-2d": GaussianMLP(2, (100, 100), 2),
    "tanh": GaussianMLP(20, (100, 100), 6, activation="tanh"),
    "cart-pole": CategoricalMLP(4, (100, 100), 2),
}
HORIZON = 200


def measured(network: PolicyNetwork, parameters: Parameters, method: str, episodes: list[Samples], chunk: int | None):
    meter = Meter()
    device_step(network, parameters, get_method(method), 0, episodes, chunk, meter)
    assert meter.alive == 0
    return meter.peak


def attended_plan(network: PolicyNetwork, parameters: Parameters, names: list[str], episodes: list[Samples]) -> Plan:
    """The plan of a p-Meta step; every layer's share of kept channels is the largest over the episodes.

    Gradients are added up for the channels that any of the episodes keeps.
    """
    plan = {}
    for name in names:
        if name == network.layer_names[-1]:
            plan[name] = LayerUpdate()
            continue
        kept = []
        for episode in episodes:
            inputs = network(parameters, torch.from_numpy(episode.observations))[1][name].input
            scores = attention_scores(parameters, name, "forward", inputs.mean(dim=0), clip=0.3)
            kept.append(scores > 0)
        largest, summed = max(float(each.float().mean()) for each in kept), torch.stack(kept).any(dim=0)
        plan[name] = LayerUpdate(largest, 1.0, SIDES, mu_sum=float(summed.float().mean()))
    return plan


@pytest.mark.parametrize("episodes", [1, 3])
@pytest.mark.parametrize("chunk", [None, 20])
@pytest.mark.parametrize(
    ("method", "frozen"), [*((name, ()) for name in METHODS), ("p-meta-layers", (1,)), ("p-meta", (1,))]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_is_that_of_the_cost_model(name, method, frozen, chunk, episodes) -> None:
    network = suited(NETWORKS[name], method)
    parameters, samples = (
        device_parameters(network, method, frozen=frozen),
        random_samples(network, [HORIZON] * episodes),
    )
    layers = get_method(method).updated_layers(network.layers)
    names = [layer for index, layer in enumerate(network.layer_names) if layer in layers and index not in frozen]
    attended = get_method(method).attention is not None
    plan = attended_plan(network, parameters, names, samples) if attended else plan_updates(network.layers, names)
    expected = cost(network.layers, [plan], Workload(HORIZON, episodes, chunk)).peak_adaptation_bytes
    peak = measured(network, parameters, method, samples, chunk)
    assert peak == pytest.approx(expected, rel=0.1)
    # Without attention only the working row and the standard deviations come on top of the model's tensors.
    assert attended or peak - expected <= 4 * (100 + network.action_size)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("chunk", [None, 20])
@pytest.mark.parametrize(
    ("method", "frozen"), [*((name, ()) for name in METHODS), ("p-meta-layers", (1,)), ("p-meta", (0,))]
)
@pytest.mark.parametrize("name", ["half-cheetah", "cart-pole"])
def test_the_peak_of_a_pruned_policy_is_that_of_the_cost_model(name, method, frozen, chunk, share) -> None:
    network = suited(NETWORKS[name], method)
    parameters = pruned(device_parameters(network, method, frozen=frozen), network, share)
    samples = random_samples(network, [HORIZON] * 2)
    layers = get_method(method).updated_layers(network.layers)
    names = [layer for index, layer in enumerate(network.layer_names) if layer in layers and index not in frozen]
    attended = get_method(method).attention is not None
    plan = attended_plan(network, parameters, names, samples) if attended else plan_updates(network.layers, names)
    costed = masked_layers(network.layers, parameters)
    expected = cost(costed, [plan], Workload(HORIZON, 2, chunk)).peak_adaptation_bytes
    peak = measured(network, parameters, method, samples, chunk)
    assert peak == pytest.approx(expected, rel=0.1)
    assert attended or 0 <= peak - expected <= 4 * (100 + network.action_size)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("method", [*METHODS])
def test_what_is_planned_for_a_pruned_policy_is_what_it_takes(method: str, share: float) -> None:
    """To the byte, the baseline and the working memory of products included."""
    network = suited(NETWORKS["half-cheetah"], method)
    parameters = pruned(device_parameters(network, method), network, share)
    estimator, random = Estimator(0.99, 0.95), torch.Generator().manual_seed(1)
    shapes = {"observations": (HORIZON, network.observation_size), "actions": (HORIZON, 6), "rewards": (HORIZON,)}
    storage = {name: [torch.randn(shape, generator=random).numpy()] * 2 for name, shape in shapes.items()}
    meter = Meter()
    recorded_step(network, parameters, get_method(method), 0, storage, estimator, 20, meter)
    work = DeviceWorkload(HORIZON, 20)
    memory = device_memory(network, parameters, get_method(method), work, 2, estimator)
    if get_method(method).attention is None:
        assert memory.working == meter.peak
    else:  # where it is planned for attention that keeps every channel
        assert memory.working >= meter.peak
    assert memory.weights == sum(layer.parameter_bytes for layer in masked_layers(network.layers, parameters))


@pytest.mark.parametrize("method", ["p-meta-layers", "p-meta"])
def test_half_cheetah_adapts_in_less_than_30_kilobytes(method: str) -> None:
    network = NETWORKS["half-cheetah"]
    parameters = device_parameters(network, method, frozen=(1,))
    assert measured(network, parameters, method, random_samples(network, [HORIZON] * 3), chunk=20) < 30_000


@pytest.mark.parametrize("chunk", [None, 200])
@pytest.mark.parametrize(("method", "frozen"), [("maml", ()), ("anil", ()), ("p-meta", ()), ("p-meta", (1,))])
def test_the_meter_agrees_with_the_allocator(method, frozen, chunk) -> None:
    """The allocator also sees Python's own objects, as many in a step of a tiny network; a matrix would be too much."""

    def overhead(network: GaussianMLP) -> int:
        parameters, samples = device_parameters(network, method, frozen=frozen), random_samples(network, [400, 400])
        traced = traced_peak(lambda: device_step(network, parameters, get_method(method), 0, samples, chunk))
        # Copies that stand in for weights which a device changes where they are.
        layers = device_layers(network, parameters, get_method(method), 0)
        copied = sum(layer.weight.nbytes + layer.bias.nbytes for layer in layers if layer.updated)
        return traced - copied - measured(network, parameters, method, samples, chunk)

    tiny, large = overhead(GaussianMLP(2, (3, 3), 2)), overhead(GaussianMLP(20, (512, 512), 6))
    assert tiny < 80_000
    assert abs(large - tiny) < 15_000


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_scoring_is_reserved_as_much_as_it_takes(clip: float) -> None:
    channels = 512
    parameters = initial_attention(
        Attention(), [Layer("layer", "linear", channels, channels)], torch.Generator(), PAPERS_MODULES
    )

    summary = torch.ones(channels)

    def score() -> torch.Tensor:
        with torch.inference_mode():
            return attention_scores(parameters, "layer", "forward", summary, clip)

    score()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        score()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    assert alive.max() <= SCORING_BYTES * channels
    assert clip == 0 or alive.max() > 0.8 * SCORING_BYTES * channels


def test_the_meter_counts_what_is_alive() -> None:
    meter = Meter()
    first = meter.empty(10, 10)
    view = first[3:].T
    second = meter.zeros(5)
    assert (meter.alive, meter.peak) == (420, 420)
    del first
    assert meter.alive == 420
    del view
    assert (meter.alive, meter.peak) == (20, 420)
    with meter.reserve(1000):
        assert meter.alive == 1020
    meter.hand_over(second)
    assert (meter.alive, meter.peak) == (0, 1020)
    del second
    assert meter.alive == 0
