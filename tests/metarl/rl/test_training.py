"""Which iterate a meta-training keeps."""

from __future__ import annotations

import math

import torch

from metarl.core.intervals import Interval
from metarl.kept_channels import KeptChannels
from metarl.policies.networks.network import Parameters
from metarl.rl.iteration import IterationReport
from metarl.rl.outer import OuterStep
from metarl.rl.training import SELECTION_WINDOW, advance
from metarl.runs.state import TrainingState


def iterate(number: int) -> Parameters:
    return {"weight": torch.tensor([float(number)])}


def train_on(returns: list[float]) -> TrainingState:
    """The state after iterations with these returns after adaptation; iteration n leaves iterate n."""
    state = TrainingState(0, iterate(0), {}, iterate(0), -math.inf, 0)
    for number, adapted_return in enumerate(returns, start=1):
        step = OuterStep(iterate(number), {}, 0.0, accepted=True, search=None)
        intervals = (Interval(-1e9, 0.0), Interval(adapted_return, 0.0))
        report = IterationReport(intervals, (), step, 1.0, {}, KeptChannels({}, {}), {}, [], 1)
        state = advance(state, iterate(number), {}, report)
    return state


def test_easy_tasks_do_not_make_an_iterate_the_best() -> None:
    rising = [-100.0 + number for number in range(20)]
    lucky = [*rising[:5], -10.0, *rising[6:16]]
    state = train_on(lucky)
    assert len(lucky) == 16 and state.best_iteration == 15  # the last window with the lucky iteration in it
    assert float(state.best_parameters["weight"]) == 14  # what iteration 15 measured, before its outer step
    assert math.isclose(state.best_score, (sum(rising[6:15]) - 10) / SELECTION_WINDOW)


def test_the_best_is_judged_on_the_last_ten_iterations() -> None:
    state = train_on([-100.0] * 10 + [-50.0] * 10 + [-70.0] * 5)
    assert (state.best_score, state.best_iteration) == (-50.0, 20)
    assert float(state.best_parameters["weight"]) == 19
    assert state.recent_returns == (-50.0,) * 5 + (-70.0,) * 5
