"""A controller as the agent of Meta-World's own ``metaworld.evaluation.metalearning_evaluation``.

    envs = gymnasium.make_vec("Meta-World/ML1-test", env_name="reach-v3", seed=1, meta_batch_size=10)
    metalearning_evaluation(MetaWorldAgent(controller), envs)

The protocol is that of McLean et al. 2025 (arXiv 2505.11289): in each environment some episodes to adapt to, then some
with the adapted policy.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, require_vectors
from metarl.policies.recorder import Recorder


class Timestep(Protocol):
    """What Meta-World tells of a step of all environments."""

    reward: NDArray[Any]  # [environment]
    terminated: NDArray[Any]  # [environment]
    truncated: NDArray[Any]  # [environment]


class MetaWorldAgent:
    """Adapts the controller to each environment by itself: what metaworld's ``MetaLearningAgent`` asks for.

    Episodes that Meta-World samples beyond those that an environment adapts to count, too. Refusal if it asks for more
    ``adaptation_steps`` than the controller has inner steps, or the controller does not act by vectors.
    """

    def __init__(self, controller: Controller, seed: int = 0, deterministic: bool = False) -> None:
        """Take a controller.

        Args:
            controller: The controller, before any inner step.
            seed: Seed of the actions.
            deterministic: Whether the adapted policies are evaluated by their mean actions, without exploration noise.
        """
        require_vectors(controller, "MetaWorldAgent")
        self.controller, self.deterministic = controller, deterministic
        self.generator = np.random.default_rng(seed)
        self.init()

    def init(self) -> None:
        """Forget what was adapted: the environments have other tasks."""
        self.steps = 0
        self.adapted: list[Controller] = []
        self.recorders: list[Recorder] = []

    def adapt_action(self, observations: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return exploring actions [environment, action], and that there is nothing else to keep."""
        if not self.recorders:
            if self.steps == self.controller.metadata.inner_steps:
                raise Refusal(
                    f"the controller has {self.steps} inner steps, and adaptation_steps asks for more: set it to that"
                )
            self.recorders = [
                Recorder(policy, self.generator, step=self.steps) for policy in self._policies(len(observations))
            ]
        acted = [each.act(observation) for each, observation in zip(self.recorders, observations, strict=True)]
        return np.array(acted), {}

    def step(self, timestep: Timestep) -> None:
        """Record the rewards of the last actions, and which episodes have ended."""
        ended = np.logical_or(timestep.terminated, timestep.truncated)
        for recorder, reward, ends in zip(self.recorders, timestep.reward, ended, strict=True):
            recorder.reward(reward)
            if ends:
                recorder.end_episode()

    def adapt(self) -> None:
        """Take an inner step in each environment."""
        self.adapted = [recorder.adapt() for recorder in self.recorders]
        self.recorders, self.steps = [], self.steps + 1

    def eval_action(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Return the actions [environment, action] of the adapted policies."""
        policies = self._policies(len(observations))
        return np.array(
            [
                policy.predict(observation, deterministic=self.deterministic, generator=self.generator)[0]
                for policy, observation in zip(policies, observations, strict=True)
            ]
        )

    def reset(self, env_mask: NDArray[np.bool_]) -> None:
        """Do nothing: policies have no memory."""

    def _policies(self, count: int) -> list[Controller]:
        return self.adapted or [self.controller] * count
