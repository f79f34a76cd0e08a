"""Normalized observations, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.normalization import (
    COUNT,
    MEAN,
    STD,
    fold,
    initial_normalization,
    merged,
    normalize,
    observe,
    seen_in,
)

ROWS = torch.tensor([[1.0, 10.0], [3.0, 10.0], [8.0, 40.0]])


def test_before_any_observation_nothing_changes() -> None:
    small = ROWS / 10
    assert torch.equal(normalize(initial_normalization(2), small), small)
    assert torch.equal(normalize({}, ROWS), ROWS)


def test_the_statistics_by_hand() -> None:
    seen = observe(initial_normalization(2), seen_in(ROWS))
    assert seen[MEAN].tolist() == [4.0, 20.0]
    assert seen[STD].tolist() == pytest.approx([(26 / 3) ** 0.5, 200**0.5])
    assert seen[COUNT].tolist() == [3.0]
    assert normalize(seen, torch.tensor([[4.0, 20.0 + 200**0.5]])).tolist() == [pytest.approx([0.0, 1.0])]


def test_parts_give_the_statistics_of_the_whole() -> None:
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.normal([3.0, -200.0, 0.0], [0.1, 50.0, 1.0], (500, 3))).float()
    parts = initial_normalization(3)
    for part in rows.split([7, 193, 300]):
        parts = observe(parts, seen_in(part))
    torch.testing.assert_close(parts[MEAN], rows.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts[STD], rows.std(dim=0, correction=0), rtol=1e-4, atol=1e-5)


def test_groups_merge_to_the_statistics_of_the_whole() -> None:
    random = np.random.default_rng(1)
    rows = torch.from_numpy(random.normal([3.0, -200.0], [0.1, 50.0], (40, 2)))
    count, mean, squares = merged([seen_in(part) for part in rows.split([7, 0, 13, 20])])
    assert count == 40
    torch.testing.assert_close(mean, rows.mean(dim=0))
    torch.testing.assert_close(squares, (rows - rows.mean(dim=0)).square().sum(dim=0))
    assert merged([seen_in(rows[:0])]).observations == 0


def test_numbers_that_never_change_and_numbers_far_away_stay_finite() -> None:
    seen = observe(initial_normalization(1), seen_in(torch.full((5, 1), 2.0)))
    assert normalize(seen, torch.tensor([[2.0], [3.0], [-1e9]])).flatten().tolist() == [0.0, 10.0, -10.0]


def test_each_task_is_normalized_by_its_own_statistics() -> None:
    each = {MEAN: torch.tensor([[0.0, 0.0], [1.0, 1.0]]), STD: torch.tensor([[1.0, 1.0], [2.0, 2.0]])}
    observations = torch.full((2, 3, 2), 5.0)  # [task, episode, observation]
    assert normalize(each, observations)[:, 0, 0].tolist() == [5.0, 2.0]


def test_a_folded_policy_acts_alike() -> None:
    network = GaussianMLP(2, (5,), 3)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    parameters |= observe(initial_normalization(2), seen_in(ROWS))
    folded = fold(parameters, network.layers[0])
    assert set(folded) == set(network.parameter_shapes)
    torch.testing.assert_close(network(folded, ROWS)[0], network(parameters, normalize(parameters, ROWS))[0])
