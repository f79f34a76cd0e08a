"""How the scores are spread, by hand."""

import pytest
import torch

from metarl.policies.methods import get_method
from metarl.rl.attention_log import attention_columns, attention_row, between_tasks
from metarl.rl.trpo import LineSearch, Measured


def test_a_fixed_mask_has_no_variance_between_tasks() -> None:
    mask = torch.tensor([0.0, 1.0, 2.0])
    assert between_tasks(mask.expand(4, 5, 3)) == 0
    assert between_tasks(torch.ones(4, 5, 3)) == 0


def test_a_choice_per_task_has_all_of_it() -> None:
    """Two tasks that each take one of two channels: both channels vary by 1 around 1, and nothing else does."""
    scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).unsqueeze(1).expand(2, 3, 2)
    assert between_tasks(scores) == pytest.approx(1.0)


def test_episodes_that_differ_within_a_task_are_not_between_tasks() -> None:
    scores = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]]])  # means 1 in each task
    assert between_tasks(scores) == 0


def test_the_row_has_the_columns_of_the_method() -> None:
    first = {"layer1": {"forward": torch.tensor([[0.5, 1.5]]), "backward": torch.ones(1, 3)}}
    row = attention_row([[first, first]], LineSearch(torch.zeros(1), Measured(-0.5, 0.25), 2, True))
    columns = attention_columns(get_method("p-meta"), ("layer1", "layer2"), 1)
    assert set(row) == set(columns)
    assert (row["attention_kl"], row["attention_loss"], row["attention_accepted"]) == (0.25, -0.5, 1.0)
    assert row["largest_score_input_layer1_1"] == 1.5 and row["largest_score_output_layer1_1"] == 1.0
    assert attention_columns(get_method("maml"), ("layer1", "layer2"), 1) == []
