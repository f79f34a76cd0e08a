"""Pruning image networks: what their layers see, what is removed and kept, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from coloured_images import small_settings, write_images
from masked import assert_zero_where_pruned
from small_classifiers import small_classifier
from torch.nn import functional

import metarl
from metarl.compression import rounds
from metarl.compression.images import ImageTasks, image_moments, image_tasks, input_blocks, layer_moments
from metarl.compression.judge import judge, verdict_record
from metarl.compression.pruning import check_prunable, prune_once
from metarl.compression.removal import damped
from metarl.compression.rounds import prune_in_rounds
from metarl.compression.settings import PruneSettings
from metarl.core.errors import Refusal
from metarl.experiments import cli
from metarl.images.start import load_data
from metarl.images.training import ImageTraining
from metarl.policies.classifier import Classifier
from metarl.policies.compression.masks import MASK, weight_names
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import Parameters
from metarl.policies.networks.resnet12 import ResNet12

QUICK = PruneSettings(sparsity=0.5, rounds=2, iterations=1, tasks=2)
NETWORK = Conv4(side=16, ways=3, width=8)

pytestmark = pytest.mark.filterwarnings("ignore:.* samples are fewer", "ignore:the smallest class")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def dense(folder: Path) -> Classifier:
    settings = small_settings(folder)
    training = ImageTraining(settings, load_data(settings))
    return training.classifier(training.initial_state())


@pytest.fixture(scope="module")
def images(dense: Classifier, folder: Path) -> ImageTasks:
    return image_tasks(dense, folder)


def parameters() -> Parameters:
    return {name: each.double() for name, each in NETWORK.initial_parameters(torch.Generator().manual_seed(0)).items()}


def some_images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_blocks_times_the_flattened_weight_are_the_convolution() -> None:
    given, weight = some_images(), parameters()["conv1.weight"]
    product = input_blocks(NETWORK.layers[0], given) @ weight.flatten(1).mT
    expected = functional.conv2d(given, weight, padding=1)
    torch.testing.assert_close(product.mT.reshape(expected.shape), expected)


def test_moments_are_those_of_a_loop_over_images_and_positions() -> None:
    given = some_images()
    found = layer_moments(NETWORK, parameters(), given, "anp")["conv1"][0]
    expected = torch.zeros(27, 27, dtype=torch.float64)
    padded = functional.pad(given, (1, 1, 1, 1))
    for image in padded:
        for row in range(16):
            for column in range(16):
                block = image[:, row : row + 3, column : column + 3].flatten()
                expected += torch.outer(block, block) / (len(given) * 16 * 16)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layer", ["conv4", "fc"])
def test_weighted_moments_are_the_hessian_of_the_kl_divergence(layer: str) -> None:
    """Of mean KL(p || p with other weights of one output) at no change, which is the exact softmax Fisher matrix."""
    given, start = some_images(), parameters()
    moments = layer_moments(NETWORK, start, given, "weighted")[layer]
    before = NETWORK(start, given)[0].log_softmax(dim=1).detach()
    weight, bias = start[f"{layer}.weight"], start.get(f"{layer}.bias")
    columns = weight[0].numel()
    for output in (0, 2):

        def divergence(change: torch.Tensor, output: int = output) -> torch.Tensor:
            row = torch.zeros(len(weight), dtype=torch.float64)
            row[output] = 1
            changed = start | {f"{layer}.weight": weight + (row[:, None] * change[:columns]).reshape(weight.shape)}
            if bias is not None:
                changed[f"{layer}.bias"] = bias + row * change[-1]
            after = NETWORK(changed, given)[0].log_softmax(dim=1)
            return (before.exp() * (before - after)).sum(dim=1).mean()

        zero = torch.zeros(columns + (bias is not None), dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(divergence, zero)
        torch.testing.assert_close(moments[output], hessian, rtol=1e-6, atol=1e-12)


def test_kept_weights_are_refitted_by_least_squares(dense: Classifier, images: ImageTasks) -> None:
    """Against lstsq with a square root of the damped moments as its design matrix."""
    settings = replace(QUICK, allocation="uniform", tasks=3)
    pruned = prune_once(dense, images, settings, 0.5, 1).parameters
    moments = damped(image_moments(dense, images, settings, "anp", 1)["conv1"], settings.damping)[0]
    root = torch.linalg.cholesky(moments).mT
    before, after = (each["conv1.weight"].flatten(1).double() for each in (dense.parameters, pruned))
    for output in range(4):
        stays = pruned["conv1.weight" + MASK].flatten(1)[output] != 0
        solution = torch.linalg.lstsq(root[:, stays], root @ before[output]).solution
        torch.testing.assert_close(after[output, stays], solution, rtol=1e-3, atol=1e-4)


def test_magnitude_keeps_the_largest_weights_as_they_are(dense: Classifier, images: ImageTasks) -> None:
    pruned = prune_once(dense, images, replace(QUICK, criterion="magnitude"), 0.7, 1).parameters
    names = weight_names(dense.network)
    assert_zero_where_pruned(pruned, dense.network)
    kept = torch.cat([dense.parameters[name][pruned[name + MASK] != 0].abs() for name in names])
    gone = torch.cat([dense.parameters[name][pruned[name + MASK] == 0].abs() for name in names])
    assert kept.min() >= gone.max()
    assert len(kept) == round(0.3 * (len(kept) + len(gone)))
    for name in names:
        assert torch.equal(pruned[name], dense.parameters[name] * pruned[name + MASK])


def test_an_interrupted_pruning_goes_on_to_the_same_bytes(
    dense: Classifier, images: ImageTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(QUICK, criterion="magnitude")
    prune_in_rounds(dense, images, settings, 1, tmp_path / "whole")
    prune, calls = rounds.prune_once, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return prune(*arguments)

    monkeypatch.setattr(rounds, "prune_once", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune_in_rounds(dense, images, settings, 1, tmp_path / "broken")
    prune_in_rounds(dense, images, settings, 1, tmp_path / "broken")
    whole, broken = (tmp_path / each / "controller.safetensors" for each in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


def test_the_judge_counts_kept_weights_at_every_position(dense: Classifier, images: ImageTasks) -> None:
    pruned = prune_once(dense, images, replace(QUICK, criterion="magnitude", allocation="uniform"), 0.5, 1)
    record = verdict_record(judge(dense, pruned, images, tasks=3))
    assert record["macs"]["before"] == 27 * 32 * 256 + 288 * 32 * (64 + 16 + 4) + 32 * 3
    assert record["macs"]["after"] == record["macs"]["before"] / 2
    assert record["adaptation_bytes"]["after"] < record["adaptation_bytes"]["before"]
    assert record["paired_difference"] == pytest.approx(
        record["accuracy_after"]["after"] - record["accuracy_after"]["before"]
    )
    assert "return_after" not in record


def test_what_cannot_be_pruned_is_refused(dense: Classifier, images: ImageTasks, folder: Path) -> None:
    with pytest.raises(Refusal, match="units are removed of policies alone"):
        check_prunable(dense, replace(QUICK, structure="units"))
    with pytest.raises(Refusal, match="say --iterations 0"):
        check_prunable(small_classifier(), QUICK)
    large = small_classifier(network=ResNet12(side=16, ways=3))
    with pytest.raises(Refusal, match="--removal literal"):
        check_prunable(large, replace(QUICK, iterations=0))
    check_prunable(large, replace(QUICK, iterations=0, removal="literal"))
    with pytest.raises(Refusal, match="give their folder as data"):
        metarl.prune(dense)  # type: ignore[call-overload]
    with pytest.raises(Refusal, match="data is about image networks"):
        metarl.prune("navigation-2d/maml", data=folder)


def test_the_command_prunes_judges_and_refuses(dense: Classifier, folder: Path, tmp_path: Path, capsys) -> None:
    path, out, verdict = tmp_path / "dense.safetensors", tmp_path / "pruned", tmp_path / "verdict.json"
    dense.save(path)
    words = ["compress", "prune", str(path), "--out", str(out), "--sparsity", "0.5", "--rounds", "1"]
    words += ["--iterations", "1", "--tasks", "2", "--judge-tasks", "3", "--threads", "1"]
    assert cli.main(words) == 2
    assert "--data" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(["compress", "prune", "navigation-2d/maml", "--out", str(out), "--data", str(folder)]) == 2
    assert "about image networks" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main([*words, "--data", str(folder), "--json", str(verdict)]) == 0
    assert "paired difference of the accuracies after adaptation" in capsys.readouterr().out
    assert json.loads(verdict.read_text())["accuracy_after"].keys() == {"before", "after"}
