"""What adapting a policy takes on a device: working memory, recordings, weights and attention, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from metarl.policies.attention import PREFIX
from metarl.policies.compression.bases import coded_names, stored_layers
from metarl.policies.device.adaptation import step_program
from metarl.policies.device.network import DeviceLayer, device_layers
from metarl.policies.device.planner import plan
from metarl.policies.device.runner import Kept
from metarl.policies.device.stream_program import stream_program
from metarl.policies.device.workload import Estimator, Workload
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters

WORD = 4  # bytes


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that a device needs to adapt a policy.

    Attributes:
        working: The working memory at its peak, the baseline included, if attention keeps all channels; as measured,
            if it keeps fewer.
        recordings: The recorded episodes: observations, actions and rewards in float32.
        packed_recordings: The same with observations of 8 bits and rewards in float32; actions are drawn again.
        weights: The policy's parameters; of pruned weights, the numbers kept and a bit for each; of binary bases, their
            bits and coordinates.
        attention: The parameters of its attention modules.
        streaming: The working memory of a step with nothing stored; 0 with attention, which needs its episodes, and
            for coordinates of binary bases.
    """

    working: int
    recordings: int
    packed_recordings: int
    weights: int
    attention: int
    streaming: int


def device_memory(
    network: PolicyNetwork,
    parameters: Parameters,
    method: Method,
    work: Workload,
    episodes: int,
    estimator: Estimator,
) -> DeviceMemory:
    """Return what all inner steps of a policy take, each on fresh episodes, if attention keeps every channel.

    Args:
        network: The policy network.
        parameters: Its parameters, with step sizes and attention modules.
        method: The meta-learning method.
        work: The sizes of the episodes and of the blocks in work.
        episodes: The episodes of an inner step.
        estimator: How the advantages are computed.
    """
    steps = [device_layers(network, parameters, method, step) for step in range(len(parameters[STEP_SIZES]))]
    streams = not method.attention and not coded_names(parameters)
    streamed = [layers for layers in steps if streams and any(layer.updated for layer in layers)]
    return DeviceMemory(
        working=max(planned_bytes(layers, work, estimator) for layers in steps),
        **stored_bytes(network, parameters, episodes * work.episode),
        weights=sum(layer.parameter_bytes for layer in stored_layers(network.layers, parameters)),
        streaming=max((plan(stream_program(each, work.episode, estimator)).bytes for each in streamed), default=0),
    )


def stored_bytes(network: PolicyNetwork, parameters: Parameters, time_steps: int) -> dict[str, int]:
    """Return what a policy of any numbers stores beside its weights, by the names of ``DeviceMemory``.

    Args:
        network: The policy network.
        parameters: Its parameters, with attention modules in float32.
        time_steps: The recorded time steps.
    """
    attention = sum(tensor.numel() for name, tensor in parameters.items() if name.startswith(PREFIX))
    return {
        "recordings": WORD * time_steps * (network.observation_size + network.action_size + 1),
        "packed_recordings": time_steps * (network.observation_size + WORD),
        "attention": WORD * attention,
    }


def planned_bytes(
    layers: Sequence[DeviceLayer], work: Workload, estimator: Estimator | None, kept: Kept | None = None
) -> int:
    """Return the bytes of the arena in which an inner step runs; 0 for a step that changes nothing.

    Args:
        layers: The network's layers from the input to the output.
        work: The sizes of the episodes and of the blocks in work.
        estimator: How the advantages are computed; None if they are stored with the episodes.
        kept: The channels that attention keeps, by layer: of one episode at most, and of all; None counts all of them.
    """
    if not any(layer.updated for layer in layers):
        return 0
    if kept is None:
        kept = {layer.name: (layer.stated.inputs, layer.stated.inputs) for layer in layers if layer.chooses_inputs}
    return plan(step_program(layers, replace(work, kept=kept), estimator)).bytes
