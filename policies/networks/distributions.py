"""How a policy's actions are distributed, given its network's output: all that differs between kinds of actions.

A diagonal Gaussian draws vectors, a categorical distribution one of several choices. Callers take either: they get it
from ``PolicyNetwork.distribution`` and ask no further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Metric = Callable[[Sequence[Tensor]], list[Tensor]]


class Distribution(Protocol):
    """The distribution of the actions [sample, action] in some states; a tuple of its parameters."""

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the parameters."""
        ...

    @staticmethod
    def noise(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the noise [..., network output] that ``drawn`` makes actions of."""
        ...

    @staticmethod
    def for_environment(actions: NDArray[np.float32]) -> NDArray[Any]:
        """Return clipped actions [..., action] in the type and shape that an environment takes."""
        ...

    def drawn(self, noise: Tensor) -> Tensor:
        """Return the actions [..., sample, action] that some noise makes; noise of zero gives the most likely ones."""
        ...

    def most_likely(self) -> Tensor:
        """Return the most likely actions [..., sample, action]."""
        ...

    def sampled(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        """Return actions [sample, action], drawn by noise of that shape, whose numbers are one per network output."""
        ...

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return log pi(a | s) [sample] of actions [sample, action]."""
        ...

    def kl_divergence(self, new: Self, valid: Tensor) -> Tensor:
        """Return the mean KL(self || new) in nats over the samples that ``valid`` [sample] counts."""
        ...

    def entropy(self) -> Tensor:
        """Return the entropy in nats; [sample] where it depends on the state."""
        ...

    def metric(self, weights: Tensor) -> Metric:
        """Return v -> M v, with the Fisher information M of the parameters, each sample's times its weight [sample]."""
        ...

    def detached(self) -> Self:
        """Return the same distribution without history."""
        ...


class Gaussian(NamedTuple):
    """A diagonal Gaussian, whose standard deviations do not depend on the state."""

    mean: Tensor  # [..., sample, action]
    log_std: Tensor  # [..., action]

    @staticmethod
    def noise(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return standard normal numbers."""
        return generator.standard_normal(shape, dtype=np.float32)

    @staticmethod
    def for_environment(actions: NDArray[np.float32]) -> NDArray[Any]:
        """Return the actions as they are."""
        return actions

    def drawn(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise, which may be rounded once."""
        return torch.addcmul(self.mean, self.log_std.exp().unsqueeze(-2), noise)

    def most_likely(self) -> Tensor:
        """Return the means."""
        return self.mean

    def sampled(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        """Return mean + std * noise, rounded twice as on a device."""
        return self.mean + self.log_std.exp() * torch.from_numpy(self.noise(generator, shape))

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return log pi(a | s) [sample] of actions [sample, action]."""
        standardized = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * standardized**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def kl_divergence(self, new: Gaussian, valid: Tensor) -> Tensor:
        """Return the mean KL(self || new) in nats over the samples that ``valid`` [sample] counts."""
        ratio = (2 * (self.log_std - new.log_std)).exp()
        shift = (self.mean - new.mean) ** 2 * (-2 * new.log_std).exp()
        divergence = 0.5 * (ratio + shift - 1).sum(dim=-1) + (new.log_std - self.log_std).sum()
        return (divergence * valid).sum() / valid.sum()

    def entropy(self) -> Tensor:
        """Return the entropy in nats, the same in all states."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=-1)

    def metric(self, weights: Tensor) -> Metric:
        """Return v -> M v: 1 / std^2 per mean times its sample's weight, 2 per log std, for weights that sum to 1."""
        precision = (-2 * self.log_std.detach()).exp() * weights.unsqueeze(-1)

        def product(tangents: Sequence[Tensor]) -> list[Tensor]:
            mean, log_std = tangents
            return [precision * mean, 2 * log_std]

        return product

    def detached(self) -> Gaussian:
        """Return the same distribution without history."""
        return Gaussian(self.mean.detach(), self.log_std.detach())


class Categorical(NamedTuple):
    """A distribution over choices, whose logarithms of probability are the logits up to a constant.

    An action [1] is the number of its choice, from 0 on.
    """

    logits: Tensor  # [..., sample, choice]

    @staticmethod
    def noise(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return standard Gumbel numbers."""
        return generator.gumbel(size=shape).astype(np.float32)

    @staticmethod
    def for_environment(actions: NDArray[np.float32]) -> NDArray[Any]:
        """Return the choices [...] as whole numbers."""
        return actions[..., 0].astype(np.int64)

    def drawn(self, noise: Tensor) -> Tensor:
        """Return the choice of the largest logit + noise, distributed as the softmax of the logits (Gumbel 1954).

        NaN where a logit is not finite, so that whoever looks for numbers that are not finite finds it.
        """
        choices = (self.logits + noise).argmax(dim=-1, keepdim=True).to(self.logits.dtype)
        return torch.where(self.logits.isfinite().all(dim=-1, keepdim=True), choices, torch.nan)

    def most_likely(self) -> Tensor:
        """Return the choices of the largest logits; NaN where a logit is not finite."""
        return self.drawn(torch.zeros(()))

    def sampled(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        """Return choices [sample, 1]."""
        return self.drawn(torch.from_numpy(self.noise(generator, shape)))

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return log pi(a | s) [sample] of actions [sample, 1]."""
        return self.logits.log_softmax(dim=-1).gather(-1, actions.long()).squeeze(-1)

    def kl_divergence(self, new: Categorical, valid: Tensor) -> Tensor:
        """Return the mean KL(self || new) in nats over the samples that ``valid`` [sample] counts."""
        before, after = self.logits.log_softmax(dim=-1), new.logits.log_softmax(dim=-1)
        divergence = (before.exp() * (before - after)).sum(dim=-1)
        return (divergence * valid).sum() / valid.sum()

    def entropy(self) -> Tensor:
        """Return the entropy [sample] in nats."""
        logarithms = self.logits.log_softmax(dim=-1)
        return -(logarithms.exp() * logarithms).sum(dim=-1)

    def metric(self, weights: Tensor) -> Metric:
        """Return v -> M v, with M = diag(p) - p p^T times the sample's weight."""
        shares = self.logits.detach().softmax(dim=-1)
        weighted = shares * weights.unsqueeze(-1)

        def product(tangents: Sequence[Tensor]) -> list[Tensor]:
            (logits,) = tangents
            return [weighted * (logits - (shares * logits).sum(dim=-1, keepdim=True))]

        return product

    def detached(self) -> Categorical:
        """Return the same distribution without history."""
        return Categorical(self.logits.detach())
