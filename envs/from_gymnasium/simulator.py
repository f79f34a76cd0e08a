"""The batched simulator of Gymnasium environments: one environment per episode, in this process or in workers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, Transition
from metarl.envs.from_gymnasium.block import Block, Outcome
from metarl.envs.from_gymnasium.source import Source
from metarl.envs.from_gymnasium.workers import GRACE, Workers


class GymnasiumSimulator:
    """Steps all episodes of all tasks; with ``processes`` above 0 they are dealt to so many worker processes."""

    def __init__(self, source: Source, processes: int) -> None:
        self.source, self.processes = source, processes
        self.block = Block(source)
        self.workers: Workers | None = None

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed; an episode depends on its task and its seed alone."""
        self.shape = seeds.shape
        rows, flat = np.repeat(tasks, seeds.shape[1], axis=0), seeds.reshape(-1)
        if self.processes:
            self.workers = self.workers or Workers(self.source, self.processes)
            limit = self.source.reset_seconds
            seconds = None if limit is None else limit * (seeds.size // self.processes + 1) + GRACE
            observations = np.concatenate(
                self.workers.call("reset", self._dealt(rows), self._dealt(flat), seconds=seconds)
            )
        else:
            observations = self.block.reset(rows, flat)
        return observations.reshape(*self.shape, -1)

    def step(self, actions: Array) -> Transition:
        """Step the episodes that have not ended; raise UserCodeError if an environment fails."""
        flat = actions.reshape(self.shape[0] * self.shape[1], -1)
        outcome = merged(self.workers.call("step", self._dealt(flat))) if self.workers else self.block.step(flat)
        return Transition(
            outcome.observations.reshape(*self.shape, -1),
            outcome.rewards.reshape(self.shape),
            outcome.ended.reshape(self.shape),
            None if outcome.successes is None else outcome.successes.reshape(self.shape),
        )

    def close(self) -> None:
        """Close the environments and end the worker processes; a later reset starts anew."""
        self.block.close()
        if self.workers is not None:
            self.workers.close()
            self.workers = None

    def _dealt(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the rows of each worker's episodes, neighbors together; no part is empty."""
        return np.array_split(rows, min(self.processes, len(rows)))


def merged(outcomes: list[Outcome]) -> Outcome:
    """Return the outcome of all blocks' episodes; a block whose environments do not tell of success has none."""
    told = [outcome.successes for outcome in outcomes]
    successes = None
    if any(part is not None for part in told):
        successes = np.concatenate(
            [
                np.zeros(len(outcome.rewards), np.bool_) if part is None else part
                for outcome, part in zip(outcomes, told, strict=True)
            ]
        )
    observations, rewards, ended = (np.concatenate(parts) for parts in list(zip(*outcomes, strict=True))[:3])
    return Outcome(observations, rewards, ended, successes)
