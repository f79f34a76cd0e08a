"""Training nested subnets: weights of the losses, shares of the layers, gradients, checkpoints and interruptions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from masked import pruned
from small_classifiers import small_classifier

import metarl
from metarl.compression import nesting
from metarl.compression.nest_objectives import PolicyObjective, objective_for
from metarl.compression.nest_settings import NestSettings
from metarl.compression.nested_masks import allocated, loss_weights
from metarl.compression.nesting import as_nested, epoch, initial_state, nest, subnets_of, tuned, weighted_sum
from metarl.core.errors import Refusal
from metarl.envs.registry import get_family
from metarl.inner_loop import as_leaves
from metarl.policies.compression.masks import MASK, weight_names
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of
from metarl.rl.variation import varied

QUICK = NestSettings(
    sparsities=(0.5, 0.9), epochs=2, iterations=2, tuning=1, tasks=2, validation_tasks=2, learning_rate=0.01
)


@pytest.fixture(scope="module")
def dense() -> Controller:
    return varied(load_controller("navigation-2d/maml"), horizon=5, episodes=2)


@pytest.fixture(scope="module")
def family(dense):
    return family_of(dense, get_family("navigation-2d"))


class Quadratic:
    """Losses 1/2 |w * m_k - 1|^2, whose gradients are known, and scores that are given."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def gradients(self, subnets, names, iteration):
        return [{name: (each[name] - 1) * each.get(name + MASK, torch.ones(())) for name in names} for each in subnets]

    def score(self, subnet) -> float:
        return self.scores.pop(0)


def test_loss_weights_are_those_of_the_thesis():
    sparsities = (0.8, 0.9, 0.95, 0.98, 0.99)
    assert loss_weights(sparsities, 0.5) == pytest.approx([0.364, 0.257, 0.182, 0.115, 0.081], abs=6e-4)
    assert loss_weights(sparsities, -1) == pytest.approx([0.027, 0.054, 0.108, 0.270, 0.541], abs=6e-4)
    assert loss_weights(sparsities, 0) == pytest.approx([0.2] * 5)


def test_shares_follow_one_ranking_within_a_step_of_the_target_and_never_grow():
    random = torch.Generator().manual_seed(0)
    weights = {"a.weight": torch.randn(7, 20, generator=random), "b.weight": 5 + torch.rand(3, 7, generator=random)}
    sparsities = (0.3, 0.5, 0.8, 0.97)
    counts = allocated(weights, {"a.weight": 20, "b.weight": 7}, sparsities)
    for index, sparsity in enumerate(sparsities[:-1]):
        total = 7 * counts["a.weight"][index] + 3 * counts["b.weight"][index]
        assert abs(total - (1 - sparsity) * 161) <= 3.5
    assert counts["b.weight"][1] == 7  # the larger weights stay whole at 50 %
    assert counts["a.weight"][-1] == counts["b.weight"][-1] == 1
    for each in counts.values():
        assert list(each) == sorted(each, reverse=True)


def test_a_weight_outside_all_subnets_stays_and_the_step_takes_the_weighted_gradient(dense):
    state = initial_state(dense, QUICK)
    subnets = subnets_of(state.parameters, dense.network, QUICK, state.counts)
    name = "layer2.weight"
    first, second = (each[name + MASK] for each in subnets)
    assert torch.equal(first * second, second)
    pi = loss_weights(QUICK.sparsities, 0.5)
    total = weighted_sum(Quadratic([]).gradients(subnets, (name,), 0), pi)[name]
    weight = state.parameters[name].clone().requires_grad_()
    loss = sum(
        p * (0.5 * (weight * mask - 1).square() * mask).sum() for p, mask in zip(pi, (first, second), strict=True)
    )
    (expected,) = torch.autograd.grad(loss, weight)
    assert total.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert not total[first == 0].any()
    after = epoch(state, dense.network, replace(QUICK, learning_rate=1e-6), Quadratic([1.0, 1.0]))
    assert torch.equal(after.parameters[name][first == 0], state.parameters[name][first == 0])
    assert not torch.equal(after.parameters[name], state.parameters[name])


def test_the_best_epoch_is_kept_and_a_worse_one_chooses_the_shares_anew(dense, monkeypatch):
    settings, chosen = replace(QUICK, epochs=3), []
    allocation = nesting.allocation
    monkeypatch.setattr(nesting, "allocation", lambda *a: chosen.append(1) or allocation(*a))
    state = initial_state(dense, settings)
    chosen.clear()
    objective = Quadratic([1.0, 2.0, 4.0, 0.0, 0.5, 0.5])
    first = epoch(state, dense.network, settings, objective)
    second = epoch(first, dense.network, settings, objective)
    assert not chosen and second.log[-1].better and second.best is second.parameters
    third = epoch(second, dense.network, settings, objective)
    assert len(chosen) == 1 and not third.log[-1].better
    assert third.best is second.best and third.best_sum == 4


def test_tuning_moves_what_each_subnet_has_of_its_own_and_no_weight(dense):
    settings = replace(QUICK, tuning=2)
    state = epoch(initial_state(dense, settings), dense.network, settings, Quadratic([1.0, 1.0]))

    class Own(Quadratic):
        def gradients(self, subnets, names, iteration):
            return [{name: float(k) * torch.ones_like(each[name]) for name in names} for k, each in enumerate(subnets)]

    own = tuned(state, dense.network, settings, Own([]))
    nested = as_nested(dense, settings, state, own)
    masks = subnets_of(state.best, dense.network, settings, state.best_counts)
    for number, expected in enumerate(masks, start=1):
        parameters = nested.subnet(number).controller().parameters
        for name in weight_names(dense.network):
            assert torch.equal(parameters[name], state.best[name] * expected[name + MASK] + 0)
    assert torch.equal(own[0]["layer1.bias"], state.best["layer1.bias"])
    assert not torch.equal(own[1]["layer1.bias"], state.best["layer1.bias"])


def test_distillation_has_the_gradient_of_finite_differences_and_is_zero_for_the_dense_policy(dense, family):
    with objective_for(dense, family, QUICK, 1) as objective:
        assert isinstance(objective, PolicyObjective)
        adaptation = objective._adapted(dense.parameters, 2, 0)
        task = [[each[0] for each in part] for part in (adaptation.parameters, adaptation.batches)]
        assert float(objective.divergence(as_leaves(dense.parameters), *task)) == pytest.approx(0, abs=1e-6)
        state = initial_state(dense, QUICK)
        subnet = subnets_of(state.parameters, dense.network, QUICK, state.counts)[1]
        double = as_leaves({name: tensor.double() for name, tensor in subnet.items()})
        teachers = [{name: tensor.detach().double() for name, tensor in each.items()} for each in task[0]]
        batches = [
            each._replace(**{n: getattr(each, n).double() for n in ("observations", "actions", "advantages")})
            for each in task[1]
        ]
        name = "layer3.bias"
        leaf = double[name].clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective.divergence(double | {name: leaf}, teachers, batches), leaf)
        step = torch.zeros_like(leaf)
        step[0] = 1e-5
        moved = [double | {name: (leaf + sign * step).detach().requires_grad_()} for sign in (1, -1)]
        up, down = (float(objective.divergence(each, teachers, batches)) for each in moved)
        assert float(slope[0]) == pytest.approx((up - down) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("objective", ["distill", "surrogate"])
def test_gradients_are_zero_where_a_subnet_has_no_weight(dense, family, objective):
    settings = replace(QUICK, objective=objective)
    state = initial_state(dense, settings)
    subnets = subnets_of(state.parameters, dense.network, settings, state.counts)
    with objective_for(dense, family, settings, 1) as made:
        gradients = made.gradients(subnets, nesting.trained_names(dense.network), 0)
    for subnet, gradient in zip(subnets, gradients, strict=True):
        for name in weight_names(dense.network):
            assert not gradient[name][subnet[name + MASK] == 0].any()
            assert gradient[name].any()


def test_an_interrupted_nesting_goes_on_to_the_same_bytes(dense, family, tmp_path: Path):
    whole = nest(dense, family, QUICK, 1, tmp_path / "whole")

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nest(dense, family, QUICK, 1, tmp_path / "broken", interrupt)
    told = []
    nest(dense, family, QUICK, 1, tmp_path / "broken", told.append)
    assert [each.number for each in told] == [1, 2]
    files = [(tmp_path / name / "controller.safetensors").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]
    assert whole.count == 2
    with pytest.raises(Refusal, match="other settings"):
        nest(dense, family, replace(QUICK, seed=3), 1, tmp_path / "whole")


@pytest.mark.parametrize(
    ("sparsities", "sentence"),
    [((0.5,), "2 to 64"), ((0.8, 0.5), "must ascend"), ((0.5, 0.5), "must ascend"), ((0.5, 1.0), "between 0 and 1")],
)
def test_impossible_sparsities_are_refused(sparsities, sentence):
    with pytest.raises(Refusal, match=sentence):
        NestSettings(sparsities=sparsities)


def test_pruned_and_adapted_controllers_are_refused(dense):
    sparse = replace(dense, parameters=pruned(dense.parameters, dense.network))
    with pytest.raises(Refusal, match="pruned already"):
        nesting.check_nestable(sparse, QUICK)
    adapted = replace(dense, metadata=replace(dense.metadata, adapted_to={}))
    with pytest.raises(Refusal, match="adapted to a task"):
        nesting.check_nestable(adapted, QUICK)
    with pytest.raises(Refusal, match="images"):
        metarl.nest(small_classifier())
