"""Pruning a controller in rounds: what is kept, what an interruption loses, and what is refused."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import metarl
from metarl.compression import rounds
from metarl.compression.choice import chosen_masks, connected_masks
from metarl.compression.judge import judge, verdict_record
from metarl.compression.pruning import prune_once, shares
from metarl.compression.rounds import prune_in_rounds
from metarl.compression.settings import PruneSettings
from metarl.compression.units import without_unread_units
from metarl.core.errors import Refusal
from metarl.envs.registry import get_family
from metarl.experiments import cli
from metarl.policies.compression.masks import MASK, sparsity, weight_names
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import STEP_SIZES
from metarl.rl.continuation import continued_settings
from metarl.rl.episodes import Episodes
from metarl.rl.evaluation import family_of
from metarl.rl.sampling import Sampler
from metarl.rl.variation import varied

QUICK = PruneSettings(sparsity=0.8, rounds=2, iterations=1, tasks=2)


pytestmark = pytest.mark.filterwarnings("ignore:.* observations are fewer")


@pytest.fixture
def dense() -> Controller:
    return varied(load_controller("navigation-2d/maml"), horizon=10, episodes=2)


@pytest.fixture
def short_family(dense: Controller):
    return family_of(dense, get_family("navigation-2d"))


def test_the_target_is_reached_exactly_and_the_masks_are_nested(dense, short_family, tmp_path: Path) -> None:
    pruned = prune_in_rounds(dense, short_family, replace(QUICK, connected=False), 1, tmp_path / "run")
    total = sum(dense.parameters[name].numel() for name in weight_names(dense.network))
    kept = sum(int(pruned.parameters[name + MASK].sum()) for name in weight_names(dense.network))
    assert kept == round(0.2 * total)
    first = load_controller(tmp_path / "run" / "round1.safetensors")
    for name in weight_names(dense.network):
        before, after = (each.parameters[name + MASK] for each in (first, pruned))
        assert not ((after == 1) & (before == 0)).any()
        weight = pruned.parameters[name]
        assert not weight[after == 0].any()
        assert not weight[after == 0].signbit().any()
    assert load_controller(tmp_path / "run").parameters.keys() == pruned.parameters.keys()
    assert pruned.metadata.training["pruning"]["criterion"] == "anp"


def test_an_interrupted_pruning_goes_on_to_the_same_bytes(dense, short_family, tmp_path: Path, monkeypatch) -> None:
    whole = prune_in_rounds(dense, short_family, QUICK, 1, tmp_path / "whole")
    prune, calls = rounds.prune_once, []

    def interrupted(*arguments: object):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return prune(*arguments)

    monkeypatch.setattr(rounds, "prune_once", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune_in_rounds(dense, short_family, QUICK, 1, tmp_path / "broken")
    told = []
    resumed = prune_in_rounds(dense, short_family, QUICK, 1, tmp_path / "broken", told.append)
    assert [each.number for each in told] == [1, 2]
    assert len(calls) == 3
    for name, tensor in whole.parameters.items():
        assert torch.equal(resumed.parameters[name], tensor)


def test_a_folder_of_something_else_is_refused_and_stays(dense, short_family, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Refusal, match="is not the folder of a pruning"):
        prune_in_rounds(dense, short_family, QUICK, 1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    once = replace(QUICK, rounds=1, iterations=0)
    prune_in_rounds(dense, short_family, once, 1, tmp_path / "run")
    with pytest.raises(Refusal, match="other settings"):
        prune_in_rounds(dense, short_family, replace(once, seed=3), 1, tmp_path / "run")


@pytest.mark.parametrize("criterion", ["anp", "weighted", "un-adapted", "l-obs", "magnitude", "random"])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_every_criterion_and_allocation_keeps_its_share(dense, short_family, criterion: str, allocation: str) -> None:
    settings = replace(QUICK, criterion=criterion, allocation=allocation)
    pruned = prune_once(dense, short_family, settings, 0.5, 1)
    assert sparsity(pruned.parameters, pruned.network) == pytest.approx(0.5, abs=1e-4)
    shares_kept = [float(pruned.parameters[name + MASK].mean()) for name in weight_names(dense.network)]
    assert (max(shares_kept) - min(shares_kept) < 1e-6) == (allocation == "uniform") or criterion == "random"


def test_magnitude_keeps_the_largest_weights_and_changes_none(dense, short_family) -> None:
    pruned = prune_once(dense, short_family, replace(QUICK, criterion="magnitude", connected=False), 0.7, 1)
    names = weight_names(dense.network)
    removed = torch.cat([dense.parameters[name][pruned.parameters[name + MASK] == 0].abs() for name in names])
    kept = torch.cat([dense.parameters[name][pruned.parameters[name + MASK] == 1].abs() for name in names])
    assert removed.max() <= kept.min()
    for name in names:
        keeps = pruned.parameters[name + MASK] == 1
        assert torch.equal(pruned.parameters[name][keeps], dense.parameters[name][keeps])


def test_refitting_keeps_the_policy_better_than_removing_alone(dense, short_family) -> None:
    observations = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    changes = {}
    for criterion in ("anp", "magnitude"):
        pruned = prune_once(dense, short_family, replace(QUICK, criterion=criterion, tasks=10), 0.8, 1)
        means = [each.network(each.parameters, observations)[0] for each in (dense, pruned)]
        changes[criterion] = float((means[0] - means[1]).square().mean())
    assert changes["anp"] < changes["magnitude"]


def test_scores_follow_the_support_rewards_not_those_of_the_query(dense, short_family, monkeypatch) -> None:
    settings = replace(QUICK, sparsity=0.5)
    plain = prune_once(dense, short_family, settings, 0.5, 1).parameters
    sample = Sampler.sample

    def noise_from(first: int):
        calls = []

        def noisy(self, *arguments, **keywords) -> Episodes:
            episodes = sample(self, *arguments, **keywords)
            calls.append(None)
            if len(calls) - 1 == first:
                random = torch.Generator().manual_seed(1)
                return replace(episodes, rewards=100 * torch.randn(episodes.rewards.shape, generator=random))
            return episodes

        return noisy

    same = []
    for call in (0, 1):
        monkeypatch.setattr(Sampler, "sample", noise_from(call))
        noisy = prune_once(dense, short_family, settings, 0.5, 1).parameters
        same.append(all(torch.equal(noisy[name], plain[name]) for name in weight_names(dense.network)))
    assert same == [False, True]


def test_an_allocation_by_hand() -> None:
    scores = [torch.tensor([[1.0, 5.0], [2.0, 6.0]]), torch.tensor([[3.0, 4.0]])]
    kept = chosen_masks(scores, 0.5, "global")
    assert [each.tolist() for each in kept] == [[[False, True], [False, True]], [[False, True]]]
    kept = chosen_masks(scores, 0.5, "uniform")
    assert [each.tolist() for each in kept] == [[[False, True], [False, True]], [[False, True]]]
    kept = chosen_masks([scores[0], scores[1] + 10], 0.5, "global")
    assert [each.tolist() for each in kept] == [[[False, False], [False, True]], [[True, True]]]


def test_weights_into_a_unit_that_nothing_reads_go_first() -> None:
    # The second unit is read by the cheapest weight of the upper layer. Its own inputs are the dearest below.
    below, above = torch.tensor([[3.0, 1.0], [8.0, 9.0], [4.0, 2.0]]), torch.tensor([[5.0, 0.5, 6.0]])
    first, second = chosen_masks([below, above], 4 / 9, "global")
    assert first.tolist() == [[False, False], [True, True], [True, False]]
    assert second.tolist() == [[True, False, True]]
    first, second = connected_masks([below, above], 4 / 9, "global")
    assert first.tolist() == [[True, False], [False, False], [True, True]]
    assert second.tolist() == [[True, False, True]]
    # Each layer keeps its own number: one weight above, then as many as may be of the unit that it reads.
    first, second = connected_masks([below, above], 2 / 3, "uniform")
    assert first.tolist() == [[False, False], [False, False], [True, True]] and second.tolist() == [
        [False, False, True]
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_weight_is_left_without_a_reader(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = [torch.rand(shape, generator=random) for shape in ((30, 4), (20, 30), (2, 20))]
    masks = connected_masks(scores, 0.9, "global")
    total = sum(each.numel() for each in scores)
    assert sum(int(mask.sum()) for mask in masks) == round(0.1 * total)
    for below, above in pairwise(masks):
        assert not below[~above.any(dim=0)].any()


@pytest.mark.parametrize("method", ["maml", "boil", "anil"])
def test_the_network_without_unread_units_acts_and_adapts_the_same(method: str) -> None:
    dense = varied(load_controller(f"navigation-2d/{method}"), horizon=10, episodes=2)
    family = family_of(dense, get_family("navigation-2d"))
    wide = prune_once(dense, family, replace(QUICK, criterion="random"), 0.98, 1)
    narrow = without_unread_units(wide)
    assert all(size < 100 for size in narrow.network.hidden_sizes)
    observations = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(narrow.predict(observations)[0], wide.predict(observations)[0], atol=1e-6)
    task = {"goal_x": 0.3, "goal_y": -0.2}
    adapted = [metarl.adapt(each, task, threads=1).predict(observations)[0] for each in (wide, narrow)]
    np.testing.assert_allclose(*adapted, atol=1e-4)
    unread = (wide.parameters["layer2.weight" + MASK] == 0).all(dim=0)
    assert narrow.network.hidden_sizes[0] == int((~unread).sum())


def test_a_controller_with_attention_keeps_its_width(short_family) -> None:
    dense = varied(load_controller("navigation-2d/p-meta"), horizon=10, episodes=2)
    wide = prune_once(dense, short_family, replace(QUICK, criterion="random"), 0.98, 1)
    assert without_unread_units(wide) is wide


def test_rounds_remove_equal_numbers(dense) -> None:
    assert shares(dense, replace(QUICK, sparsity=0.9, rounds=3)) == pytest.approx([0.3, 0.6, 0.9])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sparsity": 1.0}, "'sparsity'"),
        ({"sparsity": -0.1}, "'sparsity'"),
        ({"criterion": "luck"}, "'criterion'"),
        ({"rounds": 0}, "'rounds'"),
        ({"damping": 0.0}, "'damping'"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        PruneSettings(**change)  # type: ignore[arg-type]


def test_what_cannot_be_pruned_is_refused(dense, short_family) -> None:
    once = replace(QUICK, rounds=1, iterations=0, criterion="magnitude", connected=False)
    pruned = prune_in_rounds(dense, short_family, once, 1)
    with pytest.raises(Refusal, match="above the controller's own, 0.8"):
        prune_in_rounds(pruned, short_family, replace(once, sparsity=0.7), 1)
    adapted = metarl.adapt(dense, {"goal_x": 0.1, "goal_y": 0.2}, threads=1)
    with pytest.raises(Refusal, match="is adapted to a task"):
        prune_in_rounds(adapted, short_family, once, 1)
    lacking = {name: tensor for name, tensor in dense.parameters.items() if name != STEP_SIZES}
    with pytest.raises(Refusal, match="needs its 'step_sizes'"):
        prune_in_rounds(replace(dense, parameters=lacking), short_family, once, 1)
    fixed = replace(dense, metadata=replace(dense.metadata, method="no-adaptation"))
    with pytest.raises(Refusal, match="no-adaptation does not adapt"):
        prune_in_rounds(fixed, short_family, once, 1)
    with pytest.raises(Refusal, match="leaves no weight in layer"):
        prune_in_rounds(dense, short_family, replace(once, sparsity=0.99999), 1)
    with pytest.raises(ValueError, match="did you mean 'sparsity'"):
        metarl.prune(dense, sparsety=0.5)


def test_a_pruned_controller_adapts_and_stays_pruned(dense, short_family) -> None:
    pruned = prune_once(dense, short_family, replace(QUICK, criterion="magnitude"), 0.8, 1)
    adapted = metarl.adapt(pruned, {"goal_x": 0.1, "goal_y": 0.2}, threads=1)
    for name in weight_names(dense.network):
        outside = pruned.parameters[name + MASK] == 0
        assert not adapted.parameters[name][outside].any()
        assert not torch.equal(adapted.parameters[name], pruned.parameters[name])


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "maml++", "p-meta-layers", "p-meta"])
def test_every_shipped_method_is_trained_on_as_it_is(method: str) -> None:
    dense = varied(load_controller(f"navigation-2d/{method}"), horizon=8, episodes=2)
    settings = replace(QUICK, rounds=1, sparsity=0.5)
    short = family_of(dense, get_family("navigation-2d"))
    assert continued_settings(dense, short, 1, 0, 1).method == method
    pruned = prune_in_rounds(dense, short, settings, 1)
    assert pruned.parameters.keys() - dense.parameters.keys() == {name + MASK for name in weight_names(dense.network)}


def test_the_judge_pairs_tasks_and_knows_a_controller_from_itself(dense, short_family) -> None:
    verdict = judge(dense, dense, short_family, tasks=3, threads=1)
    assert verdict.paired_difference.mean == 0
    assert not verdict.is_clear
    worse = replace(dense, parameters=dense.parameters | {"layer3.bias": torch.tensor([50.0, 50.0])})
    verdict = judge(dense, worse, short_family, tasks=5, threads=1)
    assert verdict.paired_difference.mean < 0
    record = verdict_record(verdict)
    json.dumps(record)
    assert record["paired_difference"] == pytest.approx(
        record["return_after"]["after"] - record["return_after"]["before"], rel=1e-9
    )
    assert record["macs"] == {"before": 10_400, "after": 10_400}


def test_a_paired_difference_by_hand(dense, short_family) -> None:
    """Differences 1, 2 and 3: mean 2, deviation 1, t of 2 degrees of freedom 4.3027."""
    verdict = judge(dense, dense, short_family, tasks=3, threads=1)
    before, after = (replace(verdict.before, returns=torch.tensor(each)) for each in ([5.0, -1, 0], [6.0, 1, 3]))
    judged = replace(verdict, before=before, after=after)
    assert judged.paired_difference.mean == 2
    assert judged.paired_difference.ci95 == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert not judged.is_clear
    assert replace(judged, after=replace(after, returns=torch.tensor([6.0, 0.1, 1]))).is_clear


def test_the_settings_are_recorded_in_the_folder(dense, short_family, tmp_path: Path) -> None:
    settings = replace(QUICK, rounds=1, iterations=0)
    prune_in_rounds(dense, short_family, settings, 1, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "pruning.json").read_text())
    assert asdict(settings).items() <= config.items()


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_units_leave_a_dense_narrower_network(dense, short_family, allocation: str) -> None:
    settings = replace(QUICK, structure="units", allocation=allocation, sparsity=0.6)
    smaller = prune_in_rounds(dense, short_family, settings, 1)
    sizes = smaller.network.hidden_sizes
    assert sum(sizes) == 80
    assert (sizes == (40, 40)) == (allocation == "uniform")
    assert not [name for name in smaller.parameters if name.endswith(MASK)]
    assert smaller.parameters["layer2.weight"].shape == (sizes[1], sizes[0])
    metarl.adapt(smaller, {"goal_x": 0.1, "goal_y": 0.2}, threads=1)


def test_units_that_feed_nothing_go_first_and_the_policy_stays(dense, short_family) -> None:
    parameters = dict(dense.parameters)
    for name in ("layer2.weight", "layer3.weight"):
        parameters[name] = parameters[name].clone()
        parameters[name][:, ::2] = 0
    idle = replace(dense, parameters=parameters)
    settings = replace(QUICK, structure="units", criterion="magnitude", sparsity=0.5, rounds=1, iterations=0)
    smaller = prune_in_rounds(idle, short_family, settings, 1)
    observations = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(*(each.network(each.parameters, observations)[0] for each in (idle, smaller)))


def test_refitting_keeps_the_policy_better_than_removing_units_alone(dense, short_family) -> None:
    observations = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    settings = replace(QUICK, structure="units", allocation="uniform", tasks=10, sparsity=0.6, rounds=1, iterations=0)
    changes = {}
    for criterion in ("anp", "magnitude"):
        smaller = prune_in_rounds(dense, short_family, replace(settings, criterion=criterion), 1)
        means = [each.network(each.parameters, observations)[0] for each in (dense, smaller)]
        changes[criterion] = float((means[0] - means[1]).square().mean())
    assert changes["anp"] < changes["magnitude"]


def test_units_of_pruned_layers_are_refused(dense, short_family) -> None:
    units = replace(QUICK, structure="units", rounds=1, iterations=0)
    pruned = prune_once(dense, short_family, replace(QUICK, criterion="magnitude"), 0.5, 1)
    with pytest.raises(Refusal, match="units are removed of a dense one"):
        prune_in_rounds(pruned, short_family, units, 1)
    with pytest.raises(Refusal, match="leaves no hidden unit in layer"):
        prune_in_rounds(dense, short_family, replace(units, allocation="uniform", sparsity=0.999), 1)


@pytest.mark.parametrize("command", ["inspect", "cost", "card"])
def test_commands_tell_about_a_pruned_controller(dense, short_family, tmp_path: Path, command: str, capsys) -> None:
    prune_once(dense, short_family, replace(QUICK, criterion="magnitude"), 0.8, 1).save(tmp_path / "p.safetensors")
    assert cli.main([command, str(tmp_path / "p.safetensors")]) == 0
    assert "navigation-2d" in capsys.readouterr().out


def test_a_pruned_controller_adapts_from_a_stream_as_from_a_recording(dense, short_family) -> None:
    pruned = prune_once(dense, short_family, replace(QUICK, criterion="magnitude"), 0.8, 1)
    random = np.random.default_rng(0)
    episodes = [
        {
            name: random.normal(size=shape)
            for name, shape in (("observations", (9, 2)), ("actions", (9, 2)), ("rewards", 9))
        }
        for _ in range(3)
    ]
    recorded, streamed = (pruned.adapt(episodes, streaming=streaming) for streaming in (False, True))
    for name, tensor in recorded.parameters.items():
        torch.testing.assert_close(streamed.parameters[name], tensor, rtol=1e-4, atol=1e-5)
