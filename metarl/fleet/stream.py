"""A classifier whose data arrive in rounds at a server, updated by patches: the comparison of the paper (DPU, Sec. 5).

A network of linear layers tells images of a fixed set of classes apart. In each round there are more of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, Positive, check_settings
from metarl.fleet.scores import largest, largest_weights, random_scores, update_masks, without_weights
from metarl.fleet.simulation import Strategy, bound_bytes, patch_bytes
from metarl.fleet.supervised import Course, Examples, accuracy, train
from metarl.policies.files.patch import difference
from metarl.policies.networks.mlp import CategoricalMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.outer import stayed

RESTARTING: tuple[Strategy, ...] = ("combined", "local")  # global is the paper's baseline without restarts
VALIDATION = 0.3  # the share of held-out images that decides what is sent; the others are for the report


@dataclass(frozen=True)
class StreamSettings:
    """How data arrive and how the server trains; Refusal names a value of a wrong type or out of its limits."""

    initial: AtLeastOne = 200
    """Images that the server has in the first round."""
    arriving: AtLeastOne = 200
    """Images that arrive before each further round."""
    rounds: AtLeastOne = 5
    """Rounds, the first deployment included."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the weights that a partial update sends and pruning keeps. Biases are sent whole."""
    hidden_sizes: tuple[AtLeastOne, ...] = (100, 100)
    """Widths of the network's hidden layers."""
    epochs: AtLeastOne = 30
    """Epochs of each of a round's two trainings."""
    batch: AtLeastOne = 32
    """Images of a step."""
    learning_rate: Positive = 0.005
    """Learning rate of Adam, a tenth of it in the second third of the epochs and a hundredth in the last."""
    reinitialize: bool = True
    """Whether combined and local updates start anew from the random network when the data have more than doubled."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the network, the split of the images and the batches."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class StreamRound:
    """One round: what was sent, and how well the devices classify after it."""

    number: int  # from 1
    images: int  # that the server has
    restarted: bool
    sent: bool
    slots: int  # networks that a device stores: two while a restarted one is not yet better than the old one
    patch_bytes: int  # 0 if nothing was sent
    bound_bytes: float  # the numbers of the patch and the least that random places take
    accuracy: float  # of the network that devices run, on test images


class Device(NamedTuple):
    """What a device stores."""

    deployed: Parameters  # what it runs
    line: Parameters  # what patches build on: the same, or the network that has started anew and is not yet better


def restarts(initial: int, arriving: int, rounds: int) -> list[bool]:
    """Return of each round whether the server starts anew: if the data are more than twice those of the last start."""
    last, found = initial, []
    for number in range(rounds):
        images = initial + number * arriving
        found.append(images > 2 * last)
        last = images if found[-1] else last
    return found


def stream(
    training: Examples,
    held_out: Examples,
    strategy: Strategy,
    settings: StreamSettings,
    on_round: Callable[[StreamRound], None] = lambda done: None,
) -> list[StreamRound]:
    """Update a classifier in rounds as its data arrive.

    Args:
        training: Images that arrive, in a random order of their own.
        held_out: Images that never arrive: three of ten decide what is sent, the others are for the report.
        strategy: How robots are updated.
        settings: How data arrive and how the server trains.
        on_round: Is told of each round.

    Returns:
        The rounds. Refusal if there are too few images.
    """
    needed = settings.initial + (settings.rounds - 1) * settings.arriving
    if needed > len(training.labels):
        raise Refusal(
            f"the rounds take {needed} images, and there are {len(training.labels)} to train on: ask for less"
        )
    network = CategoricalMLP(training.inputs.shape[1], settings.hidden_sizes, int(training.labels.max()) + 1)
    order = torch.randperm(len(training.labels), generator=seeded(settings.seed, 1))
    tested = torch.randperm(len(held_out.labels), generator=seeded(settings.seed, 2))
    cut = round(VALIDATION * len(tested))
    validation, test = held_out.chosen(tested[:cut]), held_out.chosen(tested[cut:])
    first = network.initial_parameters(seeded(settings.seed, 0))
    device, done = Device(first, first), []
    anew = restarts(settings.initial, settings.arriving, settings.rounds)
    for number, restart in enumerate(anew, start=1):
        images = settings.initial + (number - 1) * settings.arriving
        restart = restart and settings.reinitialize and strategy in RESTARTING
        server = Server(network, training.chosen(order[:images]), validation, settings, number)
        if restart:
            device = device._replace(line=first)
        device, outcome = played(device, first, server, strategy, restart, test)
        done.append(outcome)
        on_round(outcome)
    return done


@dataclass(frozen=True)
class Server:
    """What the server trains with in one round."""

    network: CategoricalMLP
    images: Examples
    validation: Examples
    settings: StreamSettings
    number: int

    def trained(self, start: Parameters, stage: int, times: int = 1, movable: Parameters | None = None) -> Course:
        """Return where a training from some parameters leads; ``times`` its epochs."""
        settings = self.settings
        random = seeded(settings.seed, 2 * self.number + stage + 1)
        epochs = times * settings.epochs
        return train(
            self.network,
            start,
            self.images,
            self.validation,
            epochs,
            settings.batch,
            settings.learning_rate,
            random,
            movable,
        )

    def score(self, parameters: Parameters) -> float:
        """Return the accuracy on the images that decide what is sent."""
        return accuracy(self.network, parameters, self.validation)


def played(
    device: Device, first: Parameters, server: Server, strategy: Strategy, restarted: bool, test: Examples
) -> tuple[Device, StreamRound]:
    """Play a round.

    Args:
        device: What devices store.
        first: The random network, which devices can make from its seed.
        server: What the server trains with.
        strategy: How devices are updated.
        restarted: Whether the line has just started anew.
        test: Images of the report.

    Returns:
        What devices store afterwards, and the round.
    """
    new = candidate(device.line, first, server, strategy)
    is_better = server.score(new) > server.score(device.deployed)
    apart = device.line is not device.deployed
    size, bound = 0, 0.0
    if is_better or apart:
        old = device.line if strategy != "pruning" else without_weights(server.network, new)
        patch = difference(server.network, old, new, {})
        size, bound = patch_bytes(patch), bound_bytes(patch, new)
        device = Device(new, new) if is_better else Device(device.deployed, new)
    slots = 1 if device.line is device.deployed else 2
    reached = accuracy(server.network, device.deployed, test)
    images = len(server.images.labels)
    return device, StreamRound(server.number, images, restarted, size > 0, slots, size, bound, reached)


def candidate(line: Parameters, first: Parameters, server: Server, strategy: Strategy) -> Parameters:
    """Return the network that the server might send: of each training the epoch with the best validation."""
    network, ratio, number = server.network, server.settings.ratio, server.number
    if strategy == "full":
        return server.trained(first, 0, times=2).best
    if strategy == "random":
        masks = largest(random_scores(network, line, server.settings.seed, number), ratio, {})
        return server.trained(line, 0, times=2, movable=masks).best
    if strategy == "pruning":
        dense = server.trained(first, 0).last
        masks = largest_weights(network, dense, ratio)
        start = dense | stayed(without_weights(network, dense), dense, masks)
        return server.trained(start, 1, movable=masks).best
    full = server.trained(line, 0)
    masks = update_masks(network, line, full.last, full.local, strategy, ratio)
    return server.trained(full.last | stayed(line, full.last, masks), 1, movable=masks).best


def seeded(seed: int, stream: int) -> torch.Generator:
    """Return a generator; each stream of a seed has its own."""
    return torch.Generator().manual_seed(1_000_003 * seed + stream)


def checked(images: Tensor, labels: Tensor) -> Examples:
    """Return images [image, ...] of bytes as inputs in [0, 1]; raise Refusal if they do not fit the labels [image]."""
    if labels.dim() != 1 or len(images) != len(labels) or len(labels) < 2:
        raise Refusal(f"{len(images)} images and labels of the shape {list(labels.shape)} do not belong together")
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise Refusal("labels must be whole numbers from 0 on")
    return Examples(images.flatten(1).float() / 255, labels.long())
