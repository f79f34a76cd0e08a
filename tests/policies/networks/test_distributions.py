"""The distributions of actions against torch.distributions, finite differences and counts of what is drawn."""

import numpy as np
import pytest
import torch
from torch import distributions
from torch.autograd.functional import hessian

from metarl.policies.networks.distributions import Categorical, Distribution, Gaussian

RANDOM = torch.Generator().manual_seed(0)
MEAN, NEW_MEAN, ACTIONS = torch.randn(3, 7, 2, generator=RANDOM, dtype=torch.float64)
LOG_STD, NEW_LOG_STD = torch.randn(2, 2, generator=RANDOM, dtype=torch.float64)
LOGITS, NEW_LOGITS = 2 * torch.randn(2, 7, 4, generator=RANDOM, dtype=torch.float64)
CHOICES = torch.randint(4, (7, 1), generator=RANDOM).double()
VALID = torch.tensor([True, True, False, True, False, True, True])

GAUSSIAN, NEW_GAUSSIAN = Gaussian(MEAN, LOG_STD), Gaussian(NEW_MEAN, NEW_LOG_STD)
CATEGORICAL, NEW_CATEGORICAL = Categorical(LOGITS), Categorical(NEW_LOGITS)
PAIRS = [(GAUSSIAN, NEW_GAUSSIAN, ACTIONS), (CATEGORICAL, NEW_CATEGORICAL, CHOICES)]


def of_torch(distribution: Distribution) -> distributions.Distribution:
    if isinstance(distribution, Gaussian):
        return distributions.Independent(distributions.Normal(distribution.mean, distribution.log_std.exp()), 1)
    assert isinstance(distribution, Categorical)
    return distributions.Categorical(logits=distribution.logits)


@pytest.mark.parametrize(("old", "new", "actions"), PAIRS)
def test_probability_divergence_and_entropy_are_those_of_torch(old, new, actions) -> None:
    theirs, value = of_torch(old), actions if isinstance(old, Gaussian) else actions.squeeze(-1)
    torch.testing.assert_close(old.log_probability(actions), theirs.log_prob(value))
    torch.testing.assert_close(old.entropy().expand(7), theirs.entropy())
    divergence = distributions.kl_divergence(theirs, of_torch(new))
    torch.testing.assert_close(old.kl_divergence(new, VALID), divergence[VALID].mean())
    assert float(old.kl_divergence(old, VALID)) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("old", "new", "actions"), PAIRS)
def test_the_metric_is_the_hessian_of_the_divergence(old, new, actions) -> None:
    sizes = [each.numel() for each in old]

    def rebuilt(vector: torch.Tensor) -> Distribution:
        parts = torch.split(vector, sizes)
        return type(old)(*(part.view_as(each) for part, each in zip(parts, old, strict=True)))

    flat = torch.cat([each.flatten() for each in old])
    exact = hessian(lambda vector: old.kl_divergence(rebuilt(vector), VALID), flat)
    product = old.metric(VALID.double() / VALID.sum())
    rows = [
        torch.cat([each.flatten() for each in product(list(rebuilt(unit)))]) for unit in torch.eye(len(flat)).double()
    ]
    torch.testing.assert_close(torch.stack(rows), exact, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("old", "new", "actions"), PAIRS)
def test_detached_has_the_same_numbers_and_no_history(old, new, actions) -> None:
    tracked = type(old)(*(each.clone().requires_grad_() for each in old))
    for before, after in zip(old, tracked.detached(), strict=True):
        assert not after.requires_grad and torch.equal(before, after)


def test_the_slope_of_a_choices_probability_is_one_hot_minus_softmax() -> None:
    """Which is what the step on a device computes; here by central differences."""
    logits, choice = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64), torch.tensor([[2.0]])
    slopes = []
    for unit in torch.eye(3, dtype=torch.float64) * 1e-6:
        above, below = (Categorical(logits + step).log_probability(choice) for step in (unit, -unit))
        slopes.append(float(above - below) / 2e-6)
    assert slopes == pytest.approx((torch.tensor([0.0, 0, 1]) - logits[0].softmax(0)).tolist(), abs=1e-8)


def test_choices_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5]).expand(40_000, 4)
    drawn = Categorical(logits).sampled(np.random.default_rng(0), (40_000, 4))
    assert drawn.shape == (40_000, 1) and drawn.dtype == torch.float32
    shares = torch.bincount(drawn[:, 0].long(), minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(0), atol=0.01, rtol=0)  # four standard errors


def test_gaussian_actions_have_their_mean_and_deviation() -> None:
    gaussian = Gaussian(torch.tensor([1.0, -2.0]).expand(40_000, 2), torch.tensor([0.5, 2.0]).log())
    for drawn in (
        gaussian.sampled(np.random.default_rng(0), (40_000, 2)),
        gaussian.drawn(torch.from_numpy(gaussian.noise(np.random.default_rng(0), (40_000, 2)))),
    ):
        torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, -2.0]), atol=0.04, rtol=0)
        torch.testing.assert_close(drawn.std(0), torch.tensor([0.5, 2.0]), atol=0.03, rtol=0)


def test_without_noise_the_most_likely_action_is_drawn() -> None:
    assert torch.equal(CATEGORICAL.drawn(torch.zeros(7, 4)), LOGITS.argmax(dim=1, keepdim=True).double())
    assert torch.equal(CATEGORICAL.most_likely(), CATEGORICAL.drawn(torch.zeros(7, 4)))
    assert torch.equal(GAUSSIAN.drawn(torch.zeros(7, 2)), MEAN) and torch.equal(GAUSSIAN.most_likely(), MEAN)


def test_a_task_axis_is_carried_along() -> None:
    mean, log_std = torch.zeros(3, 5, 2), torch.tensor([[0.0, 1], [2, 3], [4, 5]])
    assert torch.equal(Gaussian(mean, log_std).drawn(torch.ones(3, 5, 2)), log_std.exp().unsqueeze(1).expand(3, 5, 2))
    assert Categorical(torch.zeros(3, 5, 4)).drawn(torch.zeros(3, 5, 4)).shape == (3, 5, 1)


def test_logits_that_are_not_finite_give_no_choice() -> None:
    drawn = Categorical(torch.tensor([[0.0, torch.nan], [torch.inf, 0], [0, 1]])).most_likely()
    assert drawn[:2].isnan().all() and float(drawn[2]) == 1


def test_an_environment_gets_whole_numbers() -> None:
    choices = Categorical.for_environment(np.array([[2.0], [0.0]], np.float32))
    assert choices.tolist() == [2, 0] and choices.dtype == np.int64
    single = Categorical.for_environment(np.array([1.0], np.float32))
    assert single.shape == () and int(single) == 1
    vector = np.array([0.5, 1.0], np.float32)
    assert Gaussian.for_environment(vector) is vector
