"""What the bases of a policy are trained on: its divergence from the float policy, or its own surrogate loss."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from metarl.compression.bases.settings import BasisSettings
from metarl.compression.nest_objectives import VALIDATION, PolicyObjective, Recorded
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.inner_loop import as_leaves
from metarl.policies.controller import Controller
from metarl.policies.networks.network import Parameters
from metarl.rl.sampling import Sampler


class Losses(Protocol):
    """The loss of a policy with bases, before and after adaptation."""

    def gradients(self, parameters: Parameters, names: tuple[str, ...], iteration: int) -> Parameters:
        """Return the gradients of the loss by those parameters, on the tasks of an iteration."""
        ...

    def score(self, parameters: Parameters) -> float:
        """Return how good a policy is on tasks that are always the same; more is better."""
        ...


@dataclass(frozen=True)
class Distillation:
    """The sum of the KL divergences from the float policy before and after its inner steps, on recorded episodes."""

    objective: PolicyObjective
    training: list[Recorded]
    validation: list[Recorded]
    batch: int  # tasks of an iteration

    def gradients(self, parameters: Parameters, names: tuple[str, ...], iteration: int) -> Parameters:
        """Return the gradients on the next tasks, which come again after an epoch."""
        begin = iteration * self.batch % len(self.training)
        return self.objective.distilled(parameters, names, self.training[begin : begin + self.batch])

    def score(self, parameters: Parameters) -> float:
        """Return minus the mean divergence on the tasks for validation."""
        return -self.divergence(parameters, self.validation)

    def divergence(self, parameters: Parameters, recorded: list[Recorded]) -> float:
        """Return the mean divergence over recorded tasks."""
        leaves = as_leaves(parameters)
        sums = self.objective.executor.map(lambda task: self.objective.divergence(leaves, *task).detach(), recorded)
        return float(torch.stack(list(sums)).mean())


@dataclass(frozen=True)
class Surrogate:
    """The surrogate loss after adaptation, on new rollouts of the policy itself."""

    objective: PolicyObjective

    def gradients(self, parameters: Parameters, names: tuple[str, ...], iteration: int) -> Parameters:
        """Return the gradients on new tasks."""
        return self.objective.gradients([parameters], names, iteration)[0]

    def score(self, parameters: Parameters) -> float:
        """Return the mean return after adaptation."""
        return self.objective.score(parameters)


@contextmanager
def losses_for(controller: Controller, family: TaskFamily, settings: BasisSettings, threads: int) -> Iterator[Losses]:
    """Give the loss that the settings name; threads and simulators end with the block.

    Args:
        controller: The float policy.
        family: Its task family, as the controller sees it.
        settings: How bases are found.
        threads: Threads of the simulator and of the training.
    """
    with (
        single_threaded_torch(),
        ThreadPoolExecutor(threads, thread_name_prefix="bases") as executor,
        Sampler(family, controller.network, controller.metadata.action_scale, threads) as sampler,
    ):
        objective = PolicyObjective(controller, family, settings, sampler, executor)
        if settings.objective == "surrogate":
            yield Surrogate(objective)
            return
        training = objective.recorded(settings.tasks * settings.iterations, 0)
        validation = objective.recorded(settings.validation_tasks, VALIDATION)
        yield Distillation(objective, training, validation, settings.tasks)
