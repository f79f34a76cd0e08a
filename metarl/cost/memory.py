"""The memory of one adaptation step, moment by moment (p-Meta, Qu et al., KDD 2022, Sec. 2 and Appendix A).

This is the paper's count, for its tables and a layer's share of them. What a device needs to adapt a policy is read
off the plan of its program (``metarl.policies.device.memory``), which has the baseline and the working memory of
products, too.

The peak is the maximum, over the moments of one gradient step, of everything dynamic that is alive at that moment.
(Eq. 16 of the paper adds maxima that are never alive together, and does not give the numbers of its tables; these
moments do.) Alive are

* the input of every updated layer, from its forward to its backward computation, or the share mu_fw of its channels
  (eq. 17); of a group norm the normalized input. Each layer keeps its own, also where two branches read one tensor;
* the activation buffer: the tensor that passes from layer to layer forward, and the gradient that passes backward to
  the first updated layer. Input and output of a layer share memory unless the input is kept: max(m(x), m(y)). In a
  residual block a second buffer waits: the input until the shortcut, the main branch's output until the sum, its
  gradient in the backward pass;
* one bit per output of a (leaky) ReLU, the outputs of a tanh unless the next layer keeps them, and two bits per output
  of a max-pooling, from the first updated layer on;
* the accumulators of the updated layers' weights, of a pruned layer the kept ones, and biases (the paper leaves biases
  out; no digit it prints depends on them), or the share mu_sum of the weights, whose input channels some batch keeps;
  or, when one batch makes the whole step, the gradient of the layer being differentiated, applied at once;
* of a layer that is updated by its context (CAVIA), the accumulators of the vectors that the context modulates alone;
  its input is kept if it is a norm, whose scales are among them;
* for attention the scores of a batch of B samples, at most B * (C_I + C_O) words per layer: B * C_I of the forward
  module from the layer's forward to its backward computation, B * C_O of the backward one while it is differentiated.

The backward pass of a group norm needs its normalized input also where none or only some of its channels are kept. The
paper counts neither that tensor nor the operations of its recomputation, and neither does this model.

What the paper's tables print and this model does not:

* ResNet12's 370.44 MB for one batch of 25 images (Table 1) is the moment when the first block's sum is differentiated.
  That is not the peak: at the last block's sum all blocks' inputs are alive, 567.54 MB, and Table 2's 54.69 MB does
  contain that larger moment. The timeline has both.
* ResNet12 with MAML: 54.70 for the printed 54.69 MB. BOIL, printed alike and met, lacks only fc's accumulators, 0.01024
  MB, more than two numbers that round to 54.69 can differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from metarl.core.errors import Refusal
from metarl.policies.attention import Side
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.sizes import WORD_BYTES

MAX_OBSERVATIONS = 10**12


@dataclass(frozen=True)
class LayerUpdate:
    """How a layer is updated: the shares of its input and output channels that are kept, and its attention modules.

    The forward module scores the input channels, the backward one the output channels; each has ``rank`` hidden units
    at most, None for as many as channels. Batches may keep different input channels; ``mu_sum`` is the share of those
    that any batch keeps.
    """

    mu_fw: float = 1.0
    mu_bw: float = 1.0
    attention: tuple[Side, ...] = ()
    mu_sum: float = 1.0
    rank: int | None = None

    @property
    def chooses_inputs(self) -> bool:
        """Whether gradients are added up for whole input channels, of pruned weights, too."""
        return "forward" in self.attention

    def __post_init__(self) -> None:
        for name, share in (("mu_fw", self.mu_fw), ("mu_bw", self.mu_bw), ("mu_sum", self.mu_sum)):
            if not 0 <= share <= 1:
                raise Refusal(f"{name} is a share of channels and must lie in [0, 1], got {share:g}")


Plan = Mapping[str, LayerUpdate]  # the updated layers of one inner step


@dataclass(frozen=True)
class Workload:
    """One step's data: ``episodes`` of ``horizon`` observations, in batches of ``chunk`` (default: an episode).

    Images are episodes of one observation. A chunk no longer than an episode holds observations of one episode alone.
    """

    horizon: int = 200
    episodes: int = 20
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.episodes < 1:
            raise Refusal(
                f"horizon and episodes must be at least 1, got horizon {self.horizon} and {self.episodes} episodes"
            )
        if self.observations > MAX_OBSERVATIONS:
            raise Refusal(f"horizon times episodes must be at most {MAX_OBSERVATIONS:.0e} observations in a step")
        if self.chunk is not None and not 1 <= self.chunk <= self.observations:
            raise Refusal(f"a chunk has 1 to {self.observations} (all) observations, got {self.chunk}")

    @property
    def observations(self) -> int:
        """Observations in all episodes."""
        return self.horizon * self.episodes

    @property
    def batch(self) -> int:
        """Observations per accumulated batch."""
        return self.horizon if self.chunk is None else self.chunk

    @property
    def batches(self) -> int:
        """Accumulated batches in a step."""
        if self.batch <= self.horizon:
            return self.episodes * ceil(self.horizon / self.batch)
        return ceil(self.observations / self.batch)

    @property
    def batch_samples(self) -> int:
        """The attention's samples per batch: whole episodes, or the part of one that the batch holds."""
        return ceil(self.batch / self.horizon)


@dataclass(frozen=True)
class Moment:
    """What is alive while a layer is computed ("forward NAME") or differentiated ("backward NAME: ...")."""

    name: str
    bytes: int

    @property
    def layer(self) -> str:
        """The name of the layer that is computed or differentiated."""
        return self.name.partition(" ")[2].partition(":")[0]


@dataclass(frozen=True)
class LayerMemory:
    """A layer's tensors in bytes, for one batch: those that pass through it and those that it keeps."""

    input: int
    output: int
    stored_input: int
    bits: int
    kept_output: int  # of a tanh, that the next layer does not keep
    weight_gradient: int
    input_scores: int
    output_scores: int


def layer_memories(layers: Sequence[Layer], plan: Plan, workload: Workload) -> list[LayerMemory]:
    """Return every layer's tensors when the layers of ``plan`` are updated; of inference for an empty plan."""
    first = first_updated(layers, plan)
    following = [*(layer.name for layer in layers[1:]), ""]
    keeps = {layer.name for layer in layers if layer.needs_input and layer.name in plan} - {
        name for name, update in plan.items() if update.chooses_inputs
    }
    return [
        _memory(layer, plan.get(layer.name), workload, index >= first, following[index] in keeps)
        for index, layer in enumerate(layers)
    ]


def first_updated(layers: Sequence[Layer], plan: Plan) -> int:
    """Return the index of the first updated layer, l_min; the number of layers if there is none."""
    return next((index for index, layer in enumerate(layers) if layer.name in plan), len(layers))


def inference_moments(layers: Sequence[Layer], workload: Workload) -> tuple[Moment, ...]:
    """Return the moments of one batch's forward pass that keeps nothing."""
    return tuple(_forward(layers, layer_memories(layers, {}, workload)))


def adaptation_moments(layers: Sequence[Layer], plan: Plan, workload: Workload) -> tuple[Moment, ...]:
    """Return the moments of one batch's forward and backward pass, accumulators included; none for an empty plan."""
    if not plan:
        return ()
    memories = layer_memories(layers, plan, workload)
    accumulate = workload.batches > 1
    moments = _forward(layers, memories) + _backward(layers, memories, first_updated(layers, plan), accumulate)
    updates = ((layer, plan[layer.name]) for layer in layers if layer.name in plan)
    words = (_accumulated_words(layer, update, update.mu_sum) for layer, update in updates)
    accumulators = WORD_BYTES * sum(words) if accumulate else 0
    return tuple(Moment(moment.name, moment.bytes + accumulators) for moment in moments)


def peak(moments: Sequence[Moment]) -> Moment:
    """Return the moment at which most is alive, the last of equals."""
    return max(reversed(moments), key=lambda moment: moment.bytes, default=Moment("no step", 0))


def _accumulated_words(layer: Layer, update: LayerUpdate, share: float, biases: float = 1.0) -> int:
    """Return the numbers in the gradients of an updated layer, of these shares of its weights and of its biases."""
    if layer.context:
        return layer.modulated_words
    weights = layer.weights if update.chooses_inputs else layer.moving_weights
    return round(share * weights) + round(biases * layer.biases)


def _memory(
    layer: Layer, update: LayerUpdate | None, workload: Workload, reached: bool, output_stays: bool
) -> LayerMemory:
    """Return one layer's tensors.

    Args:
        layer: The layer.
        update: How it is updated, None if it is not.
        workload: The sizes of the batches.
        reached: Whether the backward pass reaches the layer's output.
        output_stays: Whether the next layer keeps all of its input.
    """
    batch = workload.batch
    mu_fw, mu_bw = (update.mu_fw, update.mu_bw) if update else (0.0, 0.0)
    gradient_words = _accumulated_words(layer, update, mu_fw * mu_bw, mu_bw) if update else 0
    keeps_output = reached and layer.activation == "tanh" and not output_stays
    has_bits = layer.activation in ("relu", "leaky_relu")
    bits = (layer.output_words if has_bits else 0, 2 * layer.pooled_words if layer.pooling == "max" else 0)
    modules = update.attention if update else ()
    return LayerMemory(
        input=WORD_BYTES * batch * layer.input_words,
        output=WORD_BYTES * batch * layer.output_words,
        stored_input=round(mu_fw * WORD_BYTES * batch * layer.input_words) if layer.needs_input else 0,
        bits=sum(ceil(batch * each / 8) for each in bits) if reached else 0,
        kept_output=WORD_BYTES * batch * layer.output_words if keeps_output else 0,
        weight_gradient=WORD_BYTES * gradient_words,
        input_scores=WORD_BYTES * workload.batch_samples * layer.inputs if "forward" in modules else 0,
        output_scores=WORD_BYTES * workload.batch_samples * layer.outputs if "backward" in modules else 0,
    )


def _forward(layers: Sequence[Layer], memories: Sequence[LayerMemory]) -> list[Moment]:
    moments: list[Moment] = []
    kept = waiting = previous_output = 0
    for index, (layer, memory) in enumerate(zip(layers, memories, strict=True)):
        if layer.residual == "fork":
            waiting += memory.input
        elif layer.residual == "shortcut":
            waiting += previous_output - memory.input
        # Either the output overwrites the input, whose stored share has been copied, or it lies beside the whole input.
        overwriting = max(memory.input, memory.output) + memory.stored_input
        passing = min(overwriting, memory.input + memory.output)
        if index and memories[index - 1].kept_output:  # which is the input
            passing = memory.output + memory.stored_input
        kept += memory.bits + memory.input_scores
        moments.append(Moment(f"forward {layer.name}", kept + waiting + passing))
        kept += memory.stored_input + memory.kept_output
        if layer.residual == "join":
            waiting -= memory.output
        previous_output = memory.output
    return moments


def _backward(layers: Sequence[Layer], memories: Sequence[LayerMemory], first: int, accumulate: bool) -> list[Moment]:
    """Return the moments from the last layer to ``first``; each layer's own gradient is alive unless accumulated."""
    moments: list[Moment] = []
    kept = sum(memory.stored_input + memory.bits + memory.kept_output + memory.input_scores for memory in memories)
    waiting = 0
    for index in range(len(layers) - 1, first - 1, -1):
        layer, memory = layers[index], memories[index]
        if layer.residual == "join" and _latest(layers, index, "shortcut") > first:
            waiting += memory.output  # the main branch's copy of the gradient
        turn = waiting + memory.output_scores + (0 if accumulate else memory.weight_gradient)
        moments.append(Moment(f"backward {layer.name}: weight gradient", kept + turn + memory.output))
        kept -= memory.stored_input
        if index > first:
            # The gradient passes through a tanh in the memory of its outputs.
            outputs = memories[index - 1].kept_output
            buffer = memory.output if outputs else max(memory.input, memory.output)
            moments.append(Moment(f"backward {layer.name}: input gradient", kept + turn + buffer))
            kept -= outputs
        kept -= memory.bits + memory.input_scores
        if layer.residual == "shortcut" and index > first:
            waiting -= (
                memory.output
            )  # the main branch's gradient takes the buffer, and the shortcut's waits for the fork
            waiting += memory.input if _latest(layers, index, "fork") > first else 0
        elif layer.residual == "fork" and index > first:
            waiting -= memory.input
    return moments


def _latest(layers: Sequence[Layer], index: int, role: str) -> int:
    """Return the index of the nearest layer before ``index`` with a residual role; every residual block has one."""
    return next(position for position in range(index - 1, -1, -1) if layers[position].residual == role)
