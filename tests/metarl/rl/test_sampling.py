"""Dealing tasks to groups and turns, counting steps, and ending when a group fails."""

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from own_environments import point_with
from point_family import PointSimulator, point_family

from metarl.core.user_code import UserCodeError
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl import sampling
from metarl.rl.sampling import Sampler, dealt, for_each_task, tasks_at_once

NETWORK = GaussianMLP(1, (4,), 1, 0.5)
PARAMETERS = NETWORK.initial_parameters(torch.Generator().manual_seed(0))


def sample(family, threads: int, tasks: int = 7, episodes: int = 3):
    with Sampler(family, NETWORK, 1.0, threads) as sampler:
        generator = np.random.default_rng(0)
        return sampler.sample(for_each_task(PARAMETERS, tasks), np.linspace(-1, 1, tasks)[:, None], episodes, generator)


def test_tasks_are_dealt_to_groups_in_turns() -> None:
    assert dealt(4, 2, 4) == [[slice(0, 2)], [slice(2, 4)]]
    assert dealt(8, 2, 4) == [[slice(0, 2), slice(4, 6)], [slice(2, 4), slice(6, 8)]]
    assert dealt(2, 4, 9) == [[slice(0, 1)], [slice(1, 2)]]
    assert dealt(3, 1, 0) == [[slice(0, 1), slice(1, 2), slice(2, 3)]]
    for tasks, groups, at_once in np.ndindex(9, 5, 9):
        parts = [part for group in dealt(tasks + 1, groups + 1, at_once) for part in group]
        assert sorted(index for part in parts for index in range(part.start, part.stop)) == list(range(tasks + 1))
        assert all(part.stop > part.start for part in parts)


@pytest.mark.parametrize(("threads", "at_once"), [(1, 3), (1, 7), (2, 6), (3, 8), (4, 1)])
def test_neither_threads_nor_turns_change_an_episode(threads: int, at_once: int, monkeypatch) -> None:
    expected = sample(point_family(horizon=20), threads=1)
    monkeypatch.setattr(sampling, "tasks_at_once", lambda *_: at_once)
    found = sample(point_family(horizon=20), threads)
    for part in ("observations", "actions", "rewards", "valid"):
        assert torch.equal(getattr(found, part), getattr(expected, part)), part


def test_environments_that_take_much_memory_are_told_of() -> None:
    family = replace(point_family(), episode_bytes=20_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tasks_at_once(family, 4, 10, 10**9) == 4
        assert tasks_at_once(family, 40, 20, None) == 40
        assert tasks_at_once(point_family(), 40, 20, 10**9) == 40
    with pytest.warns(UserWarning, match=r"40 x 20 environments of point take 16 GB$"):
        assert tasks_at_once(family, 40, 20, 40 * 10**9) == 40
    with pytest.warns(UserWarning, match=r"take 16 GB: tasks are sampled 10 at a time, to take less than half of the"):
        assert tasks_at_once(family, 40, 20, 8 * 10**9) == 10
    with pytest.warns(UserWarning, match="sampled 1 at a time"):
        assert tasks_at_once(family, 40, 20, 5 * 10**8) == 1
    with pytest.raises(ValueError, match="and those of one task do not fit into 0.399 GB: take fewer episodes"):
        tasks_at_once(family, 40, 20, 399 * 10**6)


def test_steps_after_an_end_are_neither_taken_nor_counted() -> None:
    taken = []

    def answer(env, step):
        taken.append(env.time)
        return (step[0], step[1], env.time >= 4, *step[3:])

    family = point_with(answer, horizon=100, processes=False)
    network = GaussianMLP(2, (4,), 1, 0.5)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    with Sampler(family, network, 1.0, 1) as sampler:
        taken.clear()
        tasks = np.array([[-1.0], [1.0]])
        episodes = sampler.sample(for_each_task(parameters, 2), tasks, 3, np.random.default_rng(0))
    assert len(taken) == 24 and episodes.steps() == 24
    assert episodes.valid.sum(dim=2).tolist() == [[4, 4, 4], [4, 4, 4]]
    assert not episodes.rewards[..., 4:].any()


def test_success_is_kept_and_nan_where_nobody_tells() -> None:
    def answer(env, step):
        reached = env.goal == 1.0 and env.time == 3
        return (*step[:4], {"success": reached})

    network = GaussianMLP(2, (4,), 1, 0.5)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    for answers, expected in ((answer, [[0, 0], [1, 1]]), (lambda env, step: step, [[np.nan] * 2] * 2)):
        with Sampler(point_with(answers, horizon=6, processes=False), network, 1.0, 1) as sampler:
            tasks = np.array([[-1.0], [1.0]])
            episodes = sampler.sample(for_each_task(parameters, 2), tasks, 2, np.random.default_rng(0))
        np.testing.assert_array_equal(episodes.successes, expected)


class FailingSimulator(PointSimulator):
    """Group 1 fails at its third step, group 0 waits until it has."""

    failed = threading.Event()

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group, self.steps, self.closed = group, 0, False

    def step(self, actions):
        self.steps += 1
        if self.group == 1 and self.steps == 3:
            self.failed.set()
            raise RuntimeError("group 1 fails")
        if self.group == 0 and self.steps == 5:
            assert self.failed.wait(10)
        return super().step(actions)

    def close(self) -> None:
        self.closed = True


def test_an_error_in_one_group_ends_the_others() -> None:
    made: list[FailingSimulator] = []

    def make(threads: int) -> FailingSimulator:
        made.append(FailingSimulator(len(made)))
        return made[-1]

    family = point_family(horizon=100_000, make_simulator=make)
    with pytest.raises(UserCodeError, match="sampling episodes of point failed in .*: group 1 fails"):
        sample(family, threads=2, tasks=2, episodes=1)
    assert made[0].steps < 50_000 and all(simulator.closed for simulator in made)


def test_a_simulator_that_cannot_be_made_closes_those_that_were() -> None:
    made: list[FailingSimulator] = []

    def make(threads: int) -> FailingSimulator:
        if made:
            raise RuntimeError("no more")
        made.append(FailingSimulator(0))
        return made[0]

    with pytest.raises(RuntimeError, match="no more"):
        Sampler(point_family(make_simulator=make), NETWORK, 1.0, 3)
    assert made[0].closed
