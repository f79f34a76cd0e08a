"""A network as a device sees it: its layers with their weights, and what an inner step does to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.policies.compression.bases import ALPHAS, CODES
from metarl.policies.compression.masks import masks_of
from metarl.policies.device.in_place import FloatArray
from metarl.policies.methods import STEP_SIZES, Method
from metarl.policies.networks.kinds import Shape
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network, Parameters

_NONE = np.zeros(0, np.float32)


class Samples(NamedTuple):
    """The time steps of an episode with normalized advantages."""

    observations: FloatArray  # [time, observation]
    actions: FloatArray  # [time, action], the policy's own
    advantages: FloatArray  # [time]


@dataclass(frozen=True)
class DeviceBases:
    """The binary bases of a layer's weight, of which a step changes the coordinates."""

    codes: FloatArray  # [basis, output, input] of -1, +1, or 0 where a group lacks the basis
    present: NDArray[np.bool_]  # whether a group has a basis [basis, group]
    by_output: bool  # whether the inputs of an output are of one group, or the outputs of an input
    alphas_name: str  # the full name of the coordinates

    @property
    def coordinates(self) -> int:
        """The coordinates of all groups."""
        return int(np.count_nonzero(self.present))


@dataclass(frozen=True)
class DeviceLayer:
    """A layer and how a step updates it: not at all if ``step_size`` is zero.

    A device stores the vectors of a layer with what its context phi adds to them, so that phi costs it nothing to run.
    """

    stated: Layer
    weight: FloatArray  # [output, input], of a convolution [output, input, kernel, kernel], of a norm [channel]
    bias: FloatArray  # [output]; a convolution has none, [0]
    step_size: float
    clips: dict[str, float]  # the clip ratio of each attention module that weighs its gradients
    context_weight: FloatArray  # [vector * output, context]; without a context [0]
    kept: NDArray[np.bool_] | None = None  # which weights are not pruned [output, input]; None: all
    bases: DeviceBases | None = None  # of a weight that is stored as binary bases

    @property
    def name(self) -> str:
        """Its name in the network."""
        return self.stated.name

    @property
    def updated(self) -> bool:
        """Whether the step updates the layer."""
        return self.step_size != 0

    @property
    def chooses_inputs(self) -> bool:
        """Whether attention says which input channels are kept for the weight gradient."""
        return self.updated and "forward" in self.clips and self.bases is None

    @property
    def compact(self) -> bool:
        """Whether its kept weights alone change, input by input; attention chooses whole inputs instead."""
        return self.kept is not None and not self.chooses_inputs

    def changing(self, first: int = 0, count: int | None = None) -> int:
        """Return how many weights of ``count`` inputs from ``first`` on change in a step; None: of all behind it.

        Of a layer with bases it is how many coordinates change, of all inputs.
        """
        if self.bases is not None:
            return self.bases.coordinates
        inputs = range(self.stated.inputs)[first : None if count is None else first + count]
        if self.kept is None or not self.compact:
            return len(inputs) * self.stated.outputs
        return int(np.count_nonzero(self.kept[:, inputs.start : inputs.stop]))

    @property
    def changed(self) -> dict[str, Shape]:
        """The shapes of the parameters whose change a device keeps: all, or the vectors that a context changes."""
        shapes = self.stated.parameter_shapes
        return {name: shapes[name] for name in (self.stated.vectors if self.stated.context else shapes)}


def device_layers(network: Network, parameters: Parameters, method: Method, step: int) -> tuple[DeviceLayer, ...]:
    """Return the layers in their order, with what the method does to them in inner step ``step``; weights are shared.

    Args:
        network: The network.
        parameters: Its parameters, with the step sizes of the inner loop.
        method: The meta-learning method.
        step: The inner step, from 0 on.

    Returns:
        The layers from the input to the output.
    """
    arrays = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    step_sizes = arrays[STEP_SIZES][step].tolist()
    for layer in network.layers:
        if layer.context:
            arrays |= {name: each.detach().numpy() for name, each in layer.modulated(parameters).items()}
    masks = {name: mask.numpy() != 0 for name, mask in masks_of(parameters).items()}
    chosen, last = method.updated_layers(network.layers), network.layers[-1]
    clips = method.attention.clips() if method.attention else {}
    return tuple(
        DeviceLayer(
            layer,
            arrays[f"{layer.name}.weight"],
            arrays.get(f"{layer.name}.bias", _NONE),
            step_size if layer.name in chosen else 0.0,
            clips if layer != last else {},
            arrays.get(layer.context_weight_name, _NONE),
            masks.get(f"{layer.name}.weight"),
            device_bases(f"{layer.name}.weight", arrays),
        )
        for layer, step_size in zip(network.layers, step_sizes, strict=True)
    )


def device_bases(weight: str, arrays: Mapping[str, FloatArray]) -> DeviceBases | None:
    """Return the bases of a weight, None if it has none."""
    codes, alphas = arrays.get(weight + CODES), arrays.get(weight + ALPHAS)
    if codes is None or alphas is None:
        return None
    _, outputs, inputs = alphas.shape
    present: NDArray[np.bool_] = np.any(codes != 0, axis=2 if inputs == 1 else 1)
    if outputs == inputs == 1:
        present = present[:, :1]
    return DeviceBases(codes, present, by_output=inputs == 1, alphas_name=weight + ALPHAS)
