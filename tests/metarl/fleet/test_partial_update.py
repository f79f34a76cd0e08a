"""Partial updates of policies: what may move, what is rewound, and when robots get nothing."""

from dataclasses import replace

import pytest
import torch

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.intervals import Interval
from metarl.envs.family import TaskFamily
from metarl.envs.registry import get_family
from metarl.fleet import partial_update as module
from metarl.fleet.partial_update import Update, UpdateSettings, partial_update, towards
from metarl.fleet.scores import scored_names
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import family_of
from metarl.rl.settings import preset
from metarl.rl.training import PolicyTraining
from metarl.rl.variation import varied

FAMILY = "navigation-2d"
pytestmark = pytest.mark.filterwarnings("ignore:the steps of the full update")
QUICK = UpdateSettings(ratio=0.05, iterations=2)
JUDGED = (3, 1)


@pytest.fixture
def base() -> Controller:
    return varied(load_controller(f"{FAMILY}/maml"), horizon=10, episodes=3)


def seen(controller: Controller) -> TaskFamily:
    return family_of(controller, get_family(FAMILY))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = module.continued_settings
    monkeypatch.setattr(module, "continued_settings", lambda *args: replace(settings(*args), meta_batch_size=4))


def changes(old: Controller, new: Controller) -> dict[str, int]:
    return {
        name: int((old.parameters[name] != new.parameters[name]).sum())
        for name in scored_names(old.network, old.parameters)
    }


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("method", ["maml", "p-meta", "p-meta-layers"])
def test_no_more_than_its_share_of_the_weights_changes(method: str) -> None:
    controller = varied(load_controller(f"{FAMILY}/{method}"), horizon=10, episodes=3)
    told: list[str] = []
    update = partial_update(controller, seen(controller), QUICK, 1, JUDGED, told.append)
    total = sum(controller.parameters[name].numel() for name in scored_names(controller.network, controller.parameters))
    changed = sum(changes(controller, update.controller).values())
    assert 0 < changed <= int(0.05 * total)
    assert [each.split(",")[0] for each in told] == [
        f"{stage} update: {done} of 2" for stage in ("full", "partial") for done in (1, 2)
    ]
    assert update.controller.metadata == controller.metadata and len(update.verdict.before.returns) == 3


@pytest.mark.usefixtures("small_batches")
def test_the_same_seed_gives_the_same_update_and_another_seed_another(base: Controller) -> None:
    one, same, other = (
        partial_update(base, seen(base), replace(QUICK, iterations=1, seed=seed), 1, JUDGED) for seed in (0, 0, 1)
    )
    for name, tensor in one.controller.parameters.items():
        assert torch.equal(tensor, same.controller.parameters[name])
    assert any(not torch.equal(one.controller.parameters[name], other.controller.parameters[name]) for name in one.sent)


@pytest.mark.usefixtures("small_batches")
def test_chance_trains_its_weights_for_as_long_and_never_the_others(base: Controller) -> None:
    told: list[str] = []
    update = partial_update(base, seen(base), replace(QUICK, metric="random"), 1, JUDGED, told.append)
    assert [each.split(",")[0] for each in told] == [f"partial update: {done} of 4" for done in range(1, 5)]
    total = sum(base.parameters[name].numel() for name in update.sent)
    assert 0 < sum(changes(base, update.controller).values()) <= 0.05 * total
    assert update.sent["layer2.weight"] == pytest.approx(0.05, abs=0.01)


@pytest.mark.usefixtures("small_batches")
def test_without_a_share_only_what_is_sent_whole_changes(base: Controller) -> None:
    update = partial_update(base, seen(base), replace(QUICK, ratio=0.0), 1, JUDGED)
    assert not any(changes(base, update.controller).values())
    assert not torch.equal(update.controller.parameters["layer1.bias"], base.parameters["layer1.bias"])


@pytest.mark.usefixtures("small_batches")
def test_a_ratio_of_one_rewinds_nothing(base: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    original = module.continued

    def noted(controller, parameters, *args):
        starts.append(parameters)
        course = original(controller, parameters, *args)
        starts.append(course.parameters)
        return course

    monkeypatch.setattr(module, "continued", noted)
    partial_update(base, seen(base), replace(QUICK, ratio=1.0), 1, JUDGED)
    begun, full, second, _ = starts
    assert begun is base.parameters
    for name, tensor in full.items():
        assert torch.equal(tensor, second[name])


def test_a_policy_of_reptile_is_updated_by_the_size_of_changes() -> None:
    settings = preset(FAMILY, method="reptile", inner_steps=2, hidden_sizes=(8,), episodes_per_task=3, horizon=8)
    training = PolicyTraining(get_family(FAMILY), replace(settings, meta_batch_size=3))
    controller = training.controller(training.initial_state())
    with pytest.warns(UserWarning, match="the scores are global"):
        update = partial_update(controller, seen(controller), replace(QUICK, iterations=1), 1, JUDGED)
    total = sum(controller.parameters[name].numel() for name in update.sent)
    assert sum(changes(controller, update.controller).values()) <= 0.05 * total


def test_the_largest_changes_towards_another_controller(base: Controller) -> None:
    random = torch.Generator().manual_seed(0)
    wanted = {name: tensor + torch.randn(tensor.shape, generator=random) for name, tensor in base.parameters.items()}
    new, sent = towards(base, replace(base, parameters=wanted), 0.01)
    moved = torch.cat([(wanted[name] - base.parameters[name]).abs().flatten() for name in sent])
    chosen = torch.cat([(new.parameters[name] != base.parameters[name]).flatten() for name in sent])
    assert int(chosen.sum()) == len(moved) // 100 and moved[chosen].min() >= moved[~chosen].max()
    assert torch.equal(new.parameters["layer2.bias"], wanted["layer2.bias"])
    everything, _ = towards(base, replace(base, parameters=wanted), 1.0)
    assert all(torch.equal(everything.parameters[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize(
    ("difference", "better"), [(Interval(2.0, 1.0), True), (Interval(1.0, 2.0), False), (Interval(-2.0, 1.0), False)]
)
def test_robots_get_what_is_clearly_better(base: Controller, difference: Interval, better: bool) -> None:
    class Told:
        paired_difference = difference
        is_clear = abs(difference.mean) > difference.ci95

    assert Update(base, {}, Told()).is_better is better


def test_what_cannot_be_updated_is_told_in_a_sentence(base: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = replace(base, metadata=replace(base.metadata, adapted_to={"goal_x": 0.1, "goal_y": 0.1}))
    with pytest.raises(Refusal, match="adapted to a task"):
        partial_update(adapted, seen(base), QUICK, 1)
    with pytest.raises(Refusal, match="differ in more than numbers"):
        towards(base, load_controller("half-cheetah-velocity/maml"), 0.1)
    with pytest.raises(Refusal, match="'ratio'"):
        UpdateSettings(ratio=1.5)

    def fails(*args):
        raise FloatingPointError("the meta-gradient is not finite")

    monkeypatch.setattr(module, "meta_iteration", fails)
    with pytest.raises(NumericalFault, match="not finite, in iteration 1 of the update"):
        partial_update(base, seen(base), QUICK, 1)
