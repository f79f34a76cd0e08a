"""The safe way to adapt: fresh episodes before and after, of which the better policy is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.envs.family import TaskFamily
from metarl.policies.controller import Controller
from metarl.rl.sampling import Sampler, for_each_task

FEWEST_EPISODES = 2  # from which the gain has an interval


@dataclass(frozen=True)
class Check:
    """Returns [episode] of a controller before and after adaptation, on fresh episodes.

    Episodes of the same index begin alike and have the same exploration noise, so that their difference tells more than
    two independent means.
    """

    before: Tensor
    after: Tensor

    @property
    def gain(self) -> Interval:
        """The mean return after adaptation minus that before, with the 95 % interval over pairs of episodes."""
        return interval_over_tasks(self.after - self.before)

    @property
    def keeps_adapted(self) -> bool:
        """Whether adaptation raised the mean return."""
        return self.gain.mean > 0

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval of the gain leaves out zero."""
        return abs(self.gain.mean) > self.gain.ci95


def check_adaptation(
    before: Controller, after: Controller, family: TaskFamily, episodes: int, seed: int, threads: int
) -> Check:
    """Run a controller before and after its adaptation to a task, on as many fresh episodes each.

    Args:
        before: The controller that was adapted.
        after: The adapted controller, which names the task.
        family: The task's family, at the controller's horizon.
        episodes: Fresh episodes of each.
        seed: Seed of the episodes, which are others than those of the adaptation with this seed.
        threads: Threads of the simulator.

    Returns:
        The returns of both. Refusal if there are too few episodes to compare.
    """
    if episodes < FEWEST_EPISODES:
        raise Refusal(f"a check takes at least {FEWEST_EPISODES} episodes, got {episodes}")
    tasks = family.task_array(after.metadata.adapted_to or {})[np.newaxis]
    with (
        single_threaded_torch(),
        Sampler(family, before.network, before.metadata.action_scale, threads) as sampler,
    ):
        returns = [
            sampler.sample(
                for_each_task(controller.parameters, 1), tasks, episodes, generator(seed, Purpose.CHECK)
            ).returns()[0]
            for controller in (before, after)
        ]
    return Check(returns[0].double(), returns[1].double())
