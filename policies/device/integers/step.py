"""One inner step of a policy of integers on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from metarl.policies.device.integers.layer import integer_layers
from metarl.policies.device.integers.program import integer_program
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import device_layers
from metarl.policies.device.program import Program
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Kept, Runner, constants
from metarl.policies.device.step import Storage
from metarl.policies.device.workload import Estimator, Workload
from metarl.policies.methods import Method
from metarl.policies.networks.fixed_point import Dice
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Parameters

FEATURE_ROWS = 4  # time steps whose features for the baseline are in memory: more of them would be the largest buffer


def integer_step(
    network: IntegerMLP,
    parameters: Parameters,
    method: Method,
    step: int,
    storage: Storage,
    estimator: Estimator,
    chunk: int | None = None,
    meter: Meter | None = None,
    seed: int = 0,
) -> Parameters:
    """Take the inner step of ``recorded_step`` in integers; scales stay as they are.

    Args:
        network: The policy network.
        parameters: Its parameters, with step sizes and attention modules.
        method: The meta-learning method.
        step: The inner step, from 0 on.
        storage: The observations [time, observation], actions [time, action] and rewards [time] of every episode.
        estimator: How the advantages are computed from the rewards.
        chunk: The largest number of time steps in work at a time; None takes as many of an episode as sums have room.
        meter: Measures the memory of the step.
        seed: Seed of the stochastic rounding.

    Returns:
        The parameters after the step, of which those that it does not change are the same tensors.

    Raises:
        ValueError: If the advantages are not finite, because rewards or observations are too large.
    """
    layers = integer_layers(network, parameters, method, step)
    changing = [name for layer in layers if layer.updated for name in layer.stated.adapted_names]
    if not changing:
        return dict(parameters)
    lengths = [len(episode) for episode in storage["observations"]]
    adapted = {name: parameters[name].detach().numpy().copy() for name in changing}
    run = Run(storage, sum(lengths), adapted, dice=Dice(seed))
    work = Workload(max(lengths), chunk or max(lengths), feature_rows=FEATURE_ROWS)

    def program_for(kept: Kept) -> Program:
        return integer_program(layers, replace(work, kept=kept), estimator, gradient_type(network))

    operands = constants(device_layers(network, parameters, method, step), parameters)
    Runner(program_for, operands | {layer.name: layer for layer in layers}, run, meter or Meter()).run()
    return parameters | {name: torch.from_numpy(array) for name, array in adapted.items()}


def gradient_type(network: IntegerMLP) -> Literal["int8", "int16"]:
    """Return the type of a network's gradients on a device."""
    return "int8" if network.gradient_bits == 8 else "int16"
