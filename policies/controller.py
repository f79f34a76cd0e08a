"""A controller: a policy with all it takes to run and adapt it, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.policies.device.episodes import Episode, advantages_per_episode, checked_episodes
from metarl.policies.device.meter import Meter
from metarl.policies.device.step import CHUNK, device_step
from metarl.policies.files.checks import check_adaptable, check_parameters
from metarl.policies.files.controller_format import KIND, place_for
from metarl.policies.files.metadata import ControllerMetadata, to_json
from metarl.policies.files.tensor_file import write_tensors
from metarl.policies.methods import get_method
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters


@dataclass(frozen=True, eq=False)
class Controller:
    """A policy network, its parameters, and what it was trained for.

    ``parameters`` holds the network's own and, by the name ``step_sizes`` [inner step, layer], those of the inner loop,
    all of them finite float32. ValueError says what does not fit together.
    """

    parameters: Parameters
    network: GaussianMLP
    metadata: ControllerMetadata

    def __post_init__(self) -> None:
        for space, size in (("observation", self.network.observation_size), ("action", self.network.action_size)):
            bounds = len(getattr(self.metadata, f"{space}_low"))
            if bounds != size:
                raise ValueError(f"the {space} bounds have {bounds} numbers, but the network has {size}")
        check_parameters(self.parameters, self.network, self.metadata.inner_steps)

    def predict(
        self,
        observation: ArrayLike,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        generator: np.random.Generator | None = None,
    ) -> tuple[NDArray[np.float32], tuple[NDArray[Any], ...] | None]:
        """The action for an observation, ready for the environment, called as in Stable-Baselines3.

        Takes one observation [observation] or a batch [n, observation]; returns the action [action] or [n, action],
        scaled and clipped to the action bounds, and ``state`` as it came: the policy has no memory, so
        ``episode_start`` changes nothing either. With ``deterministic=False`` the action is drawn from the Gaussian
        policy by ``generator``, or by a fresh one that nobody can repeat. ValueError tells of a wrong shape or of a
        number that is not finite.
        """
        return self.executed(self.policy_action(observation, deterministic, generator)), state

    def policy_action(
        self, observation: ArrayLike, deterministic: bool = True, generator: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """The policy's own action, before the action scale and the clipping: what ``adapt`` wants to know.

        Takes and raises what ``predict`` does.
        """
        inputs = self._observation(observation)
        with torch.no_grad():
            mean = self.network(self.parameters, inputs.reshape(-1, self.network.observation_size))[0]
            std = self.network.log_std(self.parameters).exp().numpy()
        action: NDArray[np.float32] = mean.numpy().reshape(*inputs.shape[:-1], self.network.action_size)
        if not deterministic:
            generator = generator or np.random.default_rng()
            action = np.add(action, std * generator.standard_normal(action.shape, dtype=np.float32), dtype=np.float32)
        return action

    def executed(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the environment receives for the policy's own action [..., action]: scaled and clipped to the bounds."""
        action = action * np.float32(self.metadata.action_scale)
        if not np.isfinite(action).all():
            raise ValueError("the policy's action overflows: the observation is too large")
        low, high = (np.array(bound, np.float32) for bound in (self.metadata.action_low, self.metadata.action_high))
        return np.clip(action, low, high)

    def adapt(
        self, episodes: Sequence[Episode], step: int = 0, chunk: int | None = CHUNK, meter: Meter | None = None
    ) -> Controller:
        """The controller after inner step ``step`` on the episodes that this controller recorded; itself it stays.

        A controller with several inner steps takes each on fresh episodes of the controller before: ``step`` 0, then 1.
        Episodes may differ in length; ``metarl.policies.recorder.Recorder`` records them. At most ``chunk``
        observations are in work at a time: fewer take less memory, None takes an episode at once. ``meter`` measures
        the memory of the step.
        ValueError says what is wrong with an episode, or that this controller cannot take the step.
        """
        steps = self.metadata.inner_steps
        if not 0 <= step < steps:
            raise ValueError(f"the controller has the inner steps 0 to {steps - 1}, got step {step}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"a chunk has at least 1 observation, got {chunk}")
        method = get_method(self.metadata.method)
        check_adaptable(self.parameters, self.network, method, on_device=True)
        checked = checked_episodes(episodes, self.network.observation_size, self.network.action_size)
        samples = advantages_per_episode(checked, self.metadata.discount, self.metadata.gae_lambda)
        with np.errstate(over="ignore", invalid="ignore"):  # the check below says it in a sentence
            adapted = device_step(self.network, self.parameters, method, step, samples, chunk, meter)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in adapted.values()):
            raise ValueError("the adapted parameters are not finite: the episodes' numbers are too large")
        return replace(self, parameters=adapted)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the controller's file in one stroke.

        Raise ValueError if there is a file already and ``overwrite`` is not set, if it cannot be written, or if the
        training record is not plain JSON.
        """
        content = to_json(self.metadata, self.network)
        write_tensors(place_for(path, overwrite), KIND, content, self.parameters)

    def _observation(self, observation: ArrayLike) -> Tensor:
        """The observations [..., observation] as float32, checked."""
        size = self.network.observation_size
        try:
            # A number too large for float32 becomes infinite, which the check below names.
            with np.errstate(over="ignore"):
                array = np.array(observation, np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"the observation must be an array of {size} numbers") from None
        if array.ndim not in (1, 2) or array.shape[-1] != size:
            raise ValueError(f"the observation must have the shape [{size}] or [n, {size}], got {list(array.shape)}")
        if not np.isfinite(array).all():
            raise ValueError("the observation holds a NaN or an infinite number")
        return torch.from_numpy(array)


def check_spaces(
    controller: Controller, observation_shape: tuple[int, ...], action_shape: tuple[int, ...], what: str
) -> None:
    """ValueError unless the controller's observations and actions have the shapes of those of ``what``."""
    made_for = ((controller.network.observation_size,), (controller.network.action_size,))
    if made_for != (tuple(observation_shape), tuple(action_shape)):
        raise ValueError(
            f"the controller was made for other spaces: {controller.metadata.family} has observations "
            f"{list(made_for[0])} and actions {list(made_for[1])}, "
            f"but {what} has observations {list(observation_shape)} and actions {list(action_shape)}"
        )
