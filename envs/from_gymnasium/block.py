"""Episodes that are stepped one after the other, each in an environment of its own unless episodes can take turns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.core.user_code import user_code
from metarl.envs.family import Array
from metarl.envs.from_gymnasium.source import Env, Source, Step, Suspendable


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
        self.suspended: list[Any] = []  # of each episode, if all take turns in the first environment

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per row of ``tasks`` [episode, field] and seed [episode]; return their observations."""
        count, source = len(seeds), self.source
        while not self.environments or (len(self.environments) < count and not self.takes_turns):
            self.environments.append(source.make())
        starts = []
        self.suspended = []
        for index, (row, seed) in enumerate(zip(tasks, seeds, strict=True)):
            env = self.environments[0 if self.takes_turns else index]
            observation, _ = source.begin(env, source.named(row), int(seed), {})
            starts.append(source.flatten(observation))
            if isinstance(env, Suspendable):
                self.suspended.append(self._suspended(env))
        self.observations = np.array(starts)
        self.ended = np.zeros(count, dtype=np.bool_)
        self.successes: NDArray[np.bool_] | None = None
        return self.observations.copy()

    def step(self, actions: Array) -> Outcome:
        """Step the episodes that have not ended with ``actions`` [episode, action]."""
        rewards, native = np.zeros(len(actions)), self.source.actions.restore(actions)
        for index in np.nonzero(~self.ended)[0]:
            step = self._advance(int(index), native[index])
            self.observations[index] = self.source.flatten(step.observation)
            rewards[index] = step.reward
            self.ended[index] = step.terminated or step.truncated
            if step.success is not None:
                if self.successes is None:
                    self.successes = np.zeros(len(actions), dtype=np.bool_)
                self.successes[index] |= step.success
        successes = None if self.successes is None else self.successes.copy()
        return Outcome(self.observations.copy(), rewards, self.ended.copy(), successes)

    @property
    def takes_turns(self) -> bool:
        """Whether one environment serves all episodes."""
        return bool(self.environments) and isinstance(self.environments[0], Suspendable)

    def _advance(self, index: int, action: NDArray[Any]) -> Step:
        if not self.takes_turns:
            return self.source.advance(self.environments[index], action)
        env: Any = self.environments[0]
        with user_code(f"resume of {self.source.name}"):
            env.resume(self.suspended[index])
        step = self.source.advance(env, action)
        self.suspended[index] = self._suspended(env)
        return step

    def _suspended(self, env: Suspendable) -> Any:
        with user_code(f"suspend of {self.source.name}"):
            return env.suspend()

    def close(self) -> None:
        """Close the environments; a later reset makes new ones."""
        environments, self.environments, self.suspended = self.environments, [], []
        for env in environments:
            with user_code(f"close of {self.source.name}"):
                env.close()
