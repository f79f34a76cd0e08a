"""How the meta-training of a policy starts: its network, its parameters, and what it trains on."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Normal

from metarl.adam import initial_moments
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.envs.family import TaskFamily
from metarl.policies.attention import ATTENTION_BOUND, attention_rank
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.controller import Controller, check_spaces
from metarl.policies.export.sb3 import read_sb3
from metarl.policies.export.vec_normalize import read_vec_normalize
from metarl.policies.gate import initial_gate
from metarl.policies.loading import Sb3Files
from metarl.policies.methods import (
    STEP_SIZES,
    get_method,
    initial_meta_parameters,
    meta_parameter_shapes,
    without_context,
)
from metarl.policies.networks.integers import refuse_integers
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP, PolicyNetwork
from metarl.policies.networks.sizes import check_size
from metarl.policies.normalization import MEAN, fold, initial_normalization
from metarl.rl.outer import outer_names
from metarl.rl.settings import TrainSettings
from metarl.runs.state import TrainingState, check_start, with_parameters

LEAST_WITHIN = 0.01  # share of a policy's first actions that must lie within the bounds


def build_network(family: TaskFamily, settings: TrainSettings) -> PolicyNetwork:
    """Return the policy network for a family's spaces; raise Refusal if it is too large.

    Actions to choose from have neither a scale nor a standard deviation: Refusal says so of settings that have one.
    """
    (observation_size,) = family.observation_space.shape
    context, activation = context_size(settings), settings.activation
    network: PolicyNetwork
    if family.choices is None:
        (action_size,) = family.action_shape
        network = GaussianMLP(
            observation_size, settings.hidden_sizes, action_size, settings.initial_std, context, activation
        )
    else:
        for name in ("action_scale", "initial_std"):
            if getattr(settings, name) != 1:
                raise Refusal(
                    f"{name} is for actions that are vectors, and {family.name} has {family.choices} actions to choose "
                    "from: leave it out"
                )
        network = CategoricalMLP(observation_size, settings.hidden_sizes, family.choices, context, activation)
    method = get_method(settings.method)
    check_size(network, meta_parameter_shapes(method, network.layers, settings.inner_steps, settings.attention_modules))
    return network


def context_size(settings: TrainSettings) -> int:
    """Return how many context parameters the network takes: none but for a method that adapts them."""
    return settings.context_size if get_method(settings.method).takes_context else 0


def initial_state(network: PolicyNetwork, settings: TrainSettings) -> TrainingState:
    """Return the state before the first iteration."""
    seed = int(generator(settings.seed, Purpose.PARAMETERS).integers(2**31))
    random = torch.Generator().manual_seed(seed)
    method, modules = get_method(settings.method), settings.attention_modules
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        method, network.layers, settings.inner_steps, settings.step_size, random, modules
    )
    if settings.gated:
        parameters |= initial_gate(settings.inner_steps)
    if settings.normalize_observations:
        parameters |= initial_normalization(network.observation_size)
    _, attention = outer_names(method, parameters)
    moments = initial_moments({name: parameters[name] for name in attention})
    return TrainingState(0, parameters, moments, parameters, -math.inf, 0)


def start_from(init: Controller, state: TrainingState, family: TaskFamily, settings: TrainSettings) -> TrainingState:
    """Return the state before the first iteration with the parameters of a controller.

    Args:
        init: The controller to start from.
        state: The state to start from without it.
        family: The task family.
        settings: The settings of the training.

    Returns:
        The state. Refusal names what of the controller is not as the family and the settings ask for.
    """
    refuse_integers(init.network, "meta-training")
    refuse_bases(init.parameters, "meta-training")
    check_spaces(init, family.observation_space.shape, family.action_shape, family.name, family.choices)
    given: dict[str, tuple[Any, Any]] = {
        "hidden sizes": (init.network.hidden_sizes, settings.hidden_sizes),
        "activation": (init.network.activation, settings.activation),
        "action scale": (init.metadata.action_scale, settings.action_scale),
        "inner steps": (init.metadata.inner_steps, settings.inner_steps),
        "context size": (init.network.context_size, context_size(settings)),
    }
    ranks = attention_rank(init.parameters), attention_rank(state.parameters)
    if None not in ranks:
        given["attention rank"] = ranks
    check_start("controller", given)
    fixed = {ATTENTION_BOUND} | ({STEP_SIZES} if get_method(settings.method).step_sizes == "fixed" else set())
    own = {name: tensor for name, tensor in state.parameters.items() if name in fixed}
    parameters = {name: tensor for name, tensor in without_context(init.parameters).items() if name not in fixed} | own
    return with_parameters(state, parameters, init.metadata.method, settings.method)


def start_from_sb3(
    files: Sb3Files, state: TrainingState, network: PolicyNetwork, settings: TrainSettings
) -> TrainingState:
    """Return the state before the first iteration with the policy of a file that PPO of Stable-Baselines3 saved.

    Statistics of VecNormalize become those of the training, if it normalizes observations, and are folded into the
    first layer otherwise: then no normalized number is clipped.

    Args:
        files: The files.
        state: The state to start from without it; what the inner loop learns is taken from it.
        network: The network of the training.
        settings: The settings of the training.

    Returns:
        The state. Refusal says what of the policy is not as the family and the settings ask for.
    """
    if network.choices is not None:
        raise Refusal("a policy of Stable-Baselines3 starts a training on actions that are vectors, not ones to choose")
    policy, last = read_sb3(files.policy), network.layer_names[-1]
    given: dict[str, tuple[object, object]] = {
        "hidden sizes": (policy.hidden_sizes, settings.hidden_sizes),
        "activation": (policy.activation if policy.hidden_sizes else settings.activation, settings.activation),
    }
    if policy.hidden_sizes == network.hidden_sizes:
        first = policy.parameters[f"{network.layer_names[0]}.weight"]
        given["observations"] = (first.shape[1], network.observation_size)
        given["actions"] = (len(policy.parameters[f"{last}.bias"]), network.action_size)
    check_start("policy", given)
    scale = settings.action_scale
    parameters = state.parameters | policy.parameters
    if files.normalization is not None:
        statistics = read_vec_normalize(files.normalization)
        check_start("normalization", {"observations": (len(statistics[MEAN]), network.observation_size)})
        parameters |= statistics
        if not settings.normalize_observations:
            parameters = fold(parameters, network.layers[0])
    parameters |= {name: parameters[name] / scale for name in (f"{last}.weight", f"{last}.bias")}
    parameters[f"{last}.log_std"] = parameters[f"{last}.log_std"] - math.log(scale)
    return replace(state, parameters=parameters, best_parameters=parameters)


def describe(family: TaskFamily) -> dict[str, Any]:
    """Return what a family's tasks and episodes are, in the types of JSON; infinite bounds are strings."""

    def bounds(*sides: NDArray[Any]) -> list[list[float | str]]:
        numbers = (side.flatten().tolist() for side in sides)
        return [[bound if math.isfinite(bound) else str(bound) for bound in side] for side in numbers]

    fields = {
        f"field {field.name}": {"range": [field.low, field.high], "choices": list(field.choices)}
        for field in family.fields
    }
    return {
        "horizon": family.horizon,
        **fields,
        "observation bounds": bounds(family.observation_space.low, family.observation_space.high),
        "action bounds": bounds(*family.action_bounds),
        **({} if family.choices is None else {"choices": family.choices}),
    }


def warn_of_clipping(family: TaskFamily, settings: TrainSettings) -> None:
    """Warn if the action space clips nearly all actions of an untrained policy: then none is better than another.

    Before training, an action is Gaussian around nearly zero with the standard deviation initial_std * action_scale,
    if it is a vector; others are not clipped.
    """
    if family.choices is not None:
        return
    deviation = settings.initial_std * settings.action_scale
    low, high = (torch.from_numpy(side.astype(np.float64)) for side in family.action_bounds)
    actions = Normal(0.0, deviation)
    within = actions.cdf(high) - actions.cdf(low)
    worst = int(within.argmin())
    if within[worst] < LEAST_WITHIN:
        warnings.warn(
            f"the untrained policy's actions are 0 ± {deviation:g} (initial_std x action_scale), and {family.name} "
            f"clips nearly all of them to [{low[worst]:g}, {high[worst]:g}]: so nothing can be learned",
            stacklevel=2,
        )
