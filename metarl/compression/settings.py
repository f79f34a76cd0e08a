"""How a controller is pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from metarl.compression.choice import Allocation
from metarl.compression.removal import Removal
from metarl.core.settings import AtLeastOne, Positive, check_settings

Statistics = Literal["anp", "weighted", "un-adapted", "l-obs"]
Criterion = Literal[Statistics, "magnitude", "random"]


@dataclass(frozen=True)
class PruneSettings:
    """How a controller is pruned; Refusal names a value that has a wrong type or is out of its limits."""

    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of all weights to remove, biases stay; with --structure units, of all hidden units. 0, with --attention,
    leaves the policy as it is."""
    structure: Literal["weights", "units"] = "weights"
    """Remove single weights, or whole hidden units, which leaves a dense, smaller network; of policies alone."""
    criterion: Criterion = "anp"
    """What a weight is judged by: its removal's effect on what adapted networks compute (anp), on what they do
    (weighted), on the network before adaptation, on the one adapted to one task (l-obs), its magnitude, or chance."""
    removal: Removal = "exact"
    """Remove weights one by one and refit the others by least squares, or literally by the paper's single updates.
    Magnitude and chance refit nothing."""
    allocation: Allocation = "global"
    """One ranking over all layers, or the same share of each layer, as in the paper."""
    connected: bool = True
    """Remove weights first that feed a unit without outgoing weights, and leave such units out of the network at last,
    where no attention weighs channels; of policies alone."""
    rounds: AtLeastOne = 5
    """Rounds of pruning, each of the same number of weights, with meta-training after each."""
    iterations: Annotated[int, Field(ge=0)] = 5
    """Meta-iterations after each round; 0 for none."""
    tasks: AtLeastOne = 20
    """Tasks that the network is adapted to in each round, to see what its layers compute."""
    attention: Annotated[int, Field(ge=0)] = 0
    """Hidden units to leave in each attention module of a policy of p-Meta, which are refitted before the first round;
    0 for modules as they are."""
    damping: Positive = 1e-6
    """Added to the diagonal of the second moments, as a share of its mean."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of tasks, episodes and chance."""

    def __post_init__(self) -> None:
        check_settings(self)
