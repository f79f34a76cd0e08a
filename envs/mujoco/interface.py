"""What stands between a policy and a real robot: noisy observations, late actions, slower control."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array
from metarl.envs.mujoco.robot import RobotTasks

NOISE_STEPS = 32  # control steps whose noise is drawn at once


class Interface:
    """The interface of n episodes, from their ``reset`` on. An episode's noise depends on its seed alone.

    Attributes:
        repeats: Factors on the frame skip [n].
        distinct_repeats: Their distinct values.
    """

    def __init__(
        self, tasks: RobotTasks, values: Mapping[str, Array], seeds: NDArray[np.int64], action_size: int
    ) -> None:
        def of(option: str) -> Array:
            value = getattr(tasks, option)
            return values[value] if isinstance(value, str) else np.full(seeds.size, float(value))

        self.repeats = of("action_repeat").round().astype(int)
        self.distinct_repeats = [int(repeat) for repeat in np.unique(self.repeats)]
        self.delays = of("action_delay").round().astype(int)
        self.sent = np.zeros((self.delays.max() + 1, seeds.size, action_size))
        self.deviations = of("observation_noise")
        self.generators: list[np.random.Generator] = []
        if self.deviations.any():
            # The seed itself draws the start, from which the noise must be independent.
            self.generators = [np.random.default_rng((1, int(seed))) for seed in seeds.flat]
        self.steps = self.observed = 0

    def delay(self, actions: Array) -> Array:
        """Return the actions [n, action] that reach the motors now, given those that the policy sends now."""
        if len(self.sent) == 1:
            return actions
        self.sent[self.steps % len(self.sent)] = actions
        applied: Array = self.sent[(self.steps - self.delays) % len(self.sent), np.arange(len(actions))]
        self.steps += 1
        return applied

    def sense(self, observations: Array) -> Array:
        """Return observations [n, observation] with the noise of this control step."""
        if not self.generators:
            return observations
        at = self.observed % NOISE_STEPS
        if at == 0:
            shape = (NOISE_STEPS, observations.shape[1])
            self.noise = np.stack([generator.standard_normal(shape) for generator in self.generators], axis=1)
        self.observed += 1
        noisy: Array = observations + self.deviations[:, np.newaxis] * self.noise[at]
        return noisy
