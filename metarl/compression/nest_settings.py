"""How the nested subnets of a controller are trained (DRESS)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, NotNegative, Positive, check_settings
from metarl.policies.compression.nested import MOST_SUBNETS, RowKind

Objective = Literal["distill", "surrogate"]


@dataclass(frozen=True)
class NestSettings:
    """How nested subnets are trained; Refusal names a value that has a wrong type or is out of its limits."""

    sparsities: tuple[float, ...] = (0.5, 0.8, 0.9)
    """Shares of the weights that the subnets leave out, ascending; at least two."""
    row: RowKind = "filter"
    """A subnet keeps as many weights of each row of a layer: of a filter or unit, of 256 successive weights of it, or
    of the whole layer."""
    gamma: NotNegative = 0.5
    """Correction of the loss weights: a subnet's loss counts (1 - sparsity)^gamma; 0 for all alike."""
    objective: Objective = "distill"
    """Loss of a policy: its KL divergence from the dense policy before and after adaptation, or the surrogate loss of
    its own rollouts after it. Image networks take the cross-entropy after adaptation."""
    epochs: AtLeastOne = 4
    """Epochs of training all subnets together; the best is kept, and after one that is no better the shares of the
    layers are chosen anew."""
    iterations: AtLeastOne = 25
    """Iterations of an epoch."""
    tuning: Annotated[int, Field(ge=0)] = 25
    """Iterations in which each subnet's own biases, norms and deviations are trained at last; 0 for none."""
    tasks: AtLeastOne = 5
    """Tasks of an iteration."""
    validation_tasks: AtLeastOne = 10
    """Tasks that tell after each epoch whether the subnets are better."""
    learning_rate: Positive = 1e-3
    """Adam's rate at the start of the training and of the tuning, which falls to zero on half a cosine."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of tasks and episodes."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 2 <= len(self.sparsities) <= MOST_SUBNETS:
            raise Refusal(f"there must be 2 to {MOST_SUBNETS} sparsities, got {len(self.sparsities)}")
        if not all(0 < each < 1 for each in self.sparsities):
            raise Refusal("every sparsity must lie between 0 and 1")
        if any(first >= second for first, second in pairwise(self.sparsities)):
            raise Refusal("the sparsities must ascend, e.g. 0.5 0.8 0.9")
