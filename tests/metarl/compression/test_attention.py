"""Smaller attention modules: which hidden units stay, what they are judged on, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import metarl
from metarl.compression.attention import module_summaries, narrowed_weighing, shrink_attention, shrunk_modules
from metarl.compression.pruning import PruneSettings
from metarl.compression.removal import damped, kept_inputs, second_moments
from metarl.compression.rounds import prune_in_rounds
from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.envs.registry import get_family
from metarl.experiments.commands.compress import main
from metarl.policies.attention import PREFIX, attention_rank, attention_scores
from metarl.policies.compression.masks import MASK, sparsity, weight_names
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import CHANNEL_STEP_SIZES, get_method, initial_meta_parameters
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adaptation_settings, evaluate_tasks, family_of, unseen_tasks
from metarl.rl.sampling import Sampler
from metarl.rl.variation import varied

pytestmark = pytest.mark.filterwarnings("ignore:.* are fewer")
QUICK = PruneSettings(sparsity=0, attention=3, rounds=1, iterations=0, tasks=2)


@pytest.fixture
def attending() -> Controller:
    return varied(load_controller("navigation-2d/p-meta"), horizon=8, episodes=2)


@pytest.fixture
def short_family(attending: Controller):
    return family_of(attending, get_family("navigation-2d"))


def least_error(inputs: Tensor, kept: list[int], outputs: Tensor) -> float:
    """Return the mean squared error of least squares on some inputs and a 1, summed over the outputs."""
    design = torch.cat([inputs[:, kept], torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    fitted = design @ torch.linalg.lstsq(design, outputs).solution
    return float((fitted - outputs).square().mean(dim=0).sum())


@given(seed=st.integers(0, 1000), count=st.integers(1, 4))
def test_the_inputs_that_stay_are_those_of_a_greedy_search_by_least_squares(seed: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(40, 5, generator=random, dtype=torch.float64) @ torch.randn(
        5, 5, generator=random, dtype=torch.float64
    )
    weight = torch.randn(3, 6, generator=random, dtype=torch.float64)
    outputs = inputs @ weight[:, :-1].mT + weight[:, -1]
    left = list(range(5))
    while len(left) > count:
        errors = {each: least_error(inputs, [other for other in left if other != each], outputs) for each in left}
        left.remove(min(errors, key=errors.__getitem__))
    kept = kept_inputs(weight, damped(second_moments(inputs), 1e-12)[0], count)
    assert kept.nonzero().flatten().tolist() == left


def test_the_summaries_are_what_the_modules_get(attending, short_family) -> None:
    """The scores of the inner loop follow from them."""
    settings, random = adaptation_settings(attending), generator(3, Purpose.PRUNING)
    tasks = short_family.sample_tasks(4, random)
    with Sampler(short_family, attending.network, 1.0, 1) as sampler, ThreadPoolExecutor(1) as executor:
        scale = replace(attending, metadata=replace(attending.metadata, action_scale=1.0))
        adaptation = adapt_to_tasks(attending.parameters, tasks, settings, sampler, executor, random, Clock())
    summaries = module_summaries(scale, short_family, 4, 3, 1)
    clips = get_method("p-meta").attention.clips()  # type: ignore[union-attr]
    for layer in ("layer1", "layer2"):
        for side, clip in clips.items():
            expected = torch.cat([scores[layer][side] for scores in adaptation.scores[0]])
            found = attention_scores(attending.parameters, layer, side, summaries[f"{layer}.{side}"], clip)
            torch.testing.assert_close(found.detach(), expected)
            assert not torch.allclose(expected, torch.ones_like(expected))


def test_copies_and_idle_units_go_and_the_scores_stay(attending) -> None:
    """Modules of 6 units, of which 3 are copies of others or always 0, need no more than 3."""
    random = torch.Generator().manual_seed(0)
    layers, method = attending.network.layers, get_method("p-meta")
    parameters, summaries = dict(attending.parameters), {}
    for layer in layers[:-1]:
        for side, channels in (("forward", layer.inputs), ("backward", layer.outputs)):
            module, hidden = f"{PREFIX}{layer.name}.{side}", min(6, channels)
            first, second = torch.randn(hidden, channels, generator=random), torch.randn(channels, hidden)
            bias = torch.randn(hidden, generator=random)
            if hidden == 6:
                first[3], bias[3] = 2 * first[0], 2 * bias[0]
                first[4], bias[4] = 0.5 * first[1], 0.5 * bias[1]
                first[5], bias[5] = 0, -1
            parameters |= {f"{module}.fc1.weight": first, f"{module}.fc1.bias": bias}
            parameters |= {f"{module}.fc2.weight": second, f"{module}.fc2.bias": torch.randn(channels)}
            summaries[f"{layer.name}.{side}"] = torch.randn(200, channels, generator=random)
    shrunk = shrunk_modules(parameters, layers, 3, summaries, 1e-9)
    assert attention_rank(shrunk) == 3
    for end, summary in summaries.items():
        layer, side = end.split(".")
        clip = method.attention.clips()[side]  # type: ignore[union-attr]
        before, after = (attention_scores(each, layer, side, summary, clip) for each in (parameters, shrunk))
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_what_is_left_out_of_a_module_is_made_up_for(attending, short_family) -> None:
    """The refitted modules err less than the same hidden units with the second layer as it was."""
    summaries = module_summaries(attending, short_family, 20, 0, 1)
    parameters, name = attending.parameters, f"{PREFIX}layer2.forward"
    shrunk = shrunk_modules(parameters, attending.network.layers, 4, summaries, 1e-6)
    rows = parameters[f"{name}.fc1.weight"].tolist()
    units = [rows.index(row) for row in shrunk[f"{name}.fc1.weight"].tolist()]

    def logits(of, second: Tensor) -> Tensor:
        hidden = torch.relu(summaries["layer2.forward"] @ of[f"{name}.fc1.weight"].mT + of[f"{name}.fc1.bias"])
        return hidden @ second.mT + of[f"{name}.fc2.bias"]

    dense = logits(parameters, parameters[f"{name}.fc2.weight"])
    refitted = logits(shrunk, shrunk[f"{name}.fc2.weight"])
    biased = shrunk | {f"{name}.fc2.bias": parameters[f"{name}.fc2.bias"]}
    unfitted = logits(biased, parameters[f"{name}.fc2.weight"][:, units])
    assert (refitted - dense).square().mean() < 0.5 * (unfitted - dense).square().mean()


def test_the_attention_alone_is_shrunk_and_the_policy_stays(attending, short_family, tmp_path: Path) -> None:
    shrunk = prune_in_rounds(attending, short_family, QUICK, 1, tmp_path / "run")
    assert attention_rank(shrunk.parameters) == 3
    for name in attending.network.parameter_shapes:
        assert torch.equal(shrunk.parameters[name], attending.parameters[name])
    loaded = load_controller(tmp_path / "run")
    adapted = metarl.adapt(loaded, {"goal_x": 0.1, "goal_y": 0.2}, threads=1)
    assert not torch.equal(adapted.parameters["layer3.bias"], loaded.parameters["layer3.bias"])


def test_weights_and_attention_are_pruned_and_trained_together(attending, short_family) -> None:
    settings = replace(QUICK, sparsity=0.5, rounds=2, iterations=1)
    pruned = prune_in_rounds(attending, short_family, settings, 1)
    assert attention_rank(pruned.parameters) == 3
    assert sparsity(pruned.parameters, pruned.network) == pytest.approx(0.5, abs=1e-4)
    again = prune_in_rounds(pruned, short_family, replace(QUICK, attention=2), 1)
    assert attention_rank(again.parameters) == 2
    for name in weight_names(pruned.network):
        assert torch.equal(again.parameters[name + MASK], pruned.parameters[name + MASK])


def test_what_cannot_be_shrunk_is_refused(attending, short_family) -> None:
    with pytest.raises(Refusal, match="maml has no attention modules"):
        prune_in_rounds(load_controller("navigation-2d/maml"), short_family, QUICK, 1)
    own = attention_rank(attending.parameters)
    assert own
    with pytest.raises(Refusal, match=f"which have {own}, got {own}"):
        prune_in_rounds(attending, short_family, replace(QUICK, attention=own), 1)
    with pytest.raises(Refusal, match="'attention'"):
        replace(QUICK, attention=-1)
    with pytest.raises(Refusal, match="above the controller's own, 0, got 0"):
        prune_in_rounds(attending, short_family, replace(QUICK, attention=0), 1)


def test_the_command_shrinks_and_refuses(tmp_path: Path, capsys) -> None:
    path = tmp_path / "short.safetensors"
    varied(load_controller("navigation-2d/p-meta"), horizon=8, episodes=2).save(path)
    words = ["--sparsity", "0", "--rounds", "1", "--iterations", "0", "--tasks", "2", "--judge-tasks", "2"]
    main(["prune", str(path), *words, "--attention", "2", "--threads", "1", "--out", str(tmp_path / "small")])
    assert "file, bytes" in capsys.readouterr().out
    assert (tmp_path / "small" / "controller.safetensors").stat().st_size < path.stat().st_size
    with pytest.raises(Refusal, match="fewer hidden units"):
        main(["prune", str(path), *words, "--attention", "5000", "--out", str(tmp_path / "not")])
    assert not (tmp_path / "not").exists()


def test_channels_are_taken_out_of_what_weighs_them() -> None:
    random = torch.Generator().manual_seed(0)
    module = f"{PREFIX}layer2.forward"
    parameters = {
        f"{module}.fc1.weight": torch.rand(2, 3, generator=random),
        f"{module}.fc1.bias": torch.rand(2, generator=random),
        f"{module}.fc2.weight": torch.rand(3, 2, generator=random),
        f"{module}.fc2.bias": torch.rand(3, generator=random),
        f"{CHANNEL_STEP_SIZES}layer2.backward": torch.tensor([[1.0, 2], [3, 4]]),
    }
    stays = {"layer2.forward": torch.tensor([True, False, True]), "layer2.backward": torch.tensor([False, True])}
    narrowed = narrowed_weighing(parameters, stays)
    assert narrowed[f"{CHANNEL_STEP_SIZES}layer2.backward"].tolist() == [[2], [4]]
    assert narrowed[f"{module}.fc1.weight"].tolist() == parameters[f"{module}.fc1.weight"][:, [0, 2]].tolist()
    assert narrowed[f"{module}.fc2.weight"].tolist() == parameters[f"{module}.fc2.weight"][[0, 2]].tolist()
    assert narrowed[f"{module}.fc2.bias"].tolist() == parameters[f"{module}.fc2.bias"][[0, 2]].tolist()
    assert len(narrowed) == 4


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_units_of_attending_layers_are_removed(attending, short_family, allocation: str) -> None:
    settings = replace(QUICK, structure="units", allocation=allocation, sparsity=0.6, attention=0, iterations=1)
    narrow = prune_in_rounds(attending, short_family, settings, 1)
    widths = narrow.network.hidden_sizes
    assert sum(widths) == round(0.4 * sum(attending.network.hidden_sizes))
    sizes = {"layer1.forward": 2, "layer1.backward": widths[0], "layer2.forward": widths[0]}
    for end, size in (sizes | {"layer2.backward": widths[1]}).items():
        assert narrow.parameters[f"{PREFIX}{end}.fc1.weight"].shape == (size, size)
    metarl.adapt(narrow, {"goal_x": 0.1, "goal_y": 0.2}, threads=1)


def test_idle_units_go_with_their_channels_and_the_adaptation_stays() -> None:
    """Step sizes by channel, of a network whose every second unit is 0 and feeds nothing."""
    plain = varied(load_controller("navigation-2d/maml"), horizon=8, episodes=2)
    method = get_method("p-meta-alpha-ch")
    network = GaussianMLP(2, (6, 8), 2)
    random = torch.Generator().manual_seed(0)
    parameters = network.initial_parameters(random)
    parameters |= initial_meta_parameters(method, network.layers, 1, 0.3, random)
    for name, tensor in parameters.items():
        if name.startswith(CHANNEL_STEP_SIZES):
            parameters[name] = tensor * torch.rand(tensor.shape, generator=random)
    for number, size in ((1, 6), (2, 8)):
        idle = torch.arange(size) % 2 == 0
        parameters[f"layer{number}.weight"][idle] = parameters[f"layer{number}.bias"][idle] = 0
        parameters[f"layer{number + 1}.weight"][:, idle] = 0
    wide = replace(
        plain,
        network=network,
        parameters=parameters,
        metadata=replace(plain.metadata, method="p-meta-alpha-ch"),
    )
    family = family_of(wide, get_family("navigation-2d"))
    settings = replace(QUICK, structure="units", allocation="uniform", criterion="magnitude", sparsity=0.5, attention=0)
    narrow = prune_in_rounds(wide, family, settings, 1)
    assert narrow.network.hidden_sizes == (3, 4)
    tasks = unseen_tasks(family, 3, 0)
    before, after = (evaluate_tasks(each, family, tasks, 1, 1).returns for each in (wide, narrow))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[0], before[1])


def test_the_same_seed_shrinks_to_the_same_modules(attending, short_family) -> None:
    one, other = (shrink_attention(attending, short_family, 3, 3, 5, 1e-6, threads) for threads in (1, 2))
    for name, tensor in one.parameters.items():
        assert torch.equal(other.parameters[name], tensor)
