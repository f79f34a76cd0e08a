"""The policies that the methods are compared with: told nothing of the task, or told the task."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from point_family import TINY, point_family

import metarl
from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.policies.gate import GATE
from metarl.policies.methods import REFERENCES
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.batch import pooled
from metarl.rl.sampling import Sampler
from metarl.rl.terms import TaskData, TaskTerms
from metarl.rl.training import PolicyTraining
from metarl.rl.workers import adaptation_settings, task_data

FAMILY = point_family()


def trained(method: str, **settings: Any) -> metarl.Controller:
    changed = replace(TINY, method=method, **settings)
    return metarl.train(FAMILY, settings=changed)


def test_the_oracle_gets_nearer_than_a_policy_that_is_told_nothing() -> None:
    """Told nothing, the best is to stay: the mean distance from a target uniform in [-1, 1] is 0.5, seven times."""
    settings = {"iterations": 15, "meta_batch_size": 10, "max_kl": 0.1, "initial_std": 0.5}
    evaluations = {
        method: metarl.evaluate(trained(method, **settings), family=FAMILY, tasks=60) for method in REFERENCES
    }
    means = {method: evaluation.intervals()[0].mean for method, evaluation in evaluations.items()}
    assert means["no-adaptation"] > -4.2
    assert means["oracle"] > means["no-adaptation"] + 1


def test_nothing_is_adapted() -> None:
    controller = trained("oracle", gate="return", iterations=1)
    assert GATE not in controller.parameters and not controller.parameters["step_sizes"].any()
    assert controller.network.observation_size == 2
    with pytest.raises(ValueError, match="cannot be adapted: oracle is a reference that updates no layer"):
        metarl.adapt(controller, {"target": 0.5}, family=FAMILY)


def test_the_outer_step_learns_from_all_episodes() -> None:
    """The gradient on both batches of a task is the mean of the gradients on each, for they are equally long."""
    training = PolicyTraining(point_family(), replace(TINY, method="no-adaptation"))
    parameters, inner = training.begun.parameters, adaptation_settings(training.settings)
    family = replace(training.family, horizon=5)
    with Sampler(family, training.network, 0.01, 1) as sampler, ThreadPoolExecutor(1) as executor:
        tasks = family.sample_tasks(2, generator(0, Purpose.TRAINING))
        random = generator(1, Purpose.TRAINING)
        adaptation = adapt_to_tasks(parameters, tasks, inner, sampler, executor, random, Clock())
        data = task_data(adaptation, inner.method)

        def gradient(data: list[TaskData]) -> torch.Tensor:
            names = tuple(sorted(training.network.parameter_shapes))
            terms = TaskTerms(training.network, inner.method, False, data, executor)
            return terms.gradients(parameters, names).gradients.mean(dim=0)

        halves = [gradient([TaskData((), batch) for batch in batches]) for batches in adaptation.batches]
        whole = gradient(data)
    assert all(each.query.valid.all() and not each.support for each in data)
    torch.testing.assert_close(whole, torch.stack(halves).mean(dim=0), rtol=1e-4, atol=1e-6)
    assert pooled(adaptation.batches[0]).episodes == 2 * TINY.episodes_per_task
