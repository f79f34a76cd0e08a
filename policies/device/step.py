"""One inner step on a device: the training's step in kilobytes.

The step is a program (``adaptation``) that runs in one arena (``runner``). The recorded episodes and the parameters are
storage and not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from metarl.policies.compression.bases import ALPHAS, realized
from metarl.policies.compression.masks import masked
from metarl.policies.device.adaptation import step_program
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer, Samples, device_layers
from metarl.policies.device.program import Program
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Kept, Runner, constants
from metarl.policies.device.workload import Estimator, Window, Workload
from metarl.policies.methods import Method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters

CHUNK = 20  # time steps in work at a time: the default of ``Controller.adapt``

Storage = Mapping[str, Sequence[FloatArray]]  # by column: observations, actions, rewards or advantages; by episode


def device_step(
    network: PolicyNetwork,
    parameters: Parameters,
    method: Method,
    step: int,
    episodes: Sequence[Samples],
    chunk: int | None = None,
    meter: Meter | None = None,
) -> Parameters:
    """Return w_l - alpha_l^k * gamma_l * dL/dw_l with the vanilla policy gradient, k = ``step`` (p-Meta, eqs. 6, 14).

    The result is that of the training's inner step up to the rounding of float32.

    Args:
        network: The policy network.
        parameters: Its parameters, with step sizes and attention modules.
        method: The meta-learning method.
        step: The inner step, from 0 on.
        episodes: The recorded episodes with their advantages.
        chunk: The largest number of time steps in work at a time; None takes an episode at once.
        meter: Measures the memory of the step.

    Returns:
        The parameters after the step, of which those that it does not change are the same tensors.
    """
    storage = {part: [getattr(episode, part) for episode in episodes] for part in Samples._fields}
    return recorded_step(network, parameters, method, step, storage, chunk=chunk, meter=meter)


def recorded_step(
    network: PolicyNetwork,
    parameters: Parameters,
    method: Method,
    step: int,
    storage: Storage,
    estimator: Estimator | None = None,
    chunk: int | None = None,
    meter: Meter | None = None,
    windows: Sequence[Window] = (),
) -> Parameters:
    """Take the inner step of ``device_step`` on recorded episodes.

    Args:
        network: The policy network.
        parameters: Its parameters, with step sizes and attention modules.
        method: The meta-learning method.
        step: The inner step, from 0 on.
        storage: The observations [time, observation], actions [time, action] and rewards [time] of every episode.
        estimator: How the advantages are computed from the rewards; None if the storage has them instead.
        chunk: The largest number of time steps in work at a time; None takes an episode at once.
        meter: Measures the memory of the step.
        windows: The passes over the episodes, if one that adds up all gradients takes too much memory.

    Returns:
        The parameters after the step, of which those that it does not change are the same tensors.

    Raises:
        ValueError: If the advantages are not finite, because rewards or observations are too large.
    """
    layers = device_layers(network, parameters, method, step)
    changing = changing_names(layers, parameters)
    if not changing:
        return dict(parameters)
    lengths = [len(episode) for episode in storage["observations"]]
    adapted = {name: parameters[name].detach().numpy().copy() for name in changing}
    run = Run(storage, sum(lengths), adapted)
    longest = max(lengths)
    rows = chunk or longest
    alone = len(lengths) == 1 and rows >= longest and not windows

    def program_for(kept: Kept) -> Program:
        return step_program(layers, Workload(longest, rows, alone, kept=kept), estimator, windows)

    Runner(program_for, constants(layers, parameters), run, meter or Meter()).run()
    moved = {name: torch.from_numpy(array) for name, array in adapted.items()}
    return realized(masked(parameters | moved))


def changing_names(layers: Sequence[DeviceLayer], parameters: Parameters) -> list[str]:
    """Return the names of what a step changes: of a weight of bases, its coordinates."""
    names = [name for layer in layers if layer.updated for name in layer.stated.adapted_names]
    return [name + ALPHAS if name + ALPHAS in parameters else name for name in names]
