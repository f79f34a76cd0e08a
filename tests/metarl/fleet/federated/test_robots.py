"""Clients that are robots: their tasks, and the gradient after adaptation against formulas written anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from masked import pruned

from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.envs.registry import get_family
from metarl.fleet.federated.robots import Robots, RobotSettings, random_controller, robot_tasks, robots
from metarl.fleet.federated.rounds import federate
from metarl.fleet.federated.settings import FederationSettings, client_random
from metarl.fleet.federated.weights import held, layout_of
from metarl.losses import policy_gradient_loss
from metarl.policies.loading import load_controller
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adaptation_settings, evaluate_tasks, unseen_tasks
from metarl.rl.objective import MetaObjective
from metarl.rl.terms import TaskTerms
from metarl.rl.workers import task_data

FAMILY = "navigation-2d"


@contextmanager
def small_robots(first_order: bool = False, **overrides: object) -> Iterator[Robots]:
    settings = FederationSettings(**{"clients": 6, "per_round": 3, "rounds": 2, "score_every": 1, **overrides})
    own = RobotSettings(episodes=3, horizon=8, score_tasks=3, threads=1, first_order=first_order)
    family = get_family(FAMILY)
    with robots(family, settings, own, random_controller(family, own, seed=0)) as population:
        yield population


@pytest.mark.parametrize("bits", [32, 4])
def test_first_order_is_the_policy_gradient_at_the_adapted_parameters(bits: int) -> None:
    with small_robots(first_order=True, bits=bits) as population:
        weights = held(population.start(), layout_of(population.network, population.start(), population.trained, bits))
        gradients, examples, score = population.gradient(2, weights, client_random(population.settings, 0, 2))
        adaptation = adapt_to_tasks(
            weights.parameters(),
            population.tasks[2:3],
            adaptation_settings(population.begun),
            population.sampler,
            population.executor,
            client_random(population.settings, 0, 2),
            Clock(),
        )
    adapted = {name: tensor.detach().requires_grad_() for name, tensor in adaptation.parameters[-1][0].items()}
    batch = adaptation.batches[-1][0]
    outputs, _ = population.network(adapted, batch.observations)
    chosen = population.network.distribution(adapted, outputs).log_probability(batch.actions)
    policy_gradient_loss(chosen, batch.advantages, batch.valid).backward()
    for name in population.trained:
        assert torch.allclose(gradients[name], adapted[name].grad, atol=1e-6), name
    assert examples == 3 * 8
    assert score == pytest.approx(float(adaptation.episodes[-1].returns().mean()), rel=1e-5)


def test_the_mean_of_all_robots_is_the_meta_gradient_over_their_tasks() -> None:
    with small_robots(bits=4) as population:
        layout = layout_of(population.network, population.start(), population.trained, 4)
        weights = held(population.start(), layout)
        parameters = weights.parameters()
        data, mean = [], {name: torch.zeros(layout.shapes[name]) for name in population.trained}
        for robot in range(4):
            gradients, _, _ = population.gradient(robot, weights, client_random(population.settings, 0, robot))
            mean = {name: mean[name] + gradients[name] / 4 for name in mean}
            adaptation = adapt_to_tasks(
                parameters,
                population.tasks[robot : robot + 1],
                adaptation_settings(population.begun),
                population.sampler,
                population.executor,
                client_random(population.settings, 0, robot),
                Clock(),
            )
            data += task_data(adaptation, population.method)
        terms = TaskTerms(population.network, population.method, False, data, population.executor)
        objective = MetaObjective(population.trained, len(data), terms)
        expected = objective.named(parameters, objective.gradient(parameters).trained)
    assert all(torch.allclose(mean[name], expected[name], atol=1e-6) for name in mean)


def test_robots_have_tasks_of_their_own_that_gather_when_skewed() -> None:
    family = get_family(FAMILY)

    def draw(skew: float) -> np.ndarray:
        return robot_tasks(family, 300, skew, np.random.default_rng(3))

    alike, skewed = draw(0.0), draw(0.1)
    assert alike.shape == skewed.shape == (300, 2)
    assert len(np.unique(alike, axis=0)) == 300
    assert np.array_equal(alike, family.sample_tasks(300, np.random.default_rng(3)))

    def fullest(tasks: np.ndarray) -> float:
        field = family.fields[0]
        counts, _ = np.histogram(tasks[:, 0], bins=10, range=(field.low, field.high))
        return float(counts.max() / 300)

    assert fullest(alike) < 0.2 < 0.4 < fullest(skewed)


def test_the_outcome_is_what_robots_hold_and_adapts() -> None:
    with small_robots(bits=4, relay=True, optimizer="adam", learning_rate=0.01) as population:
        outcome = federate(population, population.settings)
        family = population.family
    controller = outcome.controller
    assert len(controller.parameters["layer2.weight"].unique()) <= 15
    assert len(controller.parameters["layer3.weight"].unique()) > 15
    evaluation = evaluate_tasks(controller, family, unseen_tasks(family, 3, 1), 1, 1)
    assert evaluation.intervals()[-1] == outcome.score
    assert controller.metadata.training["settings"]["bits"] == 4


def refused(own: RobotSettings, **changes: object) -> str:
    controller = replace(load_controller(f"{FAMILY}/maml"), **changes)
    with pytest.raises(Refusal) as caught, robots(get_family(FAMILY), FederationSettings(), own, controller):
        pass
    return str(caught.value)


def test_controllers_that_cannot_be_federated() -> None:
    quick = RobotSettings(threads=1)
    metadata = load_controller(f"{FAMILY}/maml").metadata
    assert "adapted to a task" in refused(quick, metadata=replace(metadata, adapted_to={"goal_x": 0.1}))
    controller = load_controller(f"{FAMILY}/maml")
    assert "pruned" in refused(quick, parameters=pruned(controller.parameters, controller.network))
    assert "robots federate with" in refused(quick, **vars(load_controller(f"{FAMILY}/p-meta")))
    for method in ("p-meta", "reptile"):
        with pytest.raises(Refusal, match=r"robots federate with maml, .*got"):
            RobotSettings(method=method)


def test_all_numbers_that_are_trained_are_returned() -> None:
    with small_robots(bits=8) as population:
        layout = layout_of(population.network, population.start(), population.trained, 8)
        weights = held(population.start(), layout)
        gradients: Parameters = population.gradient(0, weights, client_random(population.settings, 0, 0)).gradients
    assert gradients.keys() == set(population.trained)
    assert set(population.trained) == set(population.network.parameter_shapes)
