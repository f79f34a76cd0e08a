"""The operations of one pass of the network over the episodes: forward, backward, and into the accumulators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metarl.policies.device.in_place import bytes_of_bits
from metarl.policies.device.network import DeviceLayer
from metarl.policies.device.program import Buffer, Buffers, Operation
from metarl.policies.device.workload import Window, Workload
from metarl.policies.networks.network import layer_of

Operations = Iterator[Operation]

FLAGS = 2  # words for the flags of eight numbers, a byte each, which a ReLU's bits are made of


@dataclass(frozen=True)
class Pass:
    """A pass over the episodes, which adds the buffers that its operations need.

    Attributes:
        layers: The network's layers from the input to the output.
        work: The sizes of the episodes and of the blocks in work.
        window: The gradients that are added up.
        buffers: The buffers of the program.
        advantages: The advantages of the episode in work; None if they are stored with it.
        name: What the names of the pass's own buffers begin with.
        memory: The buffers whose memory the accumulators of parameters take over, by the parameter.
    """

    layers: Sequence[DeviceLayer]
    work: Workload
    window: Window
    buffers: Buffers
    advantages: str | None
    name: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the network's input and of every layer's output."""
        return (self.layers[0].stated.inputs, *(layer.stated.outputs for layer in self.layers))

    @property
    def rows(self) -> int:
        """The time steps of a block."""
        return min(self.work.chunk, self.work.episode)

    @property
    def learning(self) -> list[int]:
        """The indices of the layers of which the window has gradients; the backward pass ends at the first."""
        return [index for index, layer in enumerate(self.layers) if self.window.has(layer.name)]

    @property
    def scored(self) -> list[tuple[int, str]]:
        """The index and the side of every attention module that judges the episodes."""
        return [(index, side) for index in self.learning for side in self.layers[index].clips]

    @property
    def scores_first(self) -> bool:
        """Whether attention has to see episodes that are longer than a block before their gradients are computed."""
        return bool(self.scored) and self.work.chunk < self.work.episode

    @property
    def log_std(self) -> str:
        """The log standard deviation of the actions; empty for a policy that chooses, whose outputs are logits."""
        return next((name for name in self.layers[-1].stated.extra_names if name.endswith(".log_std")), "")

    def start(self) -> Operations:
        """Compute the standard deviations, if actions have any, and clear the accumulators."""
        yield from self.deviations()
        for index in self.learning:
            if not self.work.alone:
                yield from self._clear(index)
            if self._has_places(index):
                yield Operation("fill", (self._places(index), -1))

    def deviations(self) -> Operations:
        """Compute the standard deviations, if actions have any."""
        if self.log_std:
            yield Operation("inverse_deviations", ("log_std", self._inverse_std()))

    def clear_summaries(self) -> Operations:
        """Clear the sums over time that attention looks at."""
        yield from (Operation("fill", (self._scores(index, side), 0)) for index, side in self.scored)

    def summaries(self) -> Operations:
        """Add up over time all tensors that attention looks at, forward and backward."""
        scoring = Tensors(self, f"{self.name}scoring.", whole=[])
        end = min((index for index, side in self.scored if side == "backward"), default=len(self.layers))
        yield Operation("load", (scoring.observations(),))
        for index in range(len(self.layers)):
            yield from self._add_rows(index, "forward", scoring.inputs[index])
            yield from scoring.forward(index, noting=index >= end)
        for index in reversed(range(end, len(self.layers))):
            if index == len(self.layers) - 1:
                yield from self._likelihood_gradient(scoring.mean, log_std=False)
            yield from self._add_rows(index, "backward", scoring.gradient)
            if index > end:
                yield from scoring.backward(index)

    def scores(self) -> Operations:
        """Turn the sums over an episode into scores."""
        for index, side in self.scored:
            yield from self._score(index, side)

    def gradients(self) -> Operations:
        """Add the gradients of a block of time steps to the accumulators."""
        learning, tensors = self.learning, Tensors(self, self.name, self._whole())
        yield Operation("load", (tensors.observations(),))
        for index in range(len(self.layers)):
            yield from self._keep(index, tensors.inputs[index])
            yield from tensors.forward(index, noting=index >= learning[0])
        for index in reversed(range(learning[0], len(self.layers))):
            if self.work.alone:
                yield from self._clear(index)
            if index == len(self.layers) - 1:
                yield from self._likelihood_gradient(tensors.mean)
            yield from self._accumulate(index, tensors.inputs[index], tensors.gradient)
            if self.work.alone:
                yield from self.update_layer(index)
            if index > learning[0]:
                yield from tensors.backward(index)

    def update(self) -> Operations:
        """Turn the accumulators into the change of the parameters."""
        if not self.work.alone:
            for index in self.learning:
                yield from self.update_layer(index)

    def row(self) -> str:
        """Return the working memory for some rows of the widest layer."""
        return self.buffers.add(Buffer("row", (max(self.work.rows * max(self.sizes), FLAGS),), scratch=True))

    def _clear(self, index: int) -> Operations:
        """Clear the accumulators of a layer."""
        yield from (Operation("fill", (self._vector(name), 0)) for name in self._vectors(index))
        if self._has_weights(index):
            yield Operation("fill", (self._weight(index), 0))

    def update_layer(self, index: int) -> Operations:
        """Turn the accumulators of a layer into the change of its parameters."""
        layer = self.layers[index]
        for name in self._vectors(index):
            if layer.stated.context:
                changed = self._vector(name), self._context(index)
                yield Operation("update_context", (layer.name, *changed, layer.step_size))
            else:
                yield Operation("update", (name, self._vector(name), layer.step_size))
        if not self._has_weights(index):
            return
        first, count = self.window.inputs[layer.name]
        if layer.bases is not None:
            yield Operation("update_coordinates", (layer.name, self._weight(index), layer.step_size))
            return
        if layer.compact:
            yield Operation("update_masked_weight", (layer.name, self._weight(index), layer.step_size, first, count))
            return
        places = self._places(index) if self._has_places(index) else None
        yield Operation("update_weight", (f"{layer.name}.weight", self._weight(index), places, layer.step_size, first))

    def _keep(self, index: int, inputs: str) -> Operations:
        """Keep the input channels that attention scores above zero; without attention they stay where they are."""
        layer = self.layers[index]
        if (index, "forward") not in self.scored:
            return
        if not self.scores_first:
            yield from self._score_now(index, "forward", inputs)
        if layer.name in self.window.inputs and layer.bases is None:
            operands = inputs, self._scores(index, "forward"), self._kept(index)
            yield Operation("keep", (*operands, *self.window.inputs[layer.name]))

    def _likelihood_gradient(self, mean: str, log_std: bool = True) -> Operations:
        """Compute the gradient at the network's output, and add that of the log standard deviation.

        The output is the mean action, or the logits of choices.
        """
        advantages = self.advantages
        if not self.log_std:
            yield Operation("choice_gradient", (mean, advantages))
            return
        yield Operation("standardize", (mean, self._inverse_std()))
        if log_std and self.log_std in self.window.vectors:
            yield Operation("add_log_std_gradient", (mean, advantages, self._vector(self.log_std), self.row()))
        yield Operation("output_gradient", (mean, self._inverse_std(), advantages))

    def _accumulate(self, index: int, inputs: str, gradient: str) -> Operations:
        layer = self.layers[index]
        scores = None
        if (index, "backward") in self.scored:
            scores = self._scores(index, "backward")
            if not self.scores_first:
                yield from self._score_now(index, "backward", gradient)
        if (bias := f"{layer.name}.bias") in self.window.vectors:
            yield Operation("add_bias_gradient", (gradient, scores, self._vector(bias), self.row()))
        if not self._has_weights(index):
            return
        first, count = self.window.inputs[layer.name]
        if layer.bases is not None:
            weighed = self._scores(index, "forward") if (index, "forward") in self.scored else None
            memory = self._weighed() if scores or weighed else None
            coded = layer.name, inputs, gradient, weighed, scores, self._weight(index), self.row(), memory
            yield Operation("add_coordinate_gradient", coded)
        elif layer.chooses_inputs:
            places = self._places(index) if self._has_places(index) else None
            operands = self._kept(index), gradient, self._scores(index, "forward"), scores, places
            yield Operation("add_kept_gradient", (*operands, self._weight(index), self.row(), first, count))
        elif layer.compact:
            masked = layer.name, inputs, gradient, scores, self._weight(index), self.row(), first, count
            yield Operation("add_masked_gradient", masked)
        else:
            yield Operation("add_weight_gradient", (inputs, gradient, scores, self._weight(index), self.row(), first))

    def _score_now(self, index: int, side: str, tensor: str) -> Operations:
        yield Operation("fill", (self._scores(index, side), 0))
        yield from self._add_rows(index, side, tensor)
        yield from self._score(index, side)

    def _add_rows(self, index: int, side: str, tensor: str) -> Operations:
        if (index, side) in self.scored:
            yield Operation("add_rows", (tensor, self._scores(index, side), self.row()))

    def _score(self, index: int, side: str) -> Operations:
        layer, scores = self.layers[index], self._scores(index, side)
        yield Operation("score", (f"attention.{layer.name}.{side}", scores, layer.clips[side], self.row()))
        if side == "forward" and self._has_places(index):
            yield Operation("open_channels", (layer.name, scores, self._places(index)))

    def _whole(self) -> list[int]:
        """Return the indices of the layers whose whole inputs are kept for their gradients."""
        return [
            index
            for index, layer in enumerate(self.layers)
            if layer.name in self.window.inputs and not layer.chooses_inputs
        ]

    def _vectors(self, index: int) -> list[str]:
        """Return the names of a layer's parameters in the window that are vectors."""
        return [name for name in self.layers[index].stated.parameter_shapes if name in self.window.vectors]

    def _vector(self, parameter: str) -> str:
        """Return the accumulators of a vector."""
        outputs = next(layer.stated.outputs for layer in self.layers if layer.name == layer_of(parameter))
        return self.buffers.add(
            Buffer(f"{self.name}{parameter}.sum", (outputs,), overwrites=self.memory.get(parameter))
        )

    def _has_places(self, index: int) -> bool:
        """Return whether the inputs that attention drops take no memory among the accumulators of a layer's weights."""
        return self.window.whole and self.layers[index].chooses_inputs

    def _has_weights(self, index: int) -> bool:
        """Return whether weights of a layer are among the window's gradients: of its inputs, one has a weight left."""
        layer = self.layers[index]
        return layer.name in self.window.inputs and layer.changing(*self.window.inputs[layer.name]) > 0

    def _weight(self, index: int) -> str:
        """Return the accumulators of a layer's weights: [input or place, output], [kept weight] or [coordinate]."""
        layer = self.layers[index]
        shape: tuple[int, ...] = (self._room(index)[1], layer.stated.outputs)
        if layer.compact or layer.bases is not None:
            shape = (layer.changing(*self.window.inputs[layer.name]),)
        memory = self.memory.get(f"{layer.name}.weight")
        name = f"{self.name}{layer.name}.weight.sum"
        return self.buffers.add(Buffer(name, shape, overwrites=memory, grows=self._grows(index)))

    def _kept(self, index: int) -> str:
        """Return the memory for the input channels that attention keeps."""
        shape = (self.rows * self._room(index)[0],)
        return self.buffers.add(Buffer(f"{self.name}{self.layers[index].name}.kept", shape, grows=self._grows(index)))

    def _room(self, index: int) -> tuple[int, int]:
        """Return for how many of a layer's inputs there is room: those kept of an episode, and the accumulators."""
        name = self.layers[index].name
        if self._has_places(index):
            return self.work.kept.get(name, (0, 0))
        return self.window.inputs[name][1], self.window.inputs[name][1]

    def _grows(self, index: int) -> bool:
        return self._has_places(index) and not self.work.fixed

    def _places(self, index: int) -> str:
        """Return the place of each input channel's accumulators."""
        layer = self.layers[index]
        return self.buffers.add(Buffer(f"{self.name}{layer.name}.places", (layer.stated.inputs,), "int16"))

    def _scores(self, index: int, side: str) -> str:
        """Return what attention sees of a tensor, and then its scores, by channel."""
        layer = self.layers[index].stated
        channels = layer.inputs if side == "forward" else layer.outputs
        return self.buffers.add(Buffer(f"{self.name}{layer.name}.{side}", (channels,)))

    def _context(self, index: int) -> str:
        """Return the memory for the change of a layer's context."""
        layer = self.layers[index]
        return self.buffers.add(Buffer(f"{self.name}{layer.name}.context", (layer.stated.context,), scratch=True))

    def _weighed(self) -> str:
        """Return the memory for one time step of the widest layer, times scores."""
        return self.buffers.add(Buffer("weighed", (max(self.sizes),), scratch=True))

    def _inverse_std(self) -> str:
        return self.buffers.add(Buffer(f"{self.name}inverse_std", (self.sizes[-1],)))


class Tensors:
    """The tensors of a block of time steps as they pass forward and backward, and the memory that they take over."""

    def __init__(self, steps: Pass, name: str, whole: Sequence[int]) -> None:
        self.steps, self.name, self.whole = steps, name, whole
        self.inputs: list[str] = []  # of the layers that have been reached
        self.squashed: set[int] = set()  # the layers whose inputs stay, for the backward pass of the tanh before them
        self.mean = self.gradient = ""

    def observations(self) -> str:
        """Return the memory of the network's input."""
        self.inputs.append(self._tensor("observations", 0, None))
        return self.inputs[0]

    def forward(self, index: int, noting: bool) -> Operations:
        """Compute a layer's output: in the memory of its input, unless all of that is kept.

        With ``noting``, one bit per output tells the backward pass what the ReLU blocks. Of a tanh it needs the
        outputs, which stay.
        """
        layer, inputs, stays = (
            self.steps.layers[index],
            self.inputs[index],
            index in self.whole or index in self.squashed,
        )
        output = self._tensor(f"{layer.name}.output", index + 1, None if stays else inputs)
        operands = layer.name, inputs, output
        yield Operation("linear", operands) if stays else Operation("linear_in_place", (*operands, self.steps.row()))
        if layer.stated.activation == "relu":
            yield Operation("rectify", (output, self._bits(index) if noting else None, self.steps.row()))
        elif layer.stated.activation == "tanh":
            yield Operation("squash", (output,))
            if noting:
                self.squashed.add(index + 1)
        self.inputs.append(output)
        self.mean = self.gradient = output

    def backward(self, index: int) -> Operations:
        """Compute the gradient at a layer's input, in memory that is free by now, and pass it through the activation.

        Through a tanh it passes in the memory of the tanh's outputs.
        """
        layers, buffers = self.steps.layers, self.steps.buffers
        if layers[index - 1].stated.activation == "tanh":
            passed = self._tensor(f"{layers[index - 1].name}.gradient", index, self.inputs[index])
            yield Operation("input_gradient_tanh", (layers[index].name, self.gradient, passed, self.steps.row()))
            self.gradient = passed
            return
        words = self.steps.rows * self.steps.sizes[index]
        beside = self.inputs[index] if index in self.whole else None
        in_place = beside is None and words <= buffers.room(self.gradient)
        overwrites = self.gradient if in_place else beside
        passed = self._tensor(f"{layers[index - 1].name}.gradient", index, overwrites)
        operands = layers[index].name, self.gradient, passed
        if in_place:
            yield Operation("input_gradient_in_place", (*operands, self.steps.row()))
        else:
            yield Operation("input_gradient", operands)
        if layers[index - 1].stated.activation == "relu":
            yield Operation("block", (passed, self._bits(index - 1), self.steps.row()))
        self.gradient = passed

    def _tensor(self, name: str, position: int, overwrites: str | None) -> str:
        shape = self.steps.rows, self.steps.sizes[position]
        return self.steps.buffers.add(Buffer(f"{self.name}{name}", shape, overwrites=overwrites, by_row=True))

    def _bits(self, index: int) -> str:
        """Return the memory of one bit for each output of a layer's ReLU."""
        count = bytes_of_bits(self.steps.rows * self.steps.sizes[index + 1])
        name = f"{self.name}{self.steps.layers[index].name}.bits"
        return self.steps.buffers.add(Buffer(name, (count,), "uint8"))
