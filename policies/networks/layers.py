"""The statement of a layer, from which network, file, cost and on-device step follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from metarl.policies.networks.kinds import KINDS, Kind, Shape, xavier_uniform

CONTEXT, CONTEXT_WEIGHT = "context", "context_weight"  # the parameters of a layer with a context

Pooling = Literal["max", "average"]


class ExtraParameter(NamedTuple):
    """A parameter that is updated with a layer, although only the loss computes with it."""

    name: str
    shape: Shape
    initial: float


class Coded(NamedTuple):
    """What a weight of binary bases takes: its coordinates, the signs of all bases, and the groups that have them."""

    coordinates: int
    signs: int
    groups: int


@dataclass(frozen=True)
class Layer:
    """A layer with the activation, pooling and residual sum after it.

    Layers stand in the order in which a forward pass runs them. ``inputs`` and ``outputs`` are channels, equal for a
    norm. ``side`` is the height and width of the feature maps that the layer takes; convolutions have stride 1 and
    padding, so that it holds for the output, too. A linear layer takes vectors; ``reduction`` says how feature maps of
    that side become one.

    After the layer come the activation, with the ``slope`` of ``leaky_relu`` below zero, and the 2x2 pooling, which
    floors the side. A residual block is flat: its main branch comes first and its first layer is the ``fork``, whose
    input waits for the second branch. That begins with the layer ``shortcut`` and ends with the layer ``join``, whose
    output is added to the main branch's before its activation.

    A layer with a ``context`` is conditioned on that many parameters phi: a learned matrix times phi is added to its
    vectors. Of a linear layer that is the bias, and the same as phi appended to its input; of a norm the scales and
    offsets, which is FiLM (CAVIA, Zintgraf et al., ICML 2019, Sec. 3.3). Such a layer is adapted by its phi alone,
    which is zero for every new task.

    ``adaptable`` is whether the inner loop may update the layer, ``dtype`` how its parameters are stored. ``pruned`` is
    how many of its weights are neither stored nor computed with, None if it has no mask. ``coded`` is what its weight
    takes if it is a sum of binary bases.
    """

    name: str
    kind: str  # a key of KINDS
    inputs: int
    outputs: int
    kernel: int = 1
    side: int = 1
    reduction: Literal["flatten", "average"] | None = None
    activation: Literal["relu", "leaky_relu", "tanh"] | None = None
    slope: float = 0.0
    pooling: Pooling | None = None
    residual: Literal["fork", "shortcut", "join"] | None = None
    extra: tuple[ExtraParameter, ...] = ()
    context: int = 0
    adaptable: bool = True
    dtype: torch.dtype = torch.float32
    pruned: int | None = None
    coded: Coded | None = None

    @property
    def rules(self) -> Kind:
        """The rules of its kind."""
        return KINDS[self.kind]

    @property
    def is_norm(self) -> bool:
        """Whether the layer normalizes its input before it scales it."""
        return self.rules.normalizes

    @cached_property
    def parameter_shapes(self) -> dict[str, Shape]:
        """The shape of each parameter by its full name: those of the kind, of the context, then the extra ones."""
        shapes = self.rules.shapes(self) | {extra.name: extra.shape for extra in self.extra}
        if self.context:
            rows = len(self.vectors) * self.outputs
            shapes |= {CONTEXT_WEIGHT: (rows, self.context), CONTEXT: (self.context,)}
        return {f"{self.name}.{name}": shape for name, shape in shapes.items()}

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The full names of the parameters that the layer computes with."""
        return tuple(f"{self.name}.{name}" for name in self.rules.shapes(self))

    @cached_property
    def vectors(self) -> tuple[str, ...]:
        """The full names of those operands that hold one number per output channel."""
        return tuple(f"{self.name}.{name}" for name, shape in self.rules.shapes(self).items() if len(shape) == 1)

    @property
    def context_name(self) -> str:
        """The full name of phi [context]."""
        return f"{self.name}.{CONTEXT}"

    @property
    def context_weight_name(self) -> str:
        """The full name of the matrix [vector * output, context] that says what phi adds to the vectors."""
        return f"{self.name}.{CONTEXT_WEIGHT}"

    @property
    def adapted_names(self) -> tuple[str, ...]:
        """The full names of what the inner loop changes, if it updates the layer: phi, or all parameters."""
        return (self.context_name,) if self.context else tuple(self.parameter_shapes)

    @property
    def needs_input(self) -> bool:
        """Whether the gradient of what the inner loop changes is taken from the layer's input, too."""
        return self.is_norm or not self.context

    @property
    def extra_names(self) -> tuple[str, ...]:
        """The full names of the extra parameters, whose gradients come from the loss alone."""
        return tuple(f"{self.name}.{extra.name}" for extra in self.extra)

    @property
    def positions(self) -> int:
        """Height times width of the input and of the output; 1 for vectors."""
        return 1 if self.reduction else self.side**2

    @property
    def averaged_positions(self) -> int:
        """The positions that are averaged into one before the layer; 1 without a global average."""
        return self.side**2 if self.reduction == "average" else 1

    @property
    def input_words(self) -> int:
        """m(x), the numbers in one sample's input."""
        return self.inputs * self.positions

    @property
    def output_words(self) -> int:
        """m(y), the numbers in one sample's output, before pooling."""
        return self.outputs * self.positions

    @property
    def pooled_words(self) -> int:
        """The numbers that pooling leaves of one sample's output; 0 without pooling."""
        return self.outputs * (self.side // 2) ** 2 if self.pooling else 0

    @property
    def weights(self) -> int:
        """m(w), the numbers in the weight; of a norm its scales."""
        return math.prod(self.parameter_shapes[f"{self.name}.weight"])

    @property
    def kept_weights(self) -> int:
        """The numbers in the weight that are not pruned."""
        return self.weights - (self.pruned or 0)

    @property
    def products(self) -> int:
        """The operations of one product with the weight: one for each number kept, or for each sign and coordinate."""
        return self.kept_weights if self.coded is None else self.coded.signs + self.coded.coordinates

    @property
    def moving_weights(self) -> int:
        """The numbers of the weight that an inner step may move: those kept, or the coordinates of its bases."""
        return self.kept_weights if self.coded is None else self.coded.coordinates

    @property
    def parameters(self) -> int:
        """The numbers in all parameters."""
        return sum(math.prod(shape) for shape in self.parameter_shapes.values())

    @property
    def biases(self) -> int:
        """The numbers in all parameters but the weight."""
        return self.parameters - self.weights

    @property
    def modulated_words(self) -> int:
        """The numbers in the vectors that phi modulates; 0 without a context."""
        return len(self.vectors) * self.outputs if self.context else 0

    @property
    def parameter_bytes(self) -> int:
        """What all parameters take where they are stored; of a masked weight the kept numbers and a bit for each.

        Of a weight of bases, a bit for each sign, the coordinates, and a byte for each group that says how many it has.
        """
        if self.coded is not None:
            coded = math.ceil(self.coded.signs / 8) + self.coded.groups
            return (self.biases + self.coded.coordinates) * self.dtype.itemsize + coded
        bits = 0 if self.pruned is None else math.ceil(self.weights / 8)
        return (self.parameters - (self.pruned or 0)) * self.dtype.itemsize + bits

    def initial_parameters(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return fresh parameters: weights as their kind starts, zero biases, the extra ones' initial numbers.

        The matrix of a context starts as the weight of a linear layer does, phi at zero.
        """
        parameters = {name: torch.zeros(shape, dtype=self.dtype) for name, shape in self.parameter_shapes.items()}
        weight = f"{self.name}.weight"
        parameters[weight] = self.rules.initial_weight(self.parameter_shapes[weight], generator).to(self.dtype)
        for name, extra in zip(self.extra_names, self.extra, strict=True):
            parameters[name].fill_(extra.initial)
        if self.context:
            shape = self.parameter_shapes[self.context_weight_name]
            parameters[self.context_weight_name] = xavier_uniform(shape, generator).to(self.dtype)
        return parameters

    def operation(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """Return what the layer does to its prepared input, with its share of a network's ``parameters``."""
        compute, operands = self.rules.compute, self.modulated(parameters).values()
        return lambda inputs: compute(inputs, *operands)

    def modulated(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the layer computes with, by full name: its operands, the vectors plus what phi adds to them.

        Like ``parameters`` they may have a leading task axis.
        """
        operands = {name: parameters[name] for name in self.operands}
        if self.context:
            matrix, context = parameters[self.context_weight_name], parameters[self.context_name]
            added = torch.matmul(matrix, context.unsqueeze(-1)).squeeze(-1).split(self.outputs, dim=-1)
            operands |= {name: operands[name] + each for name, each in zip(self.vectors, added, strict=True)}
        return operands

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return the input that the layer computes with: a norm's is normalized, a linear layer's a vector."""
        return self.rules.prepare(self, inputs)

    def finish(self, output: Tensor) -> Tensor:
        """Return what the next layer gets: the output after activation and pooling."""
        if self.activation == "leaky_relu":
            output = functional.leaky_relu(output, self.slope)
        elif self.activation is not None:
            output = torch.relu(output) if self.activation == "relu" else torch.tanh(output)
        if self.pooling is not None:
            pool = functional.max_pool2d if self.pooling == "max" else functional.avg_pool2d
            output = pool(output, 2)
        return output

    def parameter_gradients(self, inputs: Tensor, at_output: Tensor) -> dict[str, Tensor]:
        """Return dL/dw and, where there is a bias, dL/db by their full names.

        ``inputs`` is the layer's traced input and ``at_output`` the gradient at its output g(y). The result is the sum
        over samples and positions, differentiable in both.
        """
        gradients = self.rules.gradients(self, inputs, at_output)
        return {f"{self.name}.{name}": gradient for name, gradient in gradients.items()}

    def context_gradient(self, gradients: Mapping[str, Tensor], context_weight: Tensor) -> dict[str, Tensor]:
        """Return dL/dphi by its full name: the transposed matrix of the context times the gradients of the vectors."""
        at_vectors = torch.cat([gradients[name] for name in self.vectors])
        return {self.context_name: context_weight.mT @ at_vectors}
