"""Training of a classifier on labels, epoch by epoch, of which a part of the numbers may stay."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.adam import adam_step, initial_moments
from metarl.fleet.partial_update import added
from metarl.losses import cross_entropy
from metarl.policies.networks.mlp import CategoricalMLP
from metarl.policies.networks.network import Parameters
from metarl.rl.outer import stayed


class Examples(NamedTuple):
    """Inputs [image, number] and the class of each [image]."""

    inputs: Tensor
    labels: Tensor

    def chosen(self, indices: Tensor) -> Examples:
        """Return some of them."""
        return Examples(self.inputs[indices], self.labels[indices])


class Course(NamedTuple):
    """Where a training led."""

    last: Parameters
    best: Parameters  # of the start and all epochs, by the accuracy on validation images; the first of equals
    local: Parameters | None  # -sum of g d for each number, by name


def train(
    network: CategoricalMLP,
    start: Parameters,
    images: Examples,
    validation: Examples,
    epochs: int,
    batch: int,
    learning_rate: float,
    random: torch.Generator,
    movable: Parameters | None = None,
) -> Course:
    """Train by Adam, whose rate falls to a tenth after each third of the epochs.

    Args:
        network: The classifier.
        start: Its parameters.
        images: What it learns.
        validation: Images that choose the best epoch.
        epochs: Passes over the images.
        batch: Images of a step.
        learning_rate: Adam's, at first.
        random: Shuffles the images.
        movable: By name, 1 where a number may move and 0 where it stays; what is left out may move.

    Returns:
        The course.
    """
    parameters, moments = start, initial_moments(start)
    best, reached = start, accuracy(network, start, validation)
    local: Parameters | None = {}
    for epoch in range(epochs):
        rate = learning_rate * 0.1 ** (3 * epoch // epochs)
        for chosen in torch.randperm(len(images.labels), generator=random).split(batch):
            gradient = loss_gradient(network, parameters, images.chosen(chosen))
            new, moments = adam_step(parameters, gradient, moments, rate)
            new |= stayed(parameters, new, movable or {})
            local = added(local, gradient, parameters, new)
            parameters = new
        score = accuracy(network, parameters, validation)
        if score > reached:
            best, reached = parameters, score
    return Course(parameters, best, local)


def loss_gradient(network: CategoricalMLP, parameters: Parameters, images: Examples) -> Parameters:
    """Return the gradient of the cross-entropy on some images, by name."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
    loss = cross_entropy(network(leaves, images.inputs)[0], images.labels)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@torch.no_grad()
def accuracy(network: CategoricalMLP, parameters: Parameters, images: Examples) -> float:
    """Return the share of images whose class the network tells."""
    return float((network(parameters, images.inputs)[0].argmax(dim=-1) == images.labels).double().mean())
