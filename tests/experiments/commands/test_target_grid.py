"""Returns target by target, and which of them adaptation made worse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, rejects, succeeds
from PIL import Image

from metarl.envs.registry import get_family
from metarl.rl.evaluation import Evaluation, grid_of_tasks, standard_error

POLICY = "half-cheetah-velocity/maml"


def test_worse_is_a_loss_beyond_the_interval_of_the_difference() -> None:
    """Errors 0.3 and 0.4 make 0.5; t of 8 degrees of freedom is 2.306, so a loss of 1.153 is the limit."""
    returns = torch.tensor([[-10.0, -10.0, -10.0], [-11.1, -11.2, -5.0]])
    errors = torch.tensor([[0.3], [0.4]]).expand(2, 3)
    evaluation = Evaluation(np.zeros((3, 1)), returns, torch.full((2, 3), torch.nan), errors, episodes=5)
    assert evaluation.worsened().tolist() == [False, True, False]
    # t of 4 degrees of freedom is 2.776.
    torch.testing.assert_close(evaluation.ci95()[0], torch.full((3,), 2.776445 * 0.3))
    # 1, 2 and 3 deviate by 1.
    torch.testing.assert_close(standard_error(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([3**-0.5]))


def test_one_episode_tells_of_no_harm() -> None:
    error = torch.stack([standard_error(torch.tensor([[1.0]]))] * 2)
    single = Evaluation(np.zeros((1, 1)), torch.tensor([[0.0], [-9.0]]), error, error, episodes=1)
    assert not single.worsened().any() and single.ci95().isnan().all()


def test_targets_are_even_or_all_choices() -> None:
    assert grid_of_tasks(get_family("half-cheetah-velocity"), 5).ravel().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert grid_of_tasks(get_family("half-cheetah-direction"), 20).ravel().tolist() == [-1.0, 1.0]
    with pytest.raises(ValueError, match="needs a family with one task field, and navigation-2d has goal_x, goal_y"):
        grid_of_tasks(get_family("navigation-2d"), 4)


def test_the_command_prints_draws_and_writes_them(tmp_path: Path) -> None:
    words = ("--horizon", 5, "--episodes", 3, "--grid", 3, "--threads", 1)
    files = ("--plot", tmp_path / "grid.png", "--json", tmp_path / "grid.json")
    out = succeeds("evaluate", POLICY, *words, *files)
    assert "3 targets, 3 episodes each" in out and "made worse" in out
    rows = json.loads((tmp_path / "grid.json").read_text())["grid"]
    assert [row["target"] for row in rows] == [0, 1, 2] and all(row["before_ci95"] >= 0 for row in rows)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 600
    assert "exists already" in fails("evaluate", POLICY, *words, "--plot", tmp_path / "grid.png")
    assert "leave --tasks out" in fails("evaluate", POLICY, *words, "--tasks", 3)
    assert "--plot draws" in rejects("evaluate", POLICY, "--plot", tmp_path / "other.png")
