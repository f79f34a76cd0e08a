"""How the binary bases of a controller are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from metarl.compression.bases.coordinates import Rank
from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, NotNegative, Positive, check_settings
from metarl.policies.compression.bases import MOST_BASES, GroupKind

Scheme = Literal["adaptive", "uniform", "straight-through", "reconstruction"]
Whole = Annotated[int, Field(ge=0)]
FEWEST_BITS = 0.1


@dataclass(frozen=True)
class BasisSettings:
    """How bases are found; Refusal names a value that has a wrong type or is out of its limits."""

    bits: float = 2.0
    """Bits of a weight, averaged over all weights that get bases; coordinates come on top."""
    rounds: AtLeastOne = 4
    """Rounds of removing coordinates, with training after each."""
    group: GroupKind = "auto"
    """Which weights share bases: those of an output or filter (row), of an input (channel), of a kernel of a
    convolution; auto takes channels where rows are short."""
    scheme: Scheme = "adaptive"
    """Bits that each group earns by the loss (adaptive), or, to compare, the same bits everywhere: trained alike
    (uniform), with float weights behind them (straight-through), or not at all (reconstruction)."""
    objective: Literal["distill", "surrogate"] = "distill"
    """Loss: KL divergence from the float policy before and after adaptation, or the surrogate loss after adaptation on
    rollouts of the compressed policy."""
    rank: Rank = "loss"
    """Remove the coordinates that cost least, or least for each bit that goes."""
    start: Annotated[int, Field(ge=1, le=MOST_BASES)] = 6
    """Bases of a group at the start, at most."""
    float_layers: tuple[str, ...] = ()
    """Layers that stay in floats and adapt as such, e.g. layer3."""
    bases_epochs: AtLeastOne = 4
    """Epochs on bases before the first round and in each."""
    coordinate_epochs: Whole = 2
    """Epochs on coordinates at the end of each round."""
    final_epochs: AtLeastOne = 8
    """Epochs on bases after the last round, at a tenth of the learning rate; the best by validation is kept."""
    iterations: AtLeastOne = 10
    """Iterations of an epoch."""
    tasks: AtLeastOne = 4
    """Tasks of an iteration; an epoch sees the float policy's episodes on as many as all its iterations take."""
    validation_tasks: AtLeastOne = 10
    """Further tasks that tell which epoch was best."""
    learning_rate: Positive = 1e-3
    """The rate at the start of each round, times 0.8 after each epoch."""
    removal_rate: Positive = 1e-3
    """The rate in the model of the loss that coordinates are removed by."""
    float_rate: NotNegative = 1e-3
    """Adam's rate for biases, deviations and layers in floats, falling alike; 0 leaves them."""
    seed: Whole = 0
    """Seed of tasks and episodes."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not FEWEST_BITS <= self.bits <= MOST_BASES:
            raise Refusal(f"bits must lie between {FEWEST_BITS} and {MOST_BASES}, got {self.bits:g}")
        if self.scheme != "adaptive" and (self.bits < 1 or self.bits % 1):
            raise Refusal(f"the same bits everywhere are a whole number from 1 on, got {self.bits:g}")
        if self.scheme == "adaptive" and self.bits > self.start:
            raise Refusal(f"the target of {self.bits:g} bits lies above the {self.start} that a group starts with")
