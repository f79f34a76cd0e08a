"""Adapting to a batch of tasks: every task for itself, each step on episodes of the policy after the step before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from point_family import TINY, point_family

from metarl.core.clock import Clock
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import Adaptation, adapt_to_tasks, stack
from metarl.rl.batch import prepare_batch
from metarl.rl.sampling import Sampler
from metarl.rl.start import build_network, initial_state
from metarl.rl.workers import adaptation_settings

FAMILY = point_family(horizon=12)
SETTINGS = replace(TINY, method="p-meta", inner_steps=2, episodes_per_task=5)
INNER = adaptation_settings(SETTINGS)
NETWORK = build_network(FAMILY, SETTINGS)
TARGETS = np.array([[-0.8], [0.1], [0.6]])


def parameters() -> Parameters:
    return initial_state(NETWORK, SETTINGS).parameters


def adapt(targets: np.ndarray = TARGETS, threads: int = 1, query_advantages: bool = True) -> Adaptation:
    with Sampler(FAMILY, NETWORK, 0.5, 1) as sampler, ThreadPoolExecutor(threads) as executor:
        random = np.random.default_rng(4)
        return adapt_to_tasks(
            parameters(), targets, INNER, sampler, executor, random, Clock(), query_advantages=query_advantages
        )


def test_what_comes_of_two_inner_steps() -> None:
    adaptation = adapt()
    assert [episodes.rewards.shape for episodes in adaptation.episodes] == [(3, 5, 12)] * 3
    assert [len(of_step) for of_step in adaptation.batches] == [3, 3, 3]
    assert [len(of_step) for of_step in adaptation.scores] == [3, 3]
    assert set(adaptation.scores[0][0]) == {"layer1", "layer2"}
    assert len(adapt(query_advantages=False).batches) == 2


@pytest.mark.parametrize("task", range(3))
def test_a_task_is_adapted_by_its_own_episodes(task: int) -> None:
    """The inner steps anew, one after the other, on the episodes that were recorded."""
    adaptation, adapted = adapt(), as_leaves(parameters())
    for step in range(2):
        batch = prepare_batch(adaptation.episodes[step], task, INNER.discount, INNER.gae_lambda)
        taken = inner_step(NETWORK, adapted, INNER.method, step, batch, second_order=False)
        adapted = as_leaves(taken.parameters)
        for layer, sides in taken.scores.items():
            for side, scores in sides.items():
                assert torch.equal(adaptation.scores[step][task][layer][side], scores)
    last = stack(adaptation.parameters[-1])
    assert all(torch.equal(last[name][task], tensor) for name, tensor in adapted.items())
    assert not torch.equal(adapted["layer1.weight"], parameters()["layer1.weight"])


def test_episodes_after_a_step_are_those_of_the_adapted_policies() -> None:
    """An action is mean + std * noise, with the noise that the generator gives after the seeds of each sampling."""
    adaptation, random = adapt(), np.random.default_rng(4)
    for step, episodes in enumerate(adaptation.episodes):
        random.integers(2**31, size=(3, 5))
        noise = torch.from_numpy(random.standard_normal((12, 3, 5, 1), dtype=np.float32))
        for task, policy in enumerate(adaptation.parameters[step]):
            valid = episodes.valid[task]
            mean, _ = NETWORK(policy, episodes.observations[task])
            expected = mean + NETWORK.log_std(policy).exp() * noise[:, task].transpose(0, 1)
            torch.testing.assert_close(episodes.actions[task][valid], expected[valid])


def test_neither_threads_nor_other_tasks_matter() -> None:
    alone, together = adapt(threads=1), adapt(threads=3)
    for mine, theirs in zip(alone.parameters[-1], together.parameters[-1], strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    changed = TARGETS.copy()
    changed[2] = -0.3
    first, *_, last = adapt(changed).parameters[-1]
    assert torch.equal(first["layer1.weight"], alone.parameters[-1][0]["layer1.weight"])
    assert not torch.equal(last["layer1.weight"], alone.parameters[-1][2]["layer1.weight"])
