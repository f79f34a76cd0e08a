"""The on-device step of image networks against the training's inner step, the cost model and the allocator."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from contexts import suited
from image_problems import image_parameters, random_images
from masked import pruned
from toy_backbone import ToyBackbone
from traced_memory import traced_peak

from metarl.cost.memory import LayerUpdate, Plan, Workload
from metarl.cost.operations import cost
from metarl.images.batch import ImageBatch, accumulated_step
from metarl.inner_loop import as_leaves, inner_step, layer_gradients
from metarl.policies.compression.masks import masked_layers
from metarl.policies.device.images.blocks import blocks_of
from metarl.policies.device.images.step import device_image_step
from metarl.policies.device.meter import Meter
from metarl.policies.methods import METHODS, STEP_SIZES, get_method
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.policies.networks.resnet12 import ResNet12

CONV4 = Conv4(side=22, ways=4, width=16)
RESNET12 = ResNet12(side=18, ways=4, widths=(8, 16, 8, 24))
TOY = ToyBackbone(side=18, ways=4, width=16)
NETWORKS = {"conv4": CONV4, "conv4-average": replace(CONV4, pooling="average"), "resnet12": RESNET12, "toy": TOY}
ABLATIONS = ("p-meta-fw0", "p-meta-bw0", "p-meta-fw0-bw0.3", "p-meta-fw0.5-bw0.5", "p-meta-fw0.3", "p-meta-bw0.3")


def training_step(
    network: ImageNetwork, parameters: Parameters, method: str, step: int, number: int, together: int, seed: int = 0
) -> Parameters:
    images, labels = (torch.from_numpy(part) for part in random_images(network.side, network.ways, number, seed))
    batch = ImageBatch(images, labels, together)
    adapted = inner_step(network, as_leaves(parameters), get_method(method), step, batch, second_order=False).parameters
    return {name: tensor.detach() for name, tensor in adapted.items()}


def our_step(
    network: ImageNetwork, parameters: Parameters, method: str, step: int, number: int, at_once: int, seed: int = 0
) -> Parameters:
    meter = Meter()
    images, labels = random_images(network.side, network.ways, number, seed)
    adapted = device_image_step(network, parameters, get_method(method), step, images, labels, at_once, meter)
    assert meter.alive == 0
    return adapted


def assert_same(adapted: Parameters, expected: Parameters, before: Parameters) -> None:
    assert adapted.keys() == expected.keys()
    for name, tensor in expected.items():
        # In small groups of channels the rounding of float32 grows to a thirtieth of this in the training itself.
        largest = float((tensor - before[name]).abs().max())
        torch.testing.assert_close(
            adapted[name], tensor, rtol=1e-6, atol=1e-3 * largest, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("chosen", ["all", "some"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_training(name: str, method: str, chosen: str, at_once: int) -> None:
    network = suited(NETWORKS[name], method)
    # Among those left are norms without their convolutions, the other way round, and neither: all ways to come by the
    # normalized input that a gradient passes.
    frozen = (
        ()
        if chosen == "all"
        else [layer.name for index, layer in enumerate(network.layers) if index % 5 not in (1, 2) and not layer.context]
    )
    parameters = image_parameters(network, method, frozen=frozen)
    expected = training_step(network, parameters, method, 0, 3, at_once)
    assert_same(our_step(network, parameters, method, 0, 3, at_once), expected, parameters)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("method", ABLATIONS)
def test_ablations_that_weigh_gradients_equal_the_training(method: str, at_once: int) -> None:
    parameters = image_parameters(RESNET12, method, frozen=RESNET12.layer_names[3:7])
    expected = training_step(RESNET12, parameters, method, 0, 3, at_once)
    assert_same(our_step(RESNET12, parameters, method, 0, 3, at_once), expected, parameters)


@pytest.mark.parametrize("method", ["maml", "p-meta"])
@pytest.mark.parametrize(
    ("network", "first"),
    [
        *((RESNET12, first) for first in range(len(RESNET12.layer_names))),
        *((TOY, first) for first in range(len(TOY.layer_names))),
    ],
)
def test_the_backward_pass_ends_anywhere(network: ImageNetwork, first: int, method: str) -> None:
    names = network.layer_names
    parameters = image_parameters(network, method, frozen=[*names[:first], *names[first + 1 : first + 7]])
    assert_same(
        our_step(network, parameters, method, 0, 2, 1),
        training_step(network, parameters, method, 0, 2, 1),
        parameters,
    )


@pytest.mark.parametrize("method", ["maml", "p-meta"])
@pytest.mark.parametrize("number", range(len(TOY.layer_names)))
def test_any_one_layer_may_be_left_out(number: int, method: str) -> None:
    """What one layer does not keep is recomputed from what the layers around it keep, which stays unchanged."""
    parameters = image_parameters(TOY, method, frozen=[TOY.layer_names[number]])
    expected = training_step(TOY, parameters, method, 0, 3, 1)
    assert_same(our_step(TOY, parameters, method, 0, 3, 1), expected, parameters)


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("method", ["maml", "p-meta"])
def test_images_at_once_are_the_trainings_accumulation(method: str, number: int) -> None:
    parameters = image_parameters(CONV4, method)
    images, labels = (torch.from_numpy(part) for part in random_images(CONV4.side, CONV4.ways, number))
    expected = accumulated_step(CONV4, parameters, get_method(method), 0, ImageBatch(images, labels), size=2)
    assert_same(our_step(CONV4, parameters, method, 0, number, at_once=2), expected, parameters)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", [CONV4, RESNET12], ids=["conv4", "resnet12"])
def test_several_steps(network: ImageNetwork, method: str) -> None:
    network = suited(network, method)
    parameters = image_parameters(network, method, inner_steps=3)
    parameters[STEP_SIZES] *= 0.1
    parameters[STEP_SIZES][1, [not layer.context and index % 2 == 0 for index, layer in enumerate(network.layers)]] = 0
    ours = expected = parameters
    for step in range(3):
        ours = our_step(network, ours, method, step, 3, 1, seed=step)
        expected = training_step(network, expected, method, step, 3, 1, seed=step)
    assert_same(ours, expected, parameters)


def test_a_step_without_step_sizes_changes_nothing() -> None:
    parameters = image_parameters(CONV4, "p-meta", frozen=CONV4.layer_names)
    adapted = our_step(CONV4, parameters, "p-meta", 0, 2, 1)
    assert all(adapted[name] is tensor for name, tensor in parameters.items())


@pytest.mark.parametrize("network", [CONV4, RESNET12], ids=["conv4", "resnet12"])
@pytest.mark.parametrize("method", ["maml", "p-meta"])
def test_parameters_images_and_buffers_stay_as_they_were(network: ImageNetwork, method: str) -> None:
    parameters, (images, labels) = image_parameters(network, method), random_images(network.side, network.ways, 2)
    buffer = np.getbufsize()
    device_image_step(network, parameters, get_method(method), 0, images, labels)
    for name, tensor in image_parameters(network, method).items():
        assert torch.equal(parameters[name], tensor), name
    for part, before in zip((images, labels), random_images(network.side, network.ways, 2), strict=True):
        assert np.array_equal(part, before)
    assert np.getbufsize() == buffer


@pytest.mark.parametrize("network", [replace(CONV4, norm="batch"), replace(RESNET12, norm="batch")])
def test_batch_norm_is_refused(network: ImageNetwork) -> None:
    with pytest.raises(ValueError, match="a device adapts networks with group norm"):
        our_step(network, image_parameters(network, "maml"), "maml", 0, 2, 1)


def unit(name: str, **stated: Any) -> tuple[Layer, Layer]:
    """A convolution of 8 channels, and its norm with what is stated."""
    return Layer(name, "convolution", 8, 8), Layer(f"{name}_norm", "group_norm", 8, 8, **stated)


FORK = (Layer("fork", "convolution", 8, 8, residual="fork"), Layer("fork_norm", "group_norm", 8, 8))
SHORTCUT = Layer("skip", "convolution", 8, 8, residual="shortcut")
HEAD = Layer("fc", "linear", 8, 2, reduction="average")


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ((Layer("a", "linear", 8, 8), *unit("b")), "a, b"),
        ((Layer("a", "convolution", 8, 8, activation="relu"), Layer("n", "group_norm", 8, 8), HEAD), "a, n"),
        ((Layer("a", "convolution", 8, 8), Layer("n", "batch_norm", 8, 8), HEAD), "a, n"),
        ((*FORK, SHORTCUT, Layer("n", "group_norm", 8, 8), *unit("b", residual="join"), HEAD), "branches at skip"),
        ((*FORK, *FORK, HEAD), "branches at fork"),
        ((SHORTCUT, Layer("n", "group_norm", 8, 8, residual="join"), HEAD), "branches at skip"),
        ((*FORK, *unit("b", pooling="max"), SHORTCUT, Layer("n", "group_norm", 8, 8, residual="join")), "after b_norm"),
        ((*FORK, HEAD), "all blocks, but not fc"),
        ((*unit("b"), *unit("c")), "branches|but not"),
    ],
)
def test_layers_that_a_device_does_not_run_are_named(layers: tuple[Layer, ...], named: str) -> None:
    with pytest.raises(ValueError, match=f"a device .*{named}"):
        blocks_of(layers)


@pytest.mark.parametrize("method", ["p-meta-x0.3", "p-meta-gy0.3", "p-meta-alpha-ch"])
def test_ablations_that_do_more_than_weigh_gradients_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match=f"{method} is for comparison only"):
        our_step(CONV4, image_parameters(CONV4, method), method, 0, 2, 1)


def test_adapting_needs_no_simulator_and_no_training_code() -> None:
    program = """
import sys
import metarl.policies.device.images.step
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("metarl.")}
assert rooms <= {"core", "policies"}, rooms
assert not {"mujoco", "gymnasium"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def plan_of(
    network: ImageNetwork, parameters: Parameters, method: str, names: Sequence[str], batch: ImageBatch
) -> Plan:
    """The plan of a step that updates ``names``; every layer's share of kept channels is the largest of the images."""
    attention = get_method(method).attention
    if attention is None:
        return dict.fromkeys(names, LayerUpdate())
    layers, _ = layer_gradients(network, as_leaves(parameters), get_method(method), 0, batch, second_order=False)
    plan = {}
    for name in names:
        scores = layers[name].scores.get("forward")
        kept = 1.0 if scores is None else float((scores != 0).float().mean(dim=1).max())
        plan[name] = LayerUpdate(kept, 1.0, () if name == "fc" else ("forward", "backward"))
    return plan


def measured_and_modelled(
    network: ImageNetwork, method: str, chosen: Sequence[str] | None, number: int, at_once: int, share: float = 0.0
) -> tuple[int, int]:
    """The step's peaks in bytes, with a share of the weights pruned."""
    network = suited(network, method)
    names = [name for name in get_method(method).updated_layers(network.layers) if chosen is None or name in chosen]
    parameters = image_parameters(network, method, frozen=[name for name in network.layer_names if name not in names])
    if share:
        parameters = pruned(parameters, network, share)
    images, labels = random_images(network.side, network.ways, number)
    batch = ImageBatch(torch.from_numpy(images), torch.from_numpy(labels), at_once)
    plan, meter = plan_of(network, parameters, method, names, batch), Meter()
    device_image_step(network, parameters, get_method(method), 0, images, labels, at_once, meter)
    layers = masked_layers(network.layers, parameters)
    return meter.peak, cost(layers, [plan], Workload(1, number, at_once)).peak_adaptation_bytes


CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "fc")


@pytest.mark.parametrize(("number", "at_once"), [(2, 1), (2, 2)])
@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        *((method, None) for method in METHODS),
        *(
            (method, chosen)
            for method in ("p-meta-layers", "p-meta")
            for chosen in (CONVOLUTIONS, ("conv1", "conv4", "fc"), ("norm1",), ("norm2", "conv4"), ("norm4", "fc"))
        ),
    ],
)
def test_the_peak_is_that_of_the_cost_model(method, chosen, number, at_once) -> None:
    measured, modelled = measured_and_modelled(Conv4(), method, chosen, number, at_once)
    assert measured == pytest.approx(modelled, rel=0.1)


@pytest.mark.parametrize(
    ("method", "chosen"), [("maml", None), ("anil", None), ("cavia", None), ("p-meta", None), ("p-meta", CONVOLUTIONS)]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_peak_of_pruned_convolutions_is_that_of_the_cost_model(method, chosen, share) -> None:
    # Small images, so that the gradients of the weights count.
    measured, modelled = measured_and_modelled(Conv4(side=42), method, chosen, 2, 1, share)
    assert measured == pytest.approx(modelled, rel=0.1)


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("maml", None),
        ("anil", None),
        ("p-meta-layers", ("block1.conv1", "block3.norm2", "block4.conv1", "block4.shortcut", "fc")),
        ("p-meta-layers", ("block1.conv1", "block1.shortcut")),
        ("p-meta", ("block4.norm1", "block4.norm3", "fc")),
    ],
)
def test_the_peak_of_resnet12_is_that_of_the_cost_model(method, chosen) -> None:
    measured, modelled = measured_and_modelled(ResNet12(), method, chosen, number=2, at_once=1)
    assert measured == pytest.approx(modelled, rel=0.1)


@pytest.mark.parametrize(
    ("method", "chosen"),
    [("maml", None), ("anil", None), ("p-meta", None), ("p-meta-layers", ("stem", "skip_norm", "last"))],
)
def test_the_peak_of_a_toy_is_that_of_the_cost_model(method, chosen) -> None:
    measured, modelled = measured_and_modelled(ToyBackbone(side=84, ways=5, width=32), method, chosen, 2, at_once=1)
    assert measured == pytest.approx(modelled, rel=0.1)


@pytest.mark.parametrize(
    ("method", "chosen"), [("maml", None), ("anil", None), ("p-meta", None), ("p-meta", CONVOLUTIONS)]
)
def test_the_meter_agrees_with_the_allocator(method, chosen) -> None:
    network = Conv4()
    names = network.layer_names if chosen is None else chosen
    parameters = image_parameters(network, method, frozen=[name for name in network.layer_names if name not in names])
    images, labels = random_images(network.side, network.ways, 2)
    meter = Meter()
    device_image_step(network, parameters, get_method(method), 0, images, labels, meter=meter)
    traced = traced_peak(lambda: device_image_step(network, parameters, get_method(method), 0, images, labels))
    assert traced == pytest.approx(meter.peak, rel=0.05)
