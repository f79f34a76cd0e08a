"""From an image network's step sizes and attention to the cost model: plans by hand, kept shares, shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from image_problems import image_parameters, random_images

from metarl.cost.memory import LayerUpdate
from metarl.experiments.analysis.adaptable import KeptShares, TakenStep, model_cost, step_plans
from metarl.experiments.analysis.image_costs import (
    image_workload,
    measured_peak,
    random_tasks,
    take_image_steps,
    untrained,
)
from metarl.images.batch import ImageBatch
from metarl.images.tasks import ImageTask
from metarl.inner_loop import as_leaves, inner_step
from metarl.kept_channels import kept_shares
from metarl.policies.attention import SIDES
from metarl.policies.classifier import Classifier
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.policies.networks.resnet12 import ResNet12

NETWORK = Conv4(side=16, ways=3, width=8)
SHOTS = 2


def classifier(method: str, parameters: Parameters | None = None, steps: int = 1, **sizes: int) -> Classifier:
    network = replace(NETWORK, **sizes)
    found = image_parameters(network, method, inner_steps=steps) | (parameters or {})
    return Classifier(found, network, ClassifierMetadata(method, steps, SHOTS, queries=1, data="none"))


def tasks(count: int = 2) -> list[ImageTask]:
    drawn = (random_images(NETWORK.side, NETWORK.ways, NETWORK.ways * SHOTS, seed) for seed in range(count))
    batches = [ImageBatch(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in drawn]
    return [ImageTask(batch, batch) for batch in batches]


@pytest.mark.parametrize(
    "network",
    [
        Conv4(side=16, ways=3, width=8),
        Conv4(side=21, ways=2, width=16, pooling="average"),
        ResNet12(side=19, ways=4, widths=(8, 16, 24, 32)),
    ],
)
def test_shapes_are_those_that_the_network_runs(network: ImageNetwork) -> None:
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    _, trace = network(parameters, torch.zeros(1, 3, network.side, network.side))
    for layer in network.layers:
        assert layer.input_words == trace[layer.name].input.numel()
        assert layer.output_words == trace[layer.name].output.numel()
        of_layer = [tensor for name, tensor in parameters.items() if name.rpartition(".")[0] == layer.name]
        assert layer.parameters == sum(tensor.numel() for tensor in of_layer)
    assert replace(network, side=32).layers[0].positions == 32 * 32


def test_average_pooling_keeps_no_bits() -> None:
    for pooling, bits in (("max", 64 * 8 * 2 // 8), ("average", 0)):
        pooled = replace(classifier("maml"), network=replace(NETWORK, pooling=pooling))
        cost = model_cost(pooled, image_workload(pooled))
        relu = 16 * 16 * 8 // 8
        assert cost.steps[0].layers[1].bit_bytes == relu + bits


def test_plans_follow_step_sizes_and_modules() -> None:
    """By hand: conv1 keeps everything, norm1 has no step size, fc is never attended."""
    sizes = torch.zeros(2, 9)
    sizes[0, [0, 8]] = 0.1
    sizes[1, 2] = 0.1
    for method, modules in (("p-meta", SIDES), ("p-meta-fw0.3", ("forward",)), ("p-meta-bw0", ("backward",))):
        first, second = step_plans(classifier(method, {STEP_SIZES: sizes}, steps=2))
        assert first == {"conv1": LayerUpdate(attention=modules, rank=8), "fc": LayerUpdate()}
        assert second == {"conv2": LayerUpdate(attention=modules, rank=8)}


def test_shares_become_stored_bytes() -> None:
    taken = (TakenStep({"conv1": KeptShares(2 / 3, 1.0), "norm2": KeptShares(1.0, 0.5)}),)
    p_meta = classifier("p-meta")
    conv1, _, _, norm2, *_ = model_cost(p_meta, image_workload(p_meta, 2), taken).steps[0].layers
    assert conv1.stored_input_bytes == 2 * 4 * 16 * 16 * 3 * 2 / 3
    assert norm2.stored_input_bytes == 2 * 4 * 8 * 8 * 8
    assert norm2.weight_gradient_macs == 6 * 2 * 8 * 8 * 8 / 2


def test_the_workload_is_the_support_set() -> None:
    work = image_workload(classifier("maml"), images_at_once=4)
    assert (work.observations, work.batch, work.batches) == (6, 4, 2)


def test_another_side_changes_the_images_alone() -> None:
    anil = classifier("anil")
    larger = replace(anil.network, side=84).layers
    here, there = (model_cost(anil, image_workload(anil), layers=layers) for layers in (None, larger))
    assert here.peak_inference_bytes == 4 * 8 * 16 * 16 and there.peak_inference_bytes == 4 * 8 * 84 * 84
    assert there.static_bytes - here.static_bytes == 4 * 3 * 8 * (25 - 1)


def scores_by_hand() -> Parameters:
    """Scores that depend on no input: equal ones, of which all are kept, but of norm1's eight inputs one has all."""
    parameters = classifier("p-meta").parameters
    modules = {name: torch.zeros_like(tensor) for name, tensor in parameters.items() if ".fc2." in name}
    modules["attention.norm1.forward.fc2.bias"][3] = 100.0
    return modules


def test_kept_shares_by_hand() -> None:
    sizes = torch.full((1, 9), 0.1)
    sizes[0, 4] = 0.0
    (taken,) = take_image_steps(classifier("p-meta", {**scores_by_hand(), STEP_SIZES: sizes}), tasks())
    assert taken.shares["conv1"] == KeptShares(1.0, 1.0)
    assert taken.shares["norm1"] == KeptShares(1 / 8, 1.0)
    assert taken.shares["conv2"] == taken.shares["norm4"] == KeptShares(1.0, 1.0)
    assert taken.shares["fc"] == KeptShares() and "conv3" not in taken.shares
    assert len(taken.shares) == 8


@pytest.mark.parametrize("images_at_once", [1, 3])
def test_shares_are_those_of_images_taken_together_and_of_steps_taken_before(images_at_once: int) -> None:
    both = classifier("p-meta-fw0.3-bw0.3", steps=2)
    network, method = NETWORK, get_method(both.metadata.method)
    (task,) = tasks(1)
    support = task.support._replace(together=images_at_once)
    first, second = take_image_steps(both, [task], images_at_once)
    parameters = both.parameters
    for step, taken in enumerate((first, second)):
        parameters, scores = inner_step(network, as_leaves(parameters), method, step, support, second_order=False)
        assert taken.shares == {name: KeptShares(*shares) for name, shares in kept_shares(scores).items()}
    assert first.shares != second.shares
    assert first.shares != take_image_steps(both, [task], 4 - images_at_once)[0].shares


def test_shares_are_means_over_the_tasks() -> None:
    one = classifier("p-meta")
    first, second = (take_image_steps(one, [task])[0].shares["conv3"].forward for task in tasks())
    assert first != second
    assert take_image_steps(one, tasks())[0].shares["conv3"].forward == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(
    ("method", "frozen"), [("maml", ()), ("anil", ()), ("p-meta-layers", ("conv1", "norm1")), ("p-meta", ("conv2",))]
)
def test_the_measured_peak_is_that_of_the_model(method: str, frozen: tuple[str, ...]) -> None:
    network = Conv4(side=48, ways=3, width=16)
    parameters = image_parameters(network, method, frozen=frozen)
    measured = Classifier(parameters, network, ClassifierMetadata(method, 1, SHOTS, queries=1, data="none"))
    drawn = random_tasks(network, SHOTS, seed=0, count=2)
    taken = take_image_steps(measured, drawn)
    model = model_cost(measured, image_workload(measured), taken).peak_adaptation_bytes
    assert measured_peak(measured, drawn[0].support) == pytest.approx(model, rel=0.1)


def test_random_tasks_have_the_networks_shape() -> None:
    (task,) = random_tasks(NETWORK, SHOTS, seed=0, count=1)
    assert task.support.images.shape == (6, 3, 16, 16) and task.query.images.shape == (3, 3, 16, 16)
    assert task.support.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert float(task.support.images.abs().max()) <= 1


def test_untrained_networks_have_the_sizes_asked_for() -> None:
    found = untrained("conv4", "boil", side=20, ways=3, shots=2)
    assert found.network == Conv4(side=20, ways=3) and found.metadata.shots == 2
    assert found.parameters[STEP_SIZES][0].tolist() == pytest.approx([0.01] * 8 + [0])


def test_a_missing_module_is_named() -> None:
    parameters = dict(classifier("p-meta").parameters)
    del parameters["attention.norm2.backward.fc1.weight"]
    with pytest.raises(ValueError, match=r"p-meta needs its 'attention.norm2.backward.fc1.weight'"):
        take_image_steps(replace(classifier("p-meta"), parameters=parameters), tasks())
