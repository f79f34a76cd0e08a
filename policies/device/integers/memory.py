"""What adapting a policy of integers takes on a device."""

from __future__ import annotations

from dataclasses import replace

from metarl.policies.attention import PREFIX
from metarl.policies.device.integers.layer import integer_layers
from metarl.policies.device.integers.program import integer_program
from metarl.policies.device.integers.step import FEATURE_ROWS, gradient_type
from metarl.policies.device.memory import WORD, DeviceMemory
from metarl.policies.device.planner import plan
from metarl.policies.device.workload import Estimator, Workload
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Parameters


def integer_memory(
    network: IntegerMLP,
    parameters: Parameters,
    method: Method,
    work: Workload,
    episodes: int,
    estimator: Estimator,
) -> DeviceMemory:
    """Return what all inner steps of a policy of integers take, if attention keeps every channel.

    Args:
        network: The policy network.
        parameters: Its parameters, with step sizes and attention modules.
        method: The meta-learning method.
        work: The sizes of the episodes and of the blocks in work.
        episodes: The episodes of an inner step.
        estimator: How the advantages are computed.
    """
    working = 0
    for step in range(len(parameters[STEP_SIZES])):
        layers = integer_layers(network, parameters, method, step)
        if any(layer.updated for layer in layers):
            kept = {layer.name: (layer.stated.inputs,) * 2 for layer in layers if layer.chooses_inputs}
            planned = replace(work, kept=kept, feature_rows=FEATURE_ROWS)
            working = max(working, plan(integer_program(layers, planned, estimator, gradient_type(network))).bytes)
    time_steps = episodes * work.episode
    return DeviceMemory(
        working=working,
        recordings=WORD * time_steps * (network.observation_size + network.action_size + 1),
        packed_recordings=time_steps * (network.observation_size + WORD),
        weights=sum(parameters[name].numel() * parameters[name].itemsize for name in network.parameter_shapes),
        attention=WORD * sum(tensor.numel() for name, tensor in parameters.items() if name.startswith(PREFIX)),
        streaming=0,
    )
