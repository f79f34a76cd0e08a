"""What pruning sees of adapted networks: moments of their layers' inputs, and derivatives of their outputs."""

import pytest
import torch

from metarl.compression.activations import Sample, layer_moments, sample_tasks
from metarl.compression.removal import damped, removal_scores, second_moments, smallest, updated_weight
from metarl.envs.registry import get_family
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

NETWORK = GaussianMLP(observation_size=3, hidden_sizes=(4,), action_size=2)


def parameters(seed: int) -> Parameters:
    random = torch.Generator().manual_seed(seed)
    shapes = NETWORK.parameter_shapes.items()
    return {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes}


def observations(seed: int) -> torch.Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_moments_are_those_of_each_samples_own_network() -> None:
    samples = [Sample(parameters(seed), observations(seed)) for seed in (1, 2)]
    moments = layer_moments(NETWORK, samples, "anp")
    torch.testing.assert_close(moments["layer1"], second_moments(torch.cat([each.observations for each in samples])))
    hidden = torch.cat(
        [
            (each.observations @ each.parameters["layer1.weight"].T + each.parameters["layer1.bias"]).relu()
            for each in samples
        ]
    )
    torch.testing.assert_close(moments["layer2"], second_moments(hidden))


def test_weighted_moments_are_the_gauss_newton_matrix_of_the_kl_divergence() -> None:
    """For each output of a layer, the Hessian of mean KL(policy || policy with other weights) at no change."""
    sample = Sample(parameters(3), observations(3))
    moments = layer_moments(NETWORK, [sample], "weighted")
    std = NETWORK.log_std(sample.parameters).exp()
    means = NETWORK(sample.parameters, sample.observations)[0]
    for layer in NETWORK.layer_names:
        for output in range(len(sample.parameters[f"{layer}.bias"])):

            def divergence(change: torch.Tensor, layer: str = layer, output: int = output) -> torch.Tensor:
                weight, bias = sample.parameters[f"{layer}.weight"].clone(), sample.parameters[f"{layer}.bias"].clone()
                weight[output] += change[:-1]
                bias[output] += change[-1]
                changed = sample.parameters | {f"{layer}.weight": weight, f"{layer}.bias": bias}
                difference = NETWORK(changed, sample.observations)[0] - means
                return (difference / std).square().sum(dim=1).mean() / 2

            zero = torch.zeros(sample.parameters[f"{layer}.weight"].shape[1] + 1, dtype=torch.float64)
            hessian = torch.autograd.functional.hessian(divergence, zero)
            torch.testing.assert_close(moments[layer][output], hessian)


@pytest.fixture(scope="module")
def controllers() -> dict[str, Controller]:
    return {method: load_controller(f"navigation-2d/{method}") for method in ("maml", "anil")}


def test_only_layers_behind_an_adapted_one_see_other_inputs_after_adaptation(
    controllers: dict[str, Controller],
) -> None:
    given = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    family = get_family("navigation-2d")
    for method, changed in (("anil", []), ("maml", ["layer2", "layer3"])):
        controller = controllers[method]
        before, after = (
            layer_moments(
                controller.network,
                [each._replace(observations=given) for each in sample_tasks(controller, family, 2, 0, 1, which)],
                which,
            )
            for which in ("un-adapted", "anp")
        )
        assert [layer for layer in before if not torch.equal(before[layer], after[layer])] == changed


def test_one_task_is_enough_for_one_task_statistics(controllers: dict[str, Controller]) -> None:
    family = get_family("navigation-2d")
    assert len(sample_tasks(controllers["maml"], family, 3, 0, 1, "l-obs")) == 1
    assert len(sample_tasks(controllers["maml"], family, 3, 0, 1, "anp")) == 3


def test_only_adapted_statistics_keep_a_unit_that_adaptation_wakes() -> None:
    """A unit of the hidden layer is silent until the inner step of every second task has raised its bias."""
    before = parameters(5)
    before["layer1.bias"] = before["layer1.bias"].index_fill(0, torch.tensor([2]), -50.0)
    before["layer2.weight"] = before["layer2.weight"].index_fill(1, torch.tensor([2]), 1.0)
    awake = before | {"layer1.bias": before["layer1.bias"].index_fill(0, torch.tensor([2]), 5.0)}
    un_adapted = [Sample(before, observations(seed)) for seed in range(4)]
    adapted = [Sample((before, awake)[seed % 2], observations(seed)) for seed in range(4)]
    joined = torch.cat([before["layer2.weight"], before["layer2.bias"][:, None]], dim=1)
    errors, scores = {}, {}
    for statistics, samples in (("un-adapted", un_adapted), ("anp", adapted)):
        moments = damped(layer_moments(NETWORK, samples, statistics)["layer2"], 1e-6)
        everything = torch.ones_like(before["layer2.weight"], dtype=torch.bool)
        costs = removal_scores(joined, everything, moments, "exact")
        scores[statistics] = costs[:, 2]
        (mask,) = smallest([costs], 2)
        refitted = updated_weight(joined, mask, moments, "exact", everything)
        pruned = {"layer2.weight": refitted[:, :-1], "layer2.bias": refitted[:, -1]}
        errors[statistics] = sum(
            float((NETWORK(sample | pruned, seen)[0] - NETWORK(sample, seen)[0]).square().mean())
            for sample, seen in adapted
        )
        assert bool(mask[:, 2].any()) == (statistics == "anp")
    # Silent, the unit costs what the damping alone gives it.
    assert scores["un-adapted"].max() < 1e-4 < 0.1 < scores["anp"].min()
    assert 10 * errors["anp"] < errors["un-adapted"]
