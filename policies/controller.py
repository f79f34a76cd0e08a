"""A controller: a policy with all it takes to run, adapt and save it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.text import facts_as_html, facts_as_text
from metarl.policies.compression.bases import coded_names
from metarl.policies.device.episodes import Episode, checked_episodes, columns
from metarl.policies.device.integers.step import integer_step
from metarl.policies.device.meter import Meter
from metarl.policies.device.step import CHUNK, recorded_step
from metarl.policies.device.stream import Stream
from metarl.policies.device.workload import Estimator
from metarl.policies.files.checks import check_adaptable, check_parameters
from metarl.policies.files.controller_file import write_controller
from metarl.policies.files.metadata import ControllerMetadata
from metarl.policies.gate import gate_factor
from metarl.policies.methods import STEP_SIZES, Method, get_method
from metarl.policies.networks.integers import IntegerMLP, refuse_integers
from metarl.policies.networks.mlp import GaussianMLP, PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import normalize


@dataclass(frozen=True, eq=False, repr=False)
class Controller:
    """A policy network, its parameters, and what it was trained for.

    ``parameters`` holds the network's own and, by the name ``step_sizes`` [inner step, layer], those of the inner loop,
    all of them finite float32. Raise ValueError if the parts do not fit together.
    """

    parameters: Parameters
    network: PolicyNetwork
    metadata: ControllerMetadata

    def __post_init__(self) -> None:
        for space, size in (("observation", self.network.observation_size), ("action", self.network.action_size)):
            bounds = len(getattr(self.metadata, f"{space}_low"))
            if bounds != size:
                raise Refusal(f"the {space} bounds have {bounds} numbers, but the network has {size}")
        choices = self.network.choices
        if choices is not None and (self.metadata.action_low, self.metadata.action_high) != ((0,), (choices - 1,)):
            raise Refusal(f"the action bounds of {choices} choices must be 0 and {choices - 1}")
        if choices is not None and self.metadata.action_scale != 1:
            raise Refusal(f"the action scale of choices must be 1, got {self.metadata.action_scale:g}")
        check_parameters(self.parameters, self.network, self.metadata.inner_steps)

    def __repr__(self) -> str:
        return facts_as_text("Controller", self._facts())

    def _repr_html_(self) -> str:
        return facts_as_html("Controller", self._facts())

    def _facts(self) -> dict[str, str]:
        task = self.metadata.adapted_to
        values = " ".join(f"{name}={value:g}" for name, value in (task or {}).items())
        return {
            "method": self.metadata.method,
            "family": self.metadata.family,
            "observations": str(self.network.observation_size),
            "actions": actions_text(self.network),
            "adapted": "no" if task is None else f"to {values or 'an unnamed task'}",
        }

    def predict(
        self,
        observation: ArrayLike,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        generator: np.random.Generator | None = None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Return the action for an observation, ready for the environment, called as in Stable-Baselines3.

        Args:
            observation: one observation [observation] or a batch [n, observation].
            state: returned unchanged, because the policy has no memory.
            episode_start: ignored, for the same reason.
            deterministic: whether to return the mean or the most likely action; otherwise it is drawn.
            generator: draws the action; a freshly seeded one if left out.

        Returns:
            The action [action] or [n, action], scaled and clipped to the action bounds, and ``state``. Of a policy that
            chooses, the number of its choice [] or [n], a whole number from 0 on.

        Raises:
            ValueError: the observation has a wrong shape or holds a number that is not finite.
        """
        return self.executed(self.policy_action(observation, deterministic, generator)), state

    def policy_action(
        self, observation: ArrayLike, deterministic: bool = True, generator: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Return the policy's own action, before the action scale and the clipping, as ``adapt`` needs it.

        The arguments are those of ``predict``.
        """
        inputs = self._observation(observation)
        with torch.no_grad():
            seen = normalize(self.parameters, inputs.reshape(-1, self.network.observation_size))
            outputs = self.network(self.parameters, seen)[0]
            distribution = self.network.distribution(self.parameters, outputs)
            if deterministic:
                action = distribution.most_likely()
            else:
                action = distribution.sampled(generator or np.random.default_rng(), tuple(outputs.shape))
        array: NDArray[np.float32] = action.numpy().reshape(*inputs.shape[:-1], self.network.action_size)
        return array

    def seen(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an observation [observation] as the policy sees it: normalized, if the controller has statistics."""
        array: NDArray[np.float32] = normalize(self.parameters, torch.from_numpy(observation)[None])[0].numpy()
        return array

    def executed(self, action: NDArray[np.float32]) -> NDArray[Any]:
        """Scale the policy's own action [..., action] and clip it to the bounds: the environment's action.

        That of a policy that chooses is a whole number [...].
        """
        action = action * np.float32(self.metadata.action_scale)
        if not np.isfinite(action).all():
            raise Refusal("the policy's action overflows: the observation is too large")
        low, high = (np.array(bound, np.float32) for bound in (self.metadata.action_low, self.metadata.action_high))
        return self.network.distribution_type.for_environment(np.clip(action, low, high))

    def adapt(
        self,
        episodes: Sequence[Episode],
        step: int = 0,
        chunk: int | None = CHUNK,
        meter: Meter | None = None,
        streaming: bool = False,
        seed: int = 0,
    ) -> Controller:
        """Take one inner step on recorded episodes and return the adapted controller; this one stays as it was.

        Args:
            episodes: episodes of this very controller, of any lengths, as ``metarl.policies.recorder.Recorder`` keeps
                them.
            step: the number of the inner step, from 0; each step needs fresh episodes of the controller before it.
            chunk: the number of observations in work at a time: fewer take less memory, None takes a whole episode.
            meter: measures how many bytes the step takes.
            streaming: whether to take in one time step after the other and to store none, as ``stream`` does.
            seed: of the stochastic rounding, where the controller is one of integers.

        Returns:
            The controller after the inner step.

        Raises:
            ValueError: an episode is wrong, or this controller cannot take the step.
        """
        method = self._method_of(step)
        if chunk is not None and chunk < 1:
            raise Refusal(f"a chunk has at least 1 observation, got {chunk}")
        checked = checked_episodes(episodes, self.network)
        checked = [each | {"observations": normalize(self.parameters, each["observations"])} for each in checked]
        if streaming:
            stream = self.stream(step, max(len(each["rewards"]) for each in checked), meter)
            for each in checked:
                for row in zip(*(each[part].numpy() for part in ("observations", "actions", "rewards")), strict=True):
                    stream.add(*row)
                stream.end_episode()
            return self.adapt_streamed(stream)
        estimator = estimator_of(self.metadata)
        with np.errstate(over="ignore", invalid="ignore"):  # the check below says it in a sentence
            start, storage = self._gated(step, checked), columns(checked)
            if isinstance(self.network, IntegerMLP):
                adapted = integer_step(self.network, start, method, step, storage, estimator, chunk, meter, seed)
            else:
                adapted = recorded_step(self.network, start, method, step, storage, estimator, chunk, meter)
        return self._adapted(adapted)

    def stream(self, step: int = 0, horizon: int | None = None, meter: Meter | None = None) -> Stream:
        """Begin an inner step that stores no episode; ``adapt_streamed`` ends it.

        What the device keeps is sums: for each parameter that the step changes, as many numbers as the linear baseline
        has features and two or three more. That pays for few parameters, or for a controller that was trained with a
        baseline of time alone. The result is that of ``adapt`` up to rounding.

        Args:
            step: the number of the inner step, from 0.
            horizon: the most time steps of an episode; the controller's if left out.
            meter: measures how many bytes the step takes.

        Returns:
            The stream, which takes normalized observations if the controller has statistics of them.

        Raises:
            ValueError: this controller cannot take the step, or not without its episodes.
        """
        method = self._method_of(step)
        if isinstance(self.network, IntegerMLP):
            raise Refusal("a policy of integers adapts to recorded episodes: it cannot take in a stream")
        if coded_names(self.parameters):
            raise Refusal("coordinates of binary bases adapt to recorded episodes: they cannot take in a stream")
        estimator = estimator_of(self.metadata)
        return Stream(self.network, self.parameters, method, step, horizon or self.metadata.horizon, estimator, meter)

    def adapt_streamed(self, stream: Stream) -> Controller:
        """Return the controller after the inner step of a stream, which is used up.

        Raise ValueError if there is no episode in it, if one is running, or if the numbers were too large.
        """
        gate = float(gate_factor(self.parameters, stream.step, stream.mean_return))
        return self._adapted(stream.adapted(gate))

    def _method_of(self, step: int) -> Method:
        """Return the method; raise Refusal if the controller cannot take this inner step."""
        steps = self.metadata.inner_steps
        if not 0 <= step < steps:
            raise Refusal(f"the controller has the inner steps 0 to {steps - 1}, got step {step}")
        method = get_method(self.metadata.method)
        check_adaptable(self.parameters, self.network, method, on_device=True)
        return method

    def _adapted(self, adapted: Parameters) -> Controller:
        """Return the controller with adapted parameters; raise Refusal if they are not finite."""
        adapted = adapted | {STEP_SIZES: self.parameters[STEP_SIZES]}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in adapted.values()):
            raise Refusal("the adapted parameters are not finite: the episodes' numbers are too large")
        metadata = replace(self.metadata, adapted_to=self.metadata.adapted_to or {})
        return replace(self, parameters=adapted, metadata=metadata)

    def _gated(self, step: int, episodes: Sequence[Mapping[str, Tensor]]) -> Parameters:
        """Return the parameters with the step sizes that the gate leaves, given the returns of the episodes."""
        mean_return = float(np.mean([float(episode["rewards"].double().sum()) for episode in episodes]))
        factor = gate_factor(self.parameters, step, mean_return)
        return self.parameters | {STEP_SIZES: factor * self.parameters[STEP_SIZES]}

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the controller's file in one stroke.

        Raise ValueError if there is a file already and ``overwrite`` is not set, if it cannot be written, or if the
        training record is not plain JSON.
        """
        write_controller(path, self.metadata, self.network, self.parameters, overwrite)

    def _observation(self, observation: ArrayLike) -> Tensor:
        """Return the observations [..., observation] as float32, checked."""
        size = self.network.observation_size
        try:
            # A number too large for float32 becomes infinite, which the check below names.
            with np.errstate(over="ignore"):
                array = np.array(observation, np.float32)
        except (TypeError, ValueError):
            raise Refusal(f"the observation must be an array of {size} numbers") from None
        if array.ndim not in (1, 2) or array.shape[-1] != size:
            raise Refusal(f"the observation must have the shape [{size}] or [n, {size}], got {list(array.shape)}")
        if not np.isfinite(array).all():
            raise Refusal("the observation holds a NaN or an infinite number")
        return torch.from_numpy(array)


def estimator_of(metadata: ControllerMetadata) -> Estimator:
    """Return how the advantages of a controller's episodes are computed from the rewards."""
    return Estimator(metadata.discount, metadata.gae_lambda, metadata.baseline)


def actions_text(network: PolicyNetwork) -> str:
    """Return how many numbers an action has, or how many choices there are."""
    return str(network.action_size) if network.choices is None else f"{network.choices} choices"


def require_vectors(controller: Controller, what: str) -> GaussianMLP:
    """Return the controller's network; raise Refusal that says that ``what`` is not for actions to choose from."""
    if not isinstance(controller.network, GaussianMLP):
        raise Refusal(
            f"{what} is for actions that are vectors, and this controller has {actions_text(controller.network)}"
        )
    refuse_integers(controller.network, what)
    return controller.network


def check_spaces(
    controller: Controller,
    observation_shape: tuple[int, ...],
    action_shape: tuple[int, ...],
    what: str,
    choices: int | None = None,
) -> None:
    """Raise ValueError unless the controller's observations and actions are those that ``what`` has.

    Args:
        controller: the controller to be used.
        observation_shape: the shape of an observation of the environment.
        action_shape: the shape of an action of the environment.
        what: the environment's name in the sentence.
        choices: the number of its actions if they are choices, None if they are vectors.
    """
    network = controller.network
    own_shape = () if network.choices else (network.action_size,)
    own = (network.observation_size,), own_shape, network.choices
    other = tuple(observation_shape), tuple(action_shape), choices
    if own != other:
        raise Refusal(
            f"the controller was made for other spaces: {controller.metadata.family} has {_spaces_text(*own)}, "
            f"but {what} has {_spaces_text(*other)}"
        )


def _spaces_text(observation_shape: tuple[int, ...], action_shape: tuple[int, ...], choices: int | None) -> str:
    actions = f"actions {list(action_shape)}" if choices is None else f"{choices} actions to choose from"
    return f"observations {list(observation_shape)} and {actions}"
