"""Environments that take one of several actions: every form of environment gets the number of its own choice."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv, VectorEnv

import metarl
from metarl.core.errors import NumericalFault
from metarl.envs.family import TaskFamily, TaskField, Transition
from metarl.envs.from_gymnasium import task_family, vector_task_family
from metarl.envs.from_gymnasium.spaces import actions
from metarl.envs.task_env import TaskEnv
from metarl.experiments.analysis.family_checks import check_family
from metarl.experiments.analysis.rendering import play
from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.mlp import CategoricalMLP
from metarl.rl.sampling import Sampler, for_each_task

WANTED = (TaskField("wanted", 0, 2, choices=(0, 1, 2)),)


class Buttons(gymnasium.Env):
    """Three buttons, numbered from 5 on; the wanted one is rewarded, and another ends the episode."""

    observation_space, action_space = Box(-9, 9, (2,)), Discrete(3, start=5)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.wanted = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        pressed = int(action) - 5
        observation = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return observation + np.float32(pressed), float(pressed == self.wanted), pressed == 2, False, {}


def set_wanted(env: gymnasium.Env, task: dict[str, float]) -> None:
    env.unwrapped.wanted = int(task["wanted"])


def set_all(env: VectorEnv, tasks: dict[str, np.ndarray]) -> None:
    for each, wanted in zip(env.envs, tasks["wanted"], strict=True):
        each.unwrapped.wanted = int(wanted)


def buttons() -> TaskFamily:
    return task_family("buttons", lambda **kwargs: Buttons(**kwargs), WANTED, 8, set_wanted)


def vector_buttons() -> TaskFamily:
    return vector_task_family("buttons", lambda count: SyncVectorEnv([Buttons] * count), WANTED, 8, set_all)


class NumberedSimulator:
    """A simulator of the user's own: rewards the wanted number, and observes the last one."""

    def reset(self, tasks, seeds):
        self.wanted = np.repeat(tasks[:, :1], seeds.shape[1], axis=1)
        return np.zeros((*seeds.shape, 1))

    def step(self, actions):
        assert actions.shape == (*self.wanted.shape, 1) and np.isin(actions, [0, 1, 2]).all()
        return Transition(actions.copy(), (actions[..., 0] == self.wanted).astype(float), self.wanted < 0)

    def close(self):
        pass


def own_family() -> TaskFamily:
    family = TaskFamily(
        name="numbers",
        fields=WANTED,
        observation_space=Box(-9, 9, (1,), np.float64),
        action_space=Discrete(3),
        horizon=8,
        make_simulator=lambda threads: NumberedSimulator(),
        make_env=lambda **kwargs: gymnasium.wrappers.TimeLimit(TaskEnv(family, **kwargs), 8),
        sample_tasks=lambda count, generator: generator.integers(3, size=(count, 1)),
    )
    return family


def test_a_choice_is_numbered_from_zero_on() -> None:
    layout = actions("buttons", Buttons.action_space)
    assert layout.flat == Discrete(3)
    assert layout.restore(np.array([[0.0], [2.0], [1.0]])).tolist() == [5, 7, 6]
    assert Buttons.action_space.contains(layout.restore(np.array([1.0])))
    assert layout.restore(np.array([[-1.0], [9.0], [np.nan]])).tolist() == [5, 7, 5], "no number leaves the space"
    drawn = {int(layout.drawn(np.random.default_rng(seed))) for seed in range(30)}
    assert drawn == {5, 6, 7}


@pytest.mark.parametrize("family", [buttons, vector_buttons, own_family])
def test_single_environment_and_simulator_agree(family) -> None:
    findings = list(check_family(family()))
    assert [finding.sentence for finding in findings if finding.verdict == "wrong"] == []
    assert any("actions make a difference" in finding.sentence for finding in findings)


@pytest.mark.parametrize("family", [buttons, vector_buttons, own_family])
def test_what_a_policy_chooses_is_what_is_rewarded(family) -> None:
    """A policy that always chooses 1 earns 8 where 1 is wanted, and nothing elsewhere."""
    made, network = family(), CategoricalMLP(family().observation_space.shape[0], (), 3)
    parameters = {
        "layer1.weight": torch.zeros(3, network.observation_size),
        "layer1.bias": torch.tensor([0.0, 50.0, 0.0]),
    }
    with Sampler(made, network, 1.0, 1) as sampler:
        tasks = np.array([[0.0], [1.0]])
        for deterministic in (False, True):
            episodes = sampler.sample(for_each_task(parameters, 2), tasks, 3, np.random.default_rng(0), deterministic)
            assert episodes.actions.shape == (2, 3, 8, 1) and bool((episodes.actions == 1).all())
            assert episodes.returns().tolist() == [[0, 0, 0], [8, 8, 8]]


def test_a_policy_whose_logits_are_not_finite_is_named() -> None:
    parameters = {"layer1.weight": torch.zeros(3, 2), "layer1.bias": torch.tensor([0, torch.nan, 0])}
    sampler = Sampler(buttons(), CategoricalMLP(2, (), 3), 1.0, 1)
    with sampler, pytest.raises(NumericalFault, match="the policy's actions are"):
        sampler.sample(for_each_task(parameters, 1), np.array([[0.0]]), 2, np.random.default_rng(0))


def test_it_learns_which_button_is_wanted() -> None:
    """Chance earns at most about 2 of 8; adaptation finds the task's button out of its rewards."""
    settings = {"iterations": 12, "meta_batch_size": 9, "episodes_per_task": 10, "hidden_sizes": (8,), "threads": 1}
    controller = metarl.train(buttons(), method="maml++", max_kl=0.1, fisher_fraction=1.0, **settings)
    assert isinstance(controller.network, CategoricalMLP) and STEP_SIZES in controller.parameters
    before, after = (each.mean for each in metarl.evaluate(controller, family=buttons(), tasks=12).intervals())
    assert after > before + 0.5, (before, after)
    rewards = [moment.reward for moment in play(controller, buttons().make_env(), {"wanted": 1}, seed=0, horizon=8)]
    assert 1 <= len(rewards) <= 8 and set(rewards) <= {0.0, 1.0}
