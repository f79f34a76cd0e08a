"""Episodes of many tasks as batched tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarl.policies.device.episodes import Episode


@dataclass(frozen=True)
class Episodes:
    """Episodes with the axes [task, episode, time, feature]; time runs to the horizon.

    ``actions`` are the policy's own, before the action scale and the clipping to the action space. ``valid`` is False
    after an episode has terminated; what stands there has no meaning.
    """

    observations: Tensor  # [task, episode, time, observation]
    actions: Tensor  # [task, episode, time, action]
    rewards: Tensor  # [task, episode, time]
    valid: Tensor  # [task, episode, time], bool
    successes: Tensor  # [task, episode]: 1 if the goal was reached, else 0; NaN if the environment does not tell

    def __post_init__(self) -> None:
        shape = self.rewards.shape
        assert len(shape) == 3 and self.valid.shape == shape, (shape, self.valid.shape)
        assert self.observations.shape[:3] == shape and self.actions.shape[:3] == shape
        assert self.successes.shape == shape[:2], (shape, self.successes.shape)

    def returns(self) -> Tensor:
        """Return the undiscounted sum of each episode's rewards [task, episode]."""
        return (self.rewards * self.valid).sum(dim=2)

    def recorded(self, task: int) -> list[Episode]:
        """Return one task's episodes as a robot records them: each up to its end."""
        lengths = self.valid[task].sum(dim=1).tolist()
        return [
            {
                "observations": self.observations[task, episode, :length].numpy(),
                "actions": self.actions[task, episode, :length].numpy(),
                "rewards": self.rewards[task, episode, :length].numpy(),
            }
            for episode, length in enumerate(lengths)
        ]

    def steps(self) -> int:
        """Return the number of environment steps up to the episodes' ends."""
        return int(self.valid.sum())

    def of(self, tasks: slice) -> Episodes:
        """Return the episodes of some tasks; they share their memory with these."""
        return Episodes(
            self.observations[tasks],
            self.actions[tasks],
            self.rewards[tasks],
            self.valid[tasks],
            self.successes[tasks],
        )
