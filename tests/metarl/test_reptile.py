"""Reptile moves towards the adapted parameters; weight clustering pulls the tasks together on the way there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from coloured_images import small_settings, write_images
from point_family import TINY, point_family
from torch import Tensor

import metarl
from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.images.batch import ImageBatch
from metarl.images.evaluation import evaluate_images
from metarl.images.reptile import mini_batch, outer_rate, unseen_images
from metarl.images.settings import METHOD_PRESETS
from metarl.images.start import load_data
from metarl.images.tasks import ImageTask
from metarl.images.training import ImageTraining
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Network, Parameters
from metarl.reptile import center, clustered, clustering_gradient, moved_towards
from metarl.rl.adaptation import Adaptation, adapt_to_tasks
from metarl.rl.iteration import meta_iteration
from metarl.rl.sampling import Sampler
from metarl.rl.settings import TrainSettings
from metarl.rl.training import PolicyTraining
from metarl.rl.workers import adaptation_settings, task_worker

SETTINGS = replace(TINY, method="reptile", inner_steps=3, outer_lr=0.25)


def adaptation(settings: TrainSettings, seed: int = 0) -> tuple[Parameters, Adaptation]:
    """The inner loop of a first iteration."""
    training, family = PolicyTraining(point_family(), settings), point_family()
    parameters, random = training.initial_state().parameters, generator(seed, Purpose.TRAINING, 0)
    with Sampler(family, training.network, settings.action_scale, 1) as sampler, ThreadPoolExecutor(2) as executor:
        tasks = family.sample_tasks(settings.meta_batch_size, random)
        inner = adaptation_settings(settings)
        return parameters, adapt_to_tasks(parameters, tasks, inner, sampler, executor, random, Clock(), False)


def test_the_outer_move_by_hand() -> None:
    """From (1, 2) half of the way to the mean of (3, 2) and (5, 6), which is (4, 4); what is not named stays."""
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([7.0])}
    adapted = [{"a": torch.tensor(each), "b": torch.tensor([9.0])} for each in ([3.0, 2.0], [5.0, 6.0])]
    moved = moved_towards(start, adapted, ["a"], 0.5)
    assert moved["a"].tolist() == [2.5, 3.0] and moved["b"] is start["b"]


def test_an_iteration_moves_towards_what_its_tasks_adapted_to() -> None:
    parameters, inner = adaptation(SETTINGS)
    training = PolicyTraining(point_family(), SETTINGS)
    with task_worker(point_family(), training.network, SETTINGS) as worker:
        random = generator(0, Purpose.TRAINING, 0)
        new, moments, report = meta_iteration(parameters, {}, SETTINGS, worker, random, Clock())
    for name in training.network.parameter_shapes:
        mean = sum(each[name].detach() for each in inner.parameters[-1]) / 3
        torch.testing.assert_close(new[name], parameters[name] + 0.25 * (mean - parameters[name]))
        assert not torch.equal(new[name], parameters[name])
    assert torch.equal(new[STEP_SIZES], parameters[STEP_SIZES]) and moments == {}
    assert report.step.accepted and report.step.kl > 0 and report.step.search is None
    assert len(report.returns) == 4 and len(inner.batches) == 3


def filter_distance(network: Network, parameters: Parameters, middle: Parameters) -> Tensor:
    """The penalty as the specification has it, filter by filter."""
    normalized = any("norm" in layer.kind for layer in network.layers)
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in middle.items():
        for mine, other in zip(parameters[name], weight, strict=True):
            if normalized:
                total = total + ((mine / mine.norm() - other / other.norm()) ** 2).sum()
            else:
                total = total + ((mine - other) ** 2).sum() / (other**2).sum()
    return total


NETWORKS = [GaussianMLP(3, (4, 5), 2), Conv4(side=16, ways=3, width=8)]


def random_parameters(network: Network, seed: int) -> Parameters:
    initial = network.initial_parameters(torch.Generator().manual_seed(seed))
    return {name: tensor.double() for name, tensor in initial.items()} | {STEP_SIZES: torch.ones(1, 9)}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_of_weight_clustering(network: Network) -> None:
    tasks = [random_parameters(network, seed) for seed in range(3)]
    middle = center(network, tasks)
    last = "layer3.weight" if "layer3.weight" in middle else "fc.weight"
    torch.testing.assert_close(middle[last], sum(each[last] for each in tasks) / 3)
    assert all("norm" not in name and "bias" not in name for name in middle)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in tasks[0].items()}
    gradients = torch.autograd.grad(filter_distance(network, leaves, middle), [leaves[name] for name in middle])
    found = clustering_gradient(network, tasks[0], middle)
    for name, gradient in zip(middle, gradients, strict=True):
        torch.testing.assert_close(found[name], gradient / 2)


def test_longer_filters_are_no_further_apart_where_norms_follow() -> None:
    network, (first, second) = NETWORKS[1], (random_parameters(NETWORKS[1], seed) for seed in (0, 1))
    names = [name for name in first if name.endswith("weight") and "norm" not in name]
    middle = {name: second[name] for name in names}
    scaled = first | {name: 3 * first[name] for name in names}
    torch.testing.assert_close(
        filter_distance(network, scaled, middle), filter_distance(network, first, middle), rtol=1e-12, atol=0
    )
    shorter, longer = clustering_gradient(network, first, middle), clustering_gradient(network, scaled, middle)
    for name in names:
        torch.testing.assert_close(3 * longer[name], shorter[name])


def test_a_step_with_the_penalty_by_hand() -> None:
    """Filters (2) and (4): the middle is 3, half the gradient is (2 - 3) / 9; times alpha 0.9 and a weight of 5."""
    network = GaussianMLP(1, (), 1)
    tasks, taken = (
        [{"layer1.weight": torch.tensor([[w]]), "layer1.bias": torch.ones(1), STEP_SIZES: rates} for w in weights]
        for rates, weights in ((torch.tensor([[0.1], [0.9]]), each) for each in ((2.0, 4.0), (2.5, 3.5)))
    )
    first, second = clustered(network, taken, tasks, weight=5.0, step=1)
    assert first["layer1.weight"].item() == pytest.approx(2.5 + 0.9 * 5 / 9)
    assert second["layer1.weight"].item() == pytest.approx(3.5 - 0.9 * 5 / 9)
    assert first["layer1.bias"] is taken[0]["layer1.bias"]


def test_nothing_is_pulled_at_first_nor_alone_nor_without_a_weight() -> None:
    network, (first, second) = NETWORKS[0], (random_parameters(NETWORKS[0], seed) for seed in range(2))
    assert clustered(network, [second, first], [first, second], 1.0, step=0) == [second, first]
    assert clustered(network, [second, first], [first, second], 0.0, step=1) == [second, first]
    assert clustered(network, [second], [first], 1.0, step=1) == [second]


def test_the_first_step_is_that_of_reptile_and_the_second_one_is_pulled() -> None:
    (_, plain), (_, pulled) = (adaptation(replace(SETTINGS, weight_clustering=each)) for each in (0.0, 1e-3))
    for mine, other in zip(pulled.parameters[1], plain.parameters[1], strict=True):
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    for mine, other in zip(pulled.parameters[2], plain.parameters[2], strict=True):
        assert not torch.equal(mine["layer1.weight"], other["layer1.weight"])
        assert torch.equal(mine["layer1.bias"], other["layer1.bias"])


def test_a_larger_weight_brings_tasks_closer_together() -> None:
    """Tasks whose losses are (w - a)^2 / 2 with a = 2 and a = 4, both from w = 3: ten steps of 0.1."""
    network, goals, spreads = GaussianMLP(1, (), 1), (2.0, 4.0), []
    for weight in (0.0, 1.0, 4.0, 16.0):
        tasks: list[Parameters] = [
            {"layer1.weight": torch.tensor([[3.0]]), STEP_SIZES: torch.full((10, 1), 0.1)} for _ in goals
        ]
        for step in range(10):
            taken = [
                task | {"layer1.weight": 0.9 * task["layer1.weight"] + 0.1 * goal}
                for task, goal in zip(tasks, goals, strict=True)
            ]
            tasks = clustered(network, taken, tasks, weight, step)
        spreads.append(float(tasks[1]["layer1.weight"] - tasks[0]["layer1.weight"]))
    assert spreads[0] == pytest.approx(2 * (1 - 0.9**10))
    assert spreads == sorted(spreads, reverse=True) and spreads[-1] > 0


def test_the_order_of_the_tasks_does_not_matter() -> None:
    tasks = [random_parameters(NETWORKS[0], seed) for seed in range(4)]
    names = list(NETWORKS[0].parameter_shapes)
    forward, backward = (moved_towards(tasks[0], each, names, 0.5) for each in (tasks, tasks[::-1]))
    for name in names:
        torch.testing.assert_close(forward[name], backward[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inner_steps": 1}, "setting 'inner_steps' must be at least 2 with reptile, got 1"),
        ({"inner_steps": 1, "weight_clustering": 0.1}, "setting 'inner_steps' must be at least 2 with reptile, got 1"),
        ({"method": "maml", "weight_clustering": 0.1}, "'weight_clustering' goes with reptile alone"),
        ({"weight_clustering": 0.1, "meta_batch_size": 1}, "'meta_batch_size' must be 2 or more, got 1"),
        ({"weight_clustering": -1.0}, "setting 'weight_clustering' must be at least 0, got -1.0"),
        ({"outer_lr": 1.5}, "setting 'outer_lr' must be at most 1, got 1.5"),
    ],
)
def test_what_reptile_cannot_use_is_refused_before_anything_is_trained(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    asked = {"method": "reptile", "inner_steps": 3} | change
    with pytest.raises(Refusal, match=sentence):
        metarl.train(point_family(), out=tmp_path / "run", **asked)
    with pytest.raises(Refusal, match=sentence):
        small_settings(tmp_path, **asked)
    assert not (tmp_path / "run").exists()


def test_a_gate_needs_a_meta_gradient() -> None:
    """A family's preset may ask for the gate; Reptile goes without."""
    assert not replace(SETTINGS, gate="return").gated and replace(SETTINGS, gate="return", method="maml").gated
    controller = metarl.train(point_family(), settings=replace(SETTINGS, gate="return", iterations=1))
    assert "gate" not in controller.parameters


def numbered_task() -> ImageTask:
    """Two ways, one shot and two queries; every pixel of an image is 10 times its class plus its number."""

    def batch(numbers: list[int], labels: list[int]) -> ImageBatch:
        images = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
        return ImageBatch(images, torch.tensor(labels))

    return ImageTask(batch([0, 10], [0, 1]), batch([1, 2, 11, 12], [0, 0, 1, 1]))


def test_mini_batches_take_turns_and_what_is_left_is_unseen() -> None:
    task = numbered_task()
    batches = [mini_batch(task, step) for step in range(4)]
    assert [batch.images[:, 0, 0, 0].tolist() for batch in batches] == [[0, 10], [1, 11], [2, 12], [0, 10]]
    assert all(batch.labels.tolist() == [0, 1] for batch in batches)
    left = unseen_images(task, steps=2)
    assert (left.images[:, 0, 0, 0].tolist(), left.labels.tolist()) == ([2, 12], [0, 1])
    assert unseen_images(task, steps=3) is task.query


def test_the_outer_rate_falls_to_zero() -> None:
    settings = small_settings(Path(), method="reptile", outer_lr=0.6)
    assert [outer_rate(settings, iteration) for iteration in (0, 3, 6)] == pytest.approx([0.6, 0.3, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"method": "reptile", "weight_clustering": 0.01}, {"method": "cavia"}])
def test_images_are_told_apart_after_a_short_training(change: dict[str, Any], tmp_path: Path) -> None:
    """Three colors at a time: a guess is right once in three times."""
    asked = {"step_size": 0.1, "learning_rate": 0.01} | METHOD_PRESETS.get(change["method"], {}) | change
    data = write_images(tmp_path, images=6)
    settings = small_settings(data, epochs=3, tasks_per_epoch=40, inner_steps=4, **asked)
    training = ImageTraining(settings, load_data(settings))
    *_, last = training.iterations(training.initial_state())
    with ThreadPoolExecutor(2) as executor:
        evaluation = evaluate_images(
            executor,
            training.network,
            last.state.best_parameters,
            get_method(settings.method),
            training.data.validation,
            training.data.validation_shape,
            60,
            7,
        )
    before, after = evaluation.accuracies()
    assert before.mean < 0.5 and after.mean > 0.6
