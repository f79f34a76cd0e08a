"""Rounds of updates: what is sent, what robots keep, and going on after an interruption."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval
from metarl.envs.registry import get_family
from metarl.fleet import partial_update, simulation
from metarl.fleet.partial_update import UpdateSettings
from metarl.fleet.scores import entropy_bits, scored_names
from metarl.fleet.simulation import SimulatedRound, Simulation, Strategy, simulate
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.networks.network import Parameters
from metarl.rl.evaluation import family_of
from metarl.rl.variation import varied

pytestmark = pytest.mark.filterwarnings("ignore:the steps of the full update")


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Controller:
    for module in (partial_update, simulation):
        settings = module.continued_settings
        monkeypatch.setattr(
            module, "continued_settings", lambda *args, settings=settings: replace(settings(*args), meta_batch_size=3)
        )
    return varied(load_controller("navigation-2d/maml"), horizon=8, episodes=3)


def played(base: Controller, strategy: Strategy, rounds: int = 2, ratio: float = 0.05) -> Simulation:
    settings = UpdateSettings(ratio, iterations=1)
    return Simulation(family_of(base, get_family("navigation-2d")), strategy, settings, rounds, tasks=3, threads=1)


@pytest.fixture
def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's test finds each controller better."""
    judge = simulation.judge

    def better(*args):
        verdict = judge(*args)
        return replace(verdict, after=replace(verdict.after, returns=verdict.before.returns + 1))

    monkeypatch.setattr(simulation, "judge", better)


def weights(controller: Controller) -> torch.Tensor:
    names = scored_names(controller.network, controller.parameters)
    return torch.cat([controller.parameters[name].flatten() for name in names])


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize("strategy", ["combined", "global", "random"])
def test_a_partial_update_builds_on_what_robots_have(base: Controller, strategy: Strategy, tmp_path: Path) -> None:
    rounds = simulate(base, played(base, strategy), tmp_path / "out")
    assert [each.sent for each in rounds] == [False, True, True]
    first, second, third = (weights(load_controller(tmp_path / "out" / f"deployed{i}.safetensors")) for i in range(3))
    share = int(0.05 * len(first))
    changed = first != second, second != third
    assert all(0 < int(each.sum()) <= share for each in changed) and not torch.equal(*changed)
    biases = sum(tensor.numel() for name, tensor in base.parameters.items()) - len(first)
    least = 4 * (share + biases)
    for each in rounds[1:]:
        assert each.patch_bytes > each.bound_bytes
        # A unit whose bias stays where it was is not sent.
        assert 0.8 * least < each.bound_bytes < least + entropy_bits(share, len(first)) / 8 + 8


@pytest.mark.usefixtures("always_better")
def test_a_full_update_sends_everything_and_a_pruned_controller_its_largest_weights(
    base: Controller, tmp_path: Path
) -> None:
    full = simulate(base, played(base, "full", rounds=1), tmp_path / "full")[1]
    pruned = simulate(base, played(base, "pruning", ratio=0.25), tmp_path / "pruned")
    numbers = sum(tensor.numel() for tensor in base.parameters.values())
    # Weights of units that are never active stay where they are.
    assert 0.7 * 4 * numbers < full.patch_bytes < 1.1 * 4 * numbers
    assert 0.25 * 4 * numbers < pruned[1].patch_bytes < 0.35 * 4 * numbers
    dense = weights(load_controller(tmp_path / "pruned" / "dense1.safetensors"))
    kept = weights(load_controller(tmp_path / "pruned" / "deployed1.safetensors")) != 0
    assert int(kept.sum()) == len(dense) // 4
    assert dense[kept].abs().min() >= dense[~kept].abs().max()


def test_robots_keep_what_they_have_if_nothing_better_is_found(
    base: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = simulation.judge

    def worse(*args):
        verdict = judge(*args)
        return replace(verdict, after=replace(verdict.after, returns=verdict.before.returns - 1))

    monkeypatch.setattr(simulation, "judge", worse)
    rounds = simulate(base, played(base, "full"), tmp_path / "out")
    assert [each.sent for each in rounds] == [False] * 3 and {each.patch_bytes for each in rounds} == {0}
    assert rounds[0].reached == rounds[2].reached and rounds[2].gate == Interval(-1.0, 0.0)
    last = load_controller(tmp_path / "out" / "deployed2.safetensors").parameters
    assert all(torch.equal(last[name], tensor) for name, tensor in base.parameters.items())


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize("strategy", ["combined", "pruning"])
def test_an_interrupted_simulation_goes_on_to_the_same_bytes(
    base: Controller, strategy: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulate(base, played(base, strategy), tmp_path / "whole")
    original, calls = simulation.judge, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(simulation, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(base, played(base, strategy), tmp_path / "broken")
    monkeypatch.setattr(simulation, "judge", original)
    told: list[SimulatedRound] = []
    assert simulate(base, played(base, strategy), tmp_path / "broken", told.append) == whole == told
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "broken" / file.name).read_bytes() == file.read_bytes()


def test_a_folder_of_something_else_is_refused(base: Controller, tmp_path: Path) -> None:
    simulate(base, played(base, "full", rounds=0), tmp_path / "out")
    with pytest.raises(Refusal, match="with other settings or of another controller"):
        simulate(base, played(base, "global", rounds=0), tmp_path / "out")
    moved: Parameters = base.parameters | {"layer1.bias": base.parameters["layer1.bias"] + 1}
    with pytest.raises(Refusal, match="of another controller"):
        simulate(replace(base, parameters=moved), played(base, "full", rounds=0), tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(Refusal, match="not the folder of a simulation"):
        simulate(base, played(base, "full", rounds=0), tmp_path / "other")
    assert (tmp_path / "other" / "file").exists()
