"""Numbers that are not finite, injected one place at a time: the run goes on where sound, and stops where not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from point_family import TINY, PointSimulator, point_family
from watching import Steps

from metarl.api import resume, train
from metarl.inner_loop import InnerStep
from metarl.rl import batch, outer
from metarl.rl.objective import MetaObjective
from metarl.runs.folder import PROGRESS
from metarl.runs.state import FAULTS_IN_A_ROW, Step

HORIZON = 7
PER_ITERATION = 2 * HORIZON  # simulator steps: before and after adaptation


def steps_of(family, **changes) -> list[Step]:
    """All that a short training yields, on one thread so that simulator calls come in order."""
    steps = Steps()
    train(family, settings=replace(TINY, threads=1, **changes), callbacks=[steps])
    return steps


def broken_family(calls: range, where: str):
    broken = frozenset(calls)
    return point_family(HORIZON, lambda threads: PointSimulator(broken, where))


@pytest.mark.parametrize("where", ["rewards", "observations"])
def test_a_fault_of_the_simulation_costs_one_iteration(where: str) -> None:
    steps = steps_of(broken_family(range(PER_ITERATION + 2, PER_ITERATION + 3), where))
    assert [bool(step.fault) for step in steps] == [False, True, False, False, False, False]
    assert f"the environment's {where} are not finite" in steps[1].fault
    before, after = steps[0].state, steps[1].state
    assert all(torch.equal(before.parameters[name], after.parameters[name]) for name in before.parameters)
    assert (after.skipped, after.faults_in_a_row) == (1, 1)
    assert (steps[2].state.skipped, steps[2].state.faults_in_a_row) == (1, 0)


def test_training_stops_when_every_iteration_fails(tmp_path: Path) -> None:
    family = broken_family(range(10**6), "rewards")
    with pytest.raises(FloatingPointError, match="the environment's rewards are not finite.*5th such iteration"):
        train(family, settings=replace(TINY, iterations=20), out=tmp_path / "run")
    rows = (tmp_path / "run" / PROGRESS).read_text().splitlines()
    assert len(rows) == 1 + FAULTS_IN_A_ROW
    assert all(row.split(",")[1] == "" for row in rows[1:])
    # What was saved goes on as soon as the fault is gone.
    assert resume(tmp_path / "run", family=point_family(HORIZON)).metadata.training["iterations"] == 20


def spoil(function, call: int):
    """The function, but with a NaN in the first number of its ``call``-th result."""
    calls = 0

    def spoiled(*args, **kwargs):
        nonlocal calls
        result = function(*args, **kwargs)
        calls += 1
        if calls == call:
            tensor = result[0] if isinstance(result, tuple) else result
            tensor.view(-1)[0] = torch.nan
        return result

    return spoiled


def test_a_fault_in_the_advantages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "estimate_advantages", spoil(batch.estimate_advantages, call=2))
    steps = steps_of(point_family(HORIZON))
    assert [step.fault for step in steps] == ["the advantages are not finite"] + [""] * 5


def test_a_fault_in_the_meta_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MetaObjective, "gradient", spoil(MetaObjective.gradient, call=3))
    steps = steps_of(point_family(HORIZON))
    assert [step.fault for step in steps] == ["", "", "the meta-gradient is not finite", "", "", ""]


def test_a_fault_in_the_trust_region_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer, "natural_step", spoil(outer.natural_step, call=1))
    assert steps_of(point_family(HORIZON))[0].fault == "the trust-region step is not finite"


def test_a_fault_in_the_inner_step_shows_in_the_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_step(network, parameters, *args, **kwargs):
        return InnerStep(parameters | {"layer1.bias": parameters["layer1.bias"] * torch.nan}, {})

    monkeypatch.setattr("metarl.rl.adaptation.inner_step", broken_step)
    with pytest.raises(FloatingPointError, match="the policy's actions are not finite"):
        steps_of(point_family(HORIZON))


def test_a_line_search_that_finds_nothing_is_counted_and_changes_nothing() -> None:
    steps = steps_of(point_family(HORIZON), max_kl=1e-30, iterations=2)
    assert [step.scalars["step_accepted"] for step in steps] == [0, 0]
    assert [step.state.skipped for step in steps] == [1, 2] and steps[1].state.faults_in_a_row == 0
    first, second = (step.state.parameters for step in steps)
    assert all(torch.equal(first[name], second[name]) for name in first)
