"""An inner step of which nothing is stored: a stream of time steps, then the adapted parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.policies.compression.masks import masked
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import device_layers
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Runner, constants
from metarl.policies.device.stream_program import check_streaming, stream_program
from metarl.policies.device.workload import Estimator
from metarl.policies.methods import Method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters

COLUMNS = ("observations", "actions", "rewards", "advantages")


class Stream:
    """The program of a step with nothing stored, which takes in one time step after the other.

    Call ``add`` for each time step, ``end_episode`` after the last of an episode, and ``adapted`` once.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        parameters: Parameters,
        method: Method,
        step: int,
        horizon: int,
        estimator: Estimator,
        meter: Meter | None = None,
    ) -> None:
        """Begin a step.

        Args:
            network: The policy network.
            parameters: Its parameters, with step sizes.
            method: The meta-learning method.
            step: The inner step, from 0 on.
            horizon: The most time steps of an episode.
            estimator: How the advantages are computed from the rewards.
            meter: Measures the memory of the step.

        Raises:
            Refusal: If the method's gradients are no sums over single time steps.
        """
        check_streaming(method)
        self.parameters, self.step, self.horizon = parameters, step, horizon
        self.rewards = 0.0
        layers = device_layers(network, parameters, method, step)
        changing = [name for layer in layers if layer.updated for name in layer.stated.adapted_names]
        sizes = {"observations": (network.observation_size,), "actions": (network.action_size,)}
        self.row: Mapping[str, FloatArray] = {each: np.ones((1, *sizes.get(each, ())), np.float32) for each in COLUMNS}
        storage = {name: [array] for name, array in self.row.items()}
        self.run = Run(storage, 0, {name: parameters[name].detach().numpy().copy() for name in changing})
        self.steps = 0  # of the episode that has begun
        self.runner: Runner | None = None  # where the step changes nothing
        if changing:
            program = stream_program(layers, horizon, estimator)
            self.runner = Runner(lambda kept: program, constants(layers, parameters), self.run, meter or Meter())
            self._run("begin")

    @property
    def episodes(self) -> int:
        """The episodes that have ended."""
        return self.run.episodes

    @property
    def mean_return(self) -> float:
        """The mean return of the episodes."""
        return self.rewards / max(self.run.episodes, 1)

    def add(self, observation: FloatArray, action: FloatArray, reward: float) -> None:
        """Take in a time step: what the policy saw [observation], its own action [action] and the reward."""
        if self.steps == self.horizon:
            raise Refusal(f"an episode of this controller has at most {plural(self.horizon, 'time step')}")
        if not self.steps:
            self._run("episode")
        self.row["observations"][0], self.row["actions"][0], self.row["rewards"][0] = observation, action, reward
        self.run.first = self.run.start = self.steps
        self.run.stop = self.steps + 1
        self._run("act", 1)
        self._run("reward", 1)
        self.steps += 1
        self.run.steps += 1
        self.rewards += float(reward)

    def end_episode(self) -> None:
        """End the episode that the time steps since the last one belong to."""
        if not self.steps:
            raise Refusal("the episode is empty: it must have at least one time step")
        self._run("end")
        self.steps = 0
        self.run.episodes += 1

    def adapted(self, gate: float = 1.0) -> Parameters:
        """Return the parameters after the step, whose step sizes a gate may scale; the stream is used up."""
        if self.steps:
            raise Refusal("an episode is running: call end_episode before adapting")
        if not self.run.episodes:
            raise Refusal("there is no episode to adapt to: record at least one")
        self.run.gate = gate
        for name in ("mix", "combine", "update"):
            self._run(name)
        return masked(self.parameters | {name: torch.from_numpy(array) for name, array in self.run.adapted.items()})

    def _run(self, stage: str, rows: int | None = None) -> None:
        if self.runner:
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is checked at the end
                self.runner.run_stage(stage, rows)
