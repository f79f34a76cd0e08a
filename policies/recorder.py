"""The robot's loop: act, report the reward, and collect the episodes that the controller adapts to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.policies.controller import Controller
from metarl.policies.device.episodes import Episode


class Recorder:
    """Act as the controller's policy, exploring, and keep the episodes that ``Controller.adapt`` needs.

    Call ``act``, execute its action, call ``reward``, and so on; then ``end_episode``. After a step that failed, call
    ``discard`` and begin the episode again. ``episodes`` are those that have ended, ``len(recorder)`` is their number.
    Actions are drawn by ``generator``, or by a freshly seeded one. With ``streaming`` nothing is kept but the sums that
    inner step ``step`` needs (``Controller.stream``), and ``adapt`` takes that step. Calls out of
    this order, and bad observations and rewards, raise ValueError and leave the recording as it was.
    """

    def __init__(
        self,
        controller: Controller,
        generator: np.random.Generator | None = None,
        streaming: bool = False,
        step: int = 0,
    ) -> None:
        self.controller, self.step = controller, step
        self.generator = generator or np.random.default_rng()
        self.episodes: list[Episode] = []
        self.stream = controller.stream(step) if streaming else None
        self._clear()

    def __len__(self) -> int:
        return self.stream.episodes if self.stream else len(self.episodes)

    def __repr__(self) -> str:
        running = plural(self.stream.steps if self.stream else len(self._actions), "step")
        return f"<Recorder: {plural(len(self), 'episode')}, {running} of a running one>"

    def act(self, observation: ArrayLike) -> NDArray[Any]:
        """Return the action for an observation [observation], for the environment.

        It is scaled and clipped [action], or the number of a choice [].
        """
        self._require_reward()
        action = self.controller.policy_action(observation, deterministic=False, generator=self.generator)
        if action.ndim != 1:
            raise Refusal(
                f"a recorder takes one observation at a time, of the shape "
                f"[{self.controller.network.observation_size}], got {list(np.shape(observation))}"
            )
        executed = self.controller.executed(action)
        self._observations.append(np.array(observation, np.float32))
        self._actions.append(action)
        return executed

    def reward(self, reward: float) -> None:
        """Record the reward for the last action."""
        if len(self._rewards) == len(self._actions):
            raise Refusal("there is no action without a reward: call act before reward")
        try:
            value = float(reward)
        except (TypeError, ValueError):
            raise Refusal(f"the reward must be a number, got {reward!r}") from None
        if not abs(value) <= float(np.finfo(np.float32).max):
            raise Refusal(f"the reward must be a finite float32 number, got {value}")
        if self.stream:
            self.stream.add(self.controller.seen(self._observations[0]), self._actions[0], value)
            self._clear()
        else:
            self._rewards.append(value)

    def end_episode(self) -> None:
        """Add the steps since the last episode to ``episodes``."""
        self._require_reward()
        if self.stream:
            self.stream.end_episode()
            return
        if not self._rewards:
            raise Refusal("the episode is empty: call act and reward before end_episode")
        self.episodes.append(
            {
                "observations": np.array(self._observations),
                "actions": np.array(self._actions),
                "rewards": np.array(self._rewards, np.float32),
            }
        )
        self._clear()

    def adapt(self) -> Controller:
        """Return the controller after the inner step on the ended episodes; with streaming, the recorder is used up."""
        if self.stream:
            self._require_reward()
            return self.controller.adapt_streamed(self.stream)
        return self.controller.adapt(self.episodes, self.step)

    def discard(self) -> None:
        """Drop the steps since the last episode, e.g. after the robot has failed; the ended episodes stay.

        With streaming, steps are in the sums as soon as they have their reward: only the last action can be dropped.
        """
        if self.stream and self.stream.steps and not self._actions:
            raise Refusal("nothing is stored that could be dropped: call end_episode, and this episode counts as it is")
        self._clear()

    def _clear(self) -> None:
        self._observations: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []

    def _require_reward(self) -> None:
        if len(self._rewards) < len(self._actions):
            raise Refusal("the reward for the last action is missing: call reward after every act, or discard")
