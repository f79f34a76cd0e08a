"""A task family as small as can be: a point on a line that is to reach a target. Faults can be switched on."""

from __future__ import annotations

import gymnasium
import numpy as np

from metarl.envs.family import TaskFamily, TaskField, Transition
from metarl.rl.settings import TrainSettings

TINY = TrainSettings(
    iterations=6,
    meta_batch_size=3,
    episodes_per_task=4,
    hidden_sizes=(8,),
    cg_iterations=4,
    fisher_fraction=1.0,
    action_scale=0.2,
    threads=2,
)


class PointSimulator:
    """Reward is minus the distance; ``broken`` puts a NaN into the rewards of the given calls of step."""

    def __init__(self, broken: frozenset[int] = frozenset(), where: str = "rewards") -> None:
        self.broken, self.where, self.calls = broken, where, 0

    def reset(self, tasks, seeds):
        self.targets = np.broadcast_to(tasks, seeds.shape)
        starts = [[np.random.default_rng(seed).uniform(-0.1, 0.1) for seed in row] for row in seeds]
        self.positions = np.array(starts)
        return self.positions[..., np.newaxis].copy()

    def step(self, actions):
        self.positions = self.positions + np.clip(actions[..., 0], -1, 1)
        rewards = -np.abs(self.positions - self.targets)
        observations = self.positions[..., np.newaxis].copy()
        if self.calls in self.broken:
            {"rewards": rewards, "observations": observations}[self.where][0, 0] = np.nan
        self.calls += 1
        return Transition(observations, rewards, rewards > -0.01)

    def close(self) -> None:
        pass


def point_family(horizon: int = 7, make_simulator=lambda threads: PointSimulator()) -> TaskFamily:
    return TaskFamily(
        name="point",
        fields=(TaskField("target", -1.0, 1.0),),
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (1,)),
        action_space=gymnasium.spaces.Box(-1.0, 1.0, (1,)),
        horizon=horizon,
        make_simulator=make_simulator,
        make_env=lambda **kwargs: gymnasium.make("CartPole-v1"),
        sample_tasks=lambda count, generator: generator.uniform(-1, 1, (count, 1)),
    )
