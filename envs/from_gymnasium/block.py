"""Environments that are stepped one after the other, each with an episode of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.core.user_code import user_code
from metarl.envs.family import Array
from metarl.envs.from_gymnasium.source import Env, Source


class Outcome(NamedTuple):
    """One step of a block's episodes; one that has ended stays as it was, with a reward of 0."""

    observations: Array  # [episode, observation]
    rewards: Array  # [episode]
    ended: NDArray[np.bool_]  # [episode]
    successes: NDArray[np.bool_] | None  # [episode], whether reached so far; None if the environments do not tell


class Block:
    """Episodes of one process. Environments are made when they are first needed and kept for later episodes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.environments: list[Env] = []

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per row of ``tasks`` [episode, field] and seed [episode]; return their observations."""
        count, source = len(seeds), self.source
        while len(self.environments) < count:
            self.environments.append(source.make())
        starts = []
        for env, row, seed in zip(self.environments, tasks, seeds, strict=False):
            observation, _ = source.begin(env, source.named(row), int(seed), {})
            starts.append(source.flatten(observation))
        self.observations = np.array(starts)
        self.ended = np.zeros(count, dtype=np.bool_)
        self.successes: NDArray[np.bool_] | None = None
        return self.observations.copy()

    def step(self, actions: Array) -> Outcome:
        """Step the episodes that have not ended with ``actions`` [episode, action]."""
        rewards, native = np.zeros(len(actions)), self.source.actions.restore(actions)
        for index in np.nonzero(~self.ended)[0]:
            step = self.source.advance(self.environments[index], native[index])
            self.observations[index] = self.source.flatten(step.observation)
            rewards[index] = step.reward
            self.ended[index] = step.terminated or step.truncated
            if step.success is not None:
                if self.successes is None:
                    self.successes = np.zeros(len(actions), dtype=np.bool_)
                self.successes[index] |= step.success
        successes = None if self.successes is None else self.successes.copy()
        return Outcome(self.observations.copy(), rewards, self.ended.copy(), successes)

    def close(self) -> None:
        """Close the environments; a later reset makes new ones."""
        environments, self.environments = self.environments, []
        for env in environments:
            with user_code(f"close of {self.source.name}"):
                env.close()
