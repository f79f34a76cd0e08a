"""Evaluations: returns worked by hand, tasks in chunks, and tasks that training has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from point_family import TINY, point_family

from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.policies.controller import Controller
from metarl.policies.methods import STEP_SIZES
from metarl.rl import evaluation
from metarl.rl.evaluation import evaluate_tasks, family_of, unseen_tasks
from metarl.rl.training import PolicyTraining

FAMILY = point_family(horizon=6)
TARGETS = np.array([[-0.5], [0.9]])


def still_controller() -> Controller:
    """A policy whose mean action is always zero, and that no inner step changes."""
    training = PolicyTraining(FAMILY, replace(TINY, episodes_per_task=3))
    controller = training.controller(training.initial_state())
    parameters = {name: torch.zeros_like(tensor) for name, tensor in controller.parameters.items()}
    assert not parameters[STEP_SIZES].any()
    return replace(controller, parameters=parameters)


def test_a_policy_that_stays_gets_its_distance_at_every_step() -> None:
    """The point starts at uniform(-0.1, 0.1) from the episode's seed; six times its distance is what it loses."""
    found = evaluate_tasks(still_controller(), FAMILY, TARGETS, seed=3, threads=1, deterministic=True)
    random = generator(3, Purpose.ADAPTATION, 0)
    for _ in range(2):  # episodes with noise come first: those of the inner step, and those after it
        random.integers(2**31, size=(2, 3))
        random.standard_normal((6, 2, 3, 1), dtype=np.float32)
    for returns in found.returns:
        seeds = random.integers(2**31, size=(2, 3))
        starts = np.array([[np.random.default_rng(seed).uniform(-0.1, 0.1) for seed in row] for row in seeds])
        expected = (-6 * np.abs(starts - TARGETS)).mean(axis=1)
        np.testing.assert_allclose(returns.numpy(), expected, rtol=1e-5)
    interval = found.intervals()[0]
    assert interval.mean == pytest.approx(float(found.returns[0].mean()))


def test_chunks_change_nothing_of_the_first_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    training = PolicyTraining(FAMILY, TINY)
    controller = training.controller(training.initial_state())
    monkeypatch.setattr(evaluation, "TASKS_AT_ONCE", 2)
    tasks, done = unseen_tasks(FAMILY, 5, seed=1), []
    whole = evaluate_tasks(controller, FAMILY, tasks, 1, threads=2, on_tasks=done.append)
    assert done == [2, 4, 5] and whole.returns.shape == (2, 5)
    first = evaluate_tasks(controller, FAMILY, tasks[:2], 1, threads=1)
    assert torch.equal(first.returns, whole.returns[:, :2])


def test_tasks_of_an_evaluation_are_none_of_the_training() -> None:
    unseen = unseen_tasks(FAMILY, 50, seed=0)
    trained = [FAMILY.sample_tasks(50, generator(0, Purpose.TRAINING, iteration)) for iteration in range(20)]
    assert not set(unseen[:, 0]) & set(np.concatenate(trained)[:, 0])
    assert np.array_equal(unseen, unseen_tasks(FAMILY, 50, seed=0))


def test_the_family_takes_the_horizon_of_the_controller() -> None:
    assert family_of(still_controller(), point_family(horizon=99)).horizon == 6
    other = replace(FAMILY, observation_space=type(FAMILY.observation_space)(-1, 1, (2,)))
    with pytest.raises(Refusal, match=r"made for other spaces: point has observations \[1\]"):
        family_of(still_controller(), other)
