"""What a federation depends on, whoever its clients are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.settings import AtLeastOne, NotNegative, Positive, check_settings

FLOAT = 32  # the bits of weights that are not quantized
_POPULATION, _ROUNDS, _CLIENTS = 0, 1, 2**32  # where the indices of the random streams begin


@dataclass(frozen=True)
class FederationSettings:
    """Rounds, clients, what travels and what the server does; Refusal names a value that is out of its limits."""

    clients: AtLeastOne = 100
    """Clients N of the federation, each with data of its own."""
    per_round: AtLeastOne = 8
    """Clients m that a round asks, drawn without replacement."""
    rounds: AtLeastOne = 100
    """Rounds."""
    bits: Literal[32, 8, 4, 2] = 8
    """Bits of a weight that clients get: 32 for floats, else integers with a scale for each matrix but the last."""
    relay: bool = False
    """Let the scales follow the weights: the server adds what clients, without float weights, cannot compute."""
    mode: Literal["fedsgd", "fedavg"] = "fedsgd"
    """What clients return: a gradient, or the change of their weights after --local-steps steps of their own."""
    local_steps: AtLeastOne = 1
    """Steps of a client in a round of fedavg."""
    rounding: Literal["nearest", "chance"] = "nearest"
    """How clients of fedavg round their new weights; by chance, no small step is lost on average."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """What the server of fedsgd does with the mean gradient."""
    learning_rate: Positive = 0.05
    """Step of the server in fedsgd, and of the clients in fedavg."""
    skew: NotNegative = 0.0
    """Dirichlet concentration by which clients differ in their data: 0.3 is strongly skewed, 0 is for alike."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random number of the federation."""
    score_every: AtLeastOne = 25
    """Rounds from one evaluation of what clients hold to the next; the last round has one, too."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.per_round > self.clients:
            raise Refusal(f"a round asks at most all {self.clients} clients, got {self.per_round} per round")
        if self.relay and self.bits == FLOAT:
            raise Refusal("the relay is about quantized weights: leave it out with 32 bits, or take 8, 4 or 2")
        if self.mode == "fedavg":
            if self.relay:
                raise Refusal("the relay is for fedsgd: clients of fedavg return changes of weights, not gradients")
            if self.optimizer != "sgd":
                raise Refusal("the server of fedavg adds the mean change: adam is for fedsgd")
        elif self.local_steps != 1 or self.rounding != "nearest":
            raise Refusal("local steps and rounding are for fedavg: a client of fedsgd takes no step")


def population_random(settings: FederationSettings) -> np.random.Generator:
    """Return what the clients' data are drawn from."""
    return generator(settings.seed, Purpose.FEDERATION, _POPULATION)


def sampled_clients(settings: FederationSettings, number: int) -> tuple[int, ...]:
    """Return the clients of a round, ``number`` from 0, in ascending order."""
    random = generator(settings.seed, Purpose.FEDERATION, _ROUNDS + number)
    return tuple(sorted(random.choice(settings.clients, settings.per_round, replace=False).tolist()))


def client_random(settings: FederationSettings, number: int, client: int) -> np.random.Generator:
    """Return what a client draws from in a round."""
    return generator(settings.seed, Purpose.FEDERATION, _CLIENTS + number * settings.clients + client)
