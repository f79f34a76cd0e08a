"""Policies of Stable-Baselines3: a controller as its PPO, and the policy of a PPO's file."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from metarl.core.errors import Refusal
from metarl.policies.controller import Controller, require_vectors
from metarl.policies.networks.kinds import Activation
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import fold

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3 import PPO

ACTIVATIONS: dict[Activation, type[torch.nn.Module]] = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
EXTRACTOR = re.compile(r"mlp_extractor\.policy_net\.(\d+)\.weight")


class Sb3Policy(NamedTuple):
    """The policy network of a PPO, with actions as the environment takes them."""

    hidden_sizes: tuple[int, ...]
    activation: Activation
    parameters: Parameters  # by the names of a GaussianMLP


def to_sb3(controller: Controller, env: gymnasium.Env[Any, Any] | None = None, **options: Any) -> PPO:
    """Return the controller's policy as a PPO of Stable-Baselines3, whose actions equal ``Controller.predict``.

    The policy is copied as it is now: an adapted controller gives the adapted policy. The value function is untrained.
    Statistics of observations are folded into the first layer, so normalized observations are not clipped.

    Args:
        controller: The controller.
        env: What ``learn`` trains in; without it the PPO predicts, is evaluated and is saved, and ``set_env`` adds one.
        **options: PPO's own, e.g. ``n_steps`` and ``learning_rate``.

    Returns:
        The PPO. Refusal says if Stable-Baselines3 is missing, or if the policy's actions are choices.
    """
    require_vectors(controller, "to_sb3")
    try:
        from stable_baselines3 import PPO
    except ModuleNotFoundError as missing:
        raise Refusal("to_sb3 needs Stable-Baselines3: pip install stable-baselines3") from missing
    widths = list(controller.network.hidden_sizes)
    architecture = {
        "net_arch": {"pi": widths, "vf": widths},
        "activation_fn": ACTIVATIONS[controller.network.activation],
    }
    model = PPO("MlpPolicy", env or _spaces_of(controller), policy_kwargs=architecture, device="cpu", **options)
    model.policy.load_state_dict(model.policy.state_dict() | _state(controller))
    return model


def _state(controller: Controller) -> dict[str, torch.Tensor]:
    """Return the policy's part of the state of PPO's policy."""
    *hidden, last = layers = controller.network.layers
    parameters = fold(controller.parameters, layers[0])
    for layer in layers:
        parameters |= layer.modulated(parameters)
    scale = controller.metadata.action_scale
    state = {}
    for index, layer in enumerate(hidden):
        for part in ("weight", "bias"):
            state[f"mlp_extractor.policy_net.{2 * index}.{part}"] = parameters[f"{layer.name}.{part}"]
    for part in ("weight", "bias"):
        state[f"action_net.{part}"] = scale * parameters[f"{last.name}.{part}"]
    return state | {"log_std": parameters[f"{last.name}.log_std"] + math.log(scale)}


def _spaces_of(controller: Controller) -> gymnasium.Env[Any, Any]:
    """Return an environment that has the controller's spaces and cannot be stepped."""
    import gymnasium

    metadata = controller.metadata

    def box(low: tuple[float, ...], high: tuple[float, ...]) -> gymnasium.spaces.Box:
        return gymnasium.spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)

    class Spaces(gymnasium.Env[Any, Any]):
        """What PPO asks for its spaces."""

        observation_space = box(metadata.observation_low, metadata.observation_high)
        action_space = box(metadata.action_low, metadata.action_high)

    return Spaces()


def read_sb3(path: str | Path) -> Sb3Policy:
    """Read the policy out of the file that PPO's ``save`` wrote; nothing in it is unpickled.

    Raise Refusal if it is no such file, or if its network is not one of linear layers with ReLU or tanh and a Gaussian
    of fixed deviation.
    """
    try:
        with zipfile.ZipFile(path) as file:
            data = json.loads(file.read("data"))
            state = torch.load(io.BytesIO(file.read("policy.pth")), map_location="cpu", weights_only=True)
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:
        raise Refusal(f"{path} is no file that PPO of Stable-Baselines3 saved") from None
    if not {"action_net.weight", "log_std"} <= state.keys() or data.get("use_sde"):
        raise Refusal(
            f"the policy in {path} has no Gaussian actions of fixed deviation: metarl starts from PPO's MlpPolicy"
        )
    described = str(data.get("policy_kwargs", {}).get("activation_fn", "Tanh'>"))  # which is PPO's own
    activation = next((name for name, kind in ACTIVATIONS.items() if described.endswith(f"{kind.__name__}'>")), None)
    places = sorted(int(found[1]) for found in map(EXTRACTOR.fullmatch, state) if found)
    if places and activation is None:
        raise Refusal(
            f"the policy in {path} has another activation than ReLU and tanh: train it with "
            "policy_kwargs=dict(activation_fn=torch.nn.ReLU, net_arch=[100, 100])"
        )
    names = [*(f"mlp_extractor.policy_net.{place}" for place in places), "action_net"]
    parameters = {
        f"layer{number}.{part}": state[f"{name}.{part}"].float()
        for number, name in enumerate(names, start=1)
        for part in ("weight", "bias")
    }
    widths = tuple(len(state[f"{name}.bias"]) for name in names[:-1])
    return Sb3Policy(
        widths, activation or "relu", parameters | {f"layer{len(names)}.log_std": state["log_std"].float()}
    )
