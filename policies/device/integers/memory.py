"""What adapting a policy of integers takes on a device."""

from __future__ import annotations

from dataclasses import replace

from metarl.policies.device.integers.layer import integer_layers
from metarl.policies.device.integers.program import integer_program
from metarl.policies.device.integers.step import FEATURE_ROWS, gradient_type
from metarl.policies.device.memory import DeviceMemory, stored_bytes
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
    return DeviceMemory(
        working=working,
        **stored_bytes(network, parameters, episodes * work.episode),
        weights=sum(parameters[name].numel() * parameters[name].itemsize for name in network.parameter_shapes),
        streaming=0,
    )
