"""The support and query batches of a policy: time steps with their advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.core.numerics import require_finite
from metarl.losses import policy_gradient_loss
from metarl.policies.advantages import BaselineFeatures, estimate_advantages
from metarl.policies.attention import Samples
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import normalize
from metarl.rl.episodes import Episodes

NOTHING: Parameters = {}


class Batch(NamedTuple):
    """The time steps of one task's episodes, one after the other, with their advantages."""

    observations: Tensor  # [sample, observation]
    actions: Tensor  # [sample, action]
    advantages: Tensor  # [sample]
    valid: Tensor  # [sample], bool
    episodes: int  # which follow each other, each as long as the horizon
    mean_return: float = 0.0  # undiscounted, over the episodes

    @property
    def inputs(self) -> Tensor:
        """The observations."""
        return self.observations

    @property
    def samples(self) -> Samples:
        """The samples of attention: the episodes, whose valid time steps are averaged like spatial positions."""
        return Samples(self.episodes, self.valid)

    def loss(self, network: PolicyNetwork, parameters: Parameters, outputs: Tensor) -> Tensor:
        """Return the loss of the vanilla policy gradient."""
        log_probabilities = network.distribution(parameters, outputs).log_probability(self.actions)
        return policy_gradient_loss(log_probabilities, self.advantages, self.valid)


def pooled(batches: Sequence[Batch]) -> Batch:
    """Return several batches of one task as one, with their advantages as they are."""
    episodes = sum(batch.episodes for batch in batches)
    return Batch(
        torch.cat([batch.observations for batch in batches]),
        torch.cat([batch.actions for batch in batches]),
        torch.cat([batch.advantages for batch in batches]),
        torch.cat([batch.valid for batch in batches]),
        episodes,
        sum(batch.mean_return * batch.episodes for batch in batches) / episodes,
    )


def prepare_batch(
    episodes: Episodes,
    task: int,
    discount: float,
    gae_lambda: float,
    parameters: Parameters = NOTHING,
    baseline: BaselineFeatures = "full",
) -> Batch:
    """Return the batch of one task, with advantages on a baseline fitted to that task's episodes.

    Args:
        episodes: The episodes of all tasks.
        task: The index of the task.
        discount: The discount of the advantages.
        gae_lambda: Lambda of generalized advantage estimation.
        parameters: The policy's; they may hold statistics that normalize observations.
        baseline: The features of the baseline.

    Returns:
        The batch, with observations as the policy sees them.

    Raises:
        NumericalFault: An advantage is not finite.
    """
    observations, valid = normalize(parameters, episodes.observations[task]), episodes.valid[task]
    advantages = estimate_advantages(observations, episodes.rewards[task], valid, discount, gae_lambda, baseline)
    require_finite("the advantages are", advantages)
    return Batch(
        observations.flatten(0, 1),
        episodes.actions[task].flatten(0, 1),
        advantages.flatten(),
        valid.flatten(),
        len(valid),
        float(episodes.returns()[task].double().mean()),
    )
