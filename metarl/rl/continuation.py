"""Meta-training that goes on from a controller: its settings."""

from __future__ import annotations

from typing import Any

from metarl.envs.family import TaskFamily
from metarl.policies.attention import ATTENTION_BOUND, attention_rank
from metarl.policies.controller import Controller
from metarl.policies.gate import GATE
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.normalization import MEAN
from metarl.rl.settings import TrainSettings, preset


def continued_settings(
    controller: Controller, family: TaskFamily, iterations: int, seed: int, threads: int
) -> TrainSettings:
    """Return the settings of a meta-training that goes on from a controller: the family's preset for one of its kind.

    Args:
        controller: The controller.
        family: The task family, as the controller sees it.
        iterations: The meta-iterations, at least 1.
        seed: Seed of tasks and episodes.
        threads: Threads of the training.
    """
    metadata, parameters = controller.metadata, controller.parameters
    kind: dict[str, Any] = {
        "method": metadata.method,
        "hidden_sizes": controller.network.hidden_sizes,
        "activation": controller.network.activation,
        "inner_steps": metadata.inner_steps,
        "episodes_per_task": metadata.episodes_per_step,
        "horizon": metadata.horizon,
        "action_scale": metadata.action_scale,
        "discount": metadata.discount,
        "gae_lambda": metadata.gae_lambda,
        "baseline": metadata.baseline,
        "gate": "return" if GATE in parameters else "none",
        "normalize_observations": MEAN in parameters,
        "attention_rank": attention_rank(parameters) or 0,
        "attention_bound": float(parameters[ATTENTION_BOUND]) if ATTENTION_BOUND in parameters else 0.0,
    }
    if isinstance(controller.network, GaussianMLP):
        kind["initial_std"] = controller.network.initial_std
    if controller.network.context_size:
        kind["context_size"] = controller.network.context_size
    return preset(family.name, **kind, iterations=iterations, seed=seed, threads=threads)
