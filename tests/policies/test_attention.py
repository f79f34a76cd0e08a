"""Algorithm 1 worked by hand, and the attention modules."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.attention import (
    ATTENTION_BOUND,
    PAPERS_MODULES,
    Attention,
    attention_scores,
    attention_shapes,
    bounded,
    clip_and_normalize,
    initial_attention,
)
from metarl.policies.networks.layers import Layer


def test_clipping_by_hand() -> None:
    shares = torch.tensor([0.4, 0.05, 0.25, 0.1, 0.2], dtype=torch.float64)
    # Ascending: 0.05, 0.1, 0.2, ...; their running sums 0.05, 0.15, 0.35 reach 0.3 with the third, which goes too.
    expected = torch.tensor([0.4, 0, 0.25, 0, 0], dtype=torch.float64) / 0.65 * 5
    torch.testing.assert_close(clip_and_normalize(shares, 0.3), expected)


def test_no_clip_zeroes_nothing() -> None:
    shares = torch.tensor([0.0, 0.25, 0.75])
    assert torch.equal(clip_and_normalize(shares, 0.0), shares * 3)


def test_equal_shares_stay_together() -> None:
    scores = clip_and_normalize(torch.full((10,), 0.1, dtype=torch.float64), 0.35)
    torch.testing.assert_close(scores, torch.ones(10, dtype=torch.float64))
    scores = clip_and_normalize(torch.tensor([0.1, 0.3, 0.1, 0.3, 0.2], dtype=torch.float64), 0.25)
    torch.testing.assert_close(scores, torch.tensor([0, 0.3, 0, 0.3, 0], dtype=torch.float64) / 0.6 * 5)


def test_shares_that_nearly_agree_stay_together_where_logits_are_bounded() -> None:
    shares = torch.tensor([0.1, 0.2, 0.21, 0.24, 0.25], dtype=torch.float64)
    kept = torch.tensor([False, False, True, True, True])  # ascending sums 0.1, 0.3: both go
    assert torch.equal(clip_and_normalize(shares, 0.3) > 0, kept)
    kept[1] = True  # 0.2 > 0.9 * 0.21
    assert torch.equal(clip_and_normalize(shares, 0.3, 0.9) > 0, kept)


@given(st.integers(1, 40), st.floats(0.1, 3), st.floats(0.05, 0.6), st.integers(0, 2**31 - 1))
def test_bounded_logits_keep_a_share_of_the_channels(count: int, bound: float, clip: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = 1e3 * torch.randn(count, generator=random, dtype=torch.float64)
    scores = bounded(logits, {ATTENTION_BOUND: torch.tensor(bound, dtype=torch.float64)}).softmax(-1) * count
    assert float(scores.max() / scores.min()) <= math.exp(2 * bound) + 1e-9
    kept = int((clip_and_normalize(scores / count, clip) > 0).sum())
    # One share more than clip may go, the one at which the sum reaches it.
    assert kept + 1 >= count / (1 + math.exp(2 * bound) * clip / (1 - clip)) - 1e-9


@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**31 - 1))
def test_scores_keep_a_mean_of_one(count: int, clip: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    shares = torch.softmax(3 * torch.randn(4, count, generator=random, dtype=torch.float64), dim=-1)
    scores = clip_and_normalize(shares, clip)
    torch.testing.assert_close(scores.mean(dim=-1), torch.ones(4, dtype=torch.float64))
    assert (scores >= 0).all() and (scores > 0).any(dim=-1).all()
    zeroed = torch.where(scores == 0, shares, 0.0).sum(dim=-1)
    largest_zeroed = torch.where(scores == 0, shares, 0.0).amax(dim=-1)
    assert (zeroed - largest_zeroed < clip + 1e-12).all() or clip == 0


def test_scores_start_at_one_before_the_clipping() -> None:
    layers = [Layer("layer1", "linear", 3, 4)]
    parameters = initial_attention(Attention(), layers, torch.Generator().manual_seed(0), PAPERS_MODULES)
    assert {name: tuple(tensor.shape) for name, tensor in parameters.items()} == attention_shapes(layers)
    summary = torch.tensor([[3.0, -1.0, 0.5], [9.0, 9.0, 9.0]])
    assert torch.equal(attention_scores(parameters, "layer1", "forward", summary, clip=0.0), torch.ones(2, 3))


def test_a_side_that_is_left_out_has_no_module() -> None:
    parameters = initial_attention(
        Attention(backward_clip=None), [Layer("layer1", "linear", 3, 4)], torch.Generator(), PAPERS_MODULES
    )
    assert {name.split(".")[2] for name in parameters} == {"forward"}


def test_the_gradient_passes_straight_through_the_clipping() -> None:
    layers = [Layer("layer1", "linear", 3, 4)]
    parameters = initial_attention(Attention(), layers, torch.Generator().manual_seed(0), PAPERS_MODULES)
    parameters["attention.layer1.forward.fc2.bias"] = torch.tensor([0.3, -1.0, 0.5], requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 4.0])
    gradients = []
    for clip in (0.0, 0.3):
        scores = attention_scores(parameters, "layer1", "forward", torch.zeros(3), clip)
        gradients.append(torch.autograd.grad(scores @ weights, parameters["attention.layer1.forward.fc2.bias"])[0])
    assert torch.equal(*gradients) and gradients[0].any()
