"""Masked weights of image networks: in training, on a device and in files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_images import small_settings, write_images
from contexts import suited
from image_problems import image_parameters, random_images
from masked import assert_zero_where_pruned, pruned
from small_classifiers import small_classifier

from metarl.images.batch import ImageBatch, accumulated_step
from metarl.images.iteration import meta_gradient
from metarl.images.start import load_data
from metarl.images.tasks import ImageTask
from metarl.images.training import ImageTraining
from metarl.inner_loop import as_leaves, inner_step
from metarl.losses import cross_entropy
from metarl.policies.classifier import Classifier
from metarl.policies.compression.masks import MASK, kept_weights, weight_names
from metarl.policies.device.images.step import device_image_step
from metarl.policies.device.meter import Meter
from metarl.policies.loading import load_classifier
from metarl.policies.methods import METHODS, STEP_SIZES, get_method
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.policies.networks.resnet12 import ResNet12

CONV4 = Conv4(side=16, ways=3, width=8)
RESNET12 = ResNet12(side=16, ways=3, widths=(8, 16, 8, 8))


def support(network: ImageNetwork, number: int, seed: int = 0, together: int = 1) -> ImageBatch:
    images, labels = (torch.from_numpy(part) for part in random_images(network.side, network.ways, number, seed))
    return ImageBatch(images, labels, together)


def test_norms_are_never_pruned() -> None:
    assert weight_names(CONV4) == ("conv1.weight", "conv2.weight", "conv3.weight", "conv4.weight", "fc.weight")
    assert not [name for name in weight_names(RESNET12) if "norm" in name]
    assert "block2.shortcut.weight" in weight_names(RESNET12)


def test_inner_step_and_meta_gradient_are_those_of_the_kept_weights_alone() -> None:
    """Against plain autograd on a network that is a function of its kept numbers, in float64."""
    parameters = {name: each.double() for name, each in pruned(image_parameters(CONV4, "maml"), CONV4).items()}
    step_size = 0.05
    parameters[STEP_SIZES] = torch.full_like(parameters[STEP_SIZES], step_size)
    near, far = (batch._replace(images=batch.images.double()) for batch in (support(CONV4, 4), support(CONV4, 6, 1)))
    places = {
        name: parameters.get(name + MASK, torch.ones_like(parameters[name])) != 0 for name in CONV4.parameter_shapes
    }
    kept = {name: parameters[name][place].clone().requires_grad_() for name, place in places.items()}

    def whole(numbers: Parameters) -> Parameters:
        return {
            name: torch.zeros(place.shape).double().masked_scatter(place, numbers[name])
            for name, place in places.items()
        }

    def loss(numbers: Parameters, batch: ImageBatch) -> torch.Tensor:
        return cross_entropy(CONV4(whole(numbers), batch.images)[0], batch.labels)

    gradients = torch.autograd.grad(loss(kept, near), list(kept.values()), create_graph=True)
    adapted = {name: kept[name] - step_size * each for name, each in zip(kept, gradients, strict=True)}
    expected = dict(zip(kept, torch.autograd.grad(loss(adapted, far), list(kept.values())), strict=True))

    taken = inner_step(CONV4, as_leaves(parameters), get_method("maml"), 0, near, second_order=False).parameters
    for name, each in whole(adapted).items():
        torch.testing.assert_close(taken[name], each, rtol=1e-10, atol=1e-12)
    with ThreadPoolExecutor(1) as executor:
        found = meta_gradient(CONV4, parameters, get_method("maml"), [ImageTask(near, far)], False, executor).gradients
    for name, place in places.items():
        torch.testing.assert_close(found[name][place], expected[name], rtol=1e-9, atol=1e-12)
        assert not found[name][~place].any()


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", [CONV4, RESNET12], ids=["conv4", "resnet12"])
def test_the_step_on_a_device_is_the_masked_training_step(network: ImageNetwork, method: str, at_once: int) -> None:
    network = suited(network, method)
    parameters, batch = pruned(image_parameters(network, method), network), support(network, 3, together=at_once)
    expected = inner_step(network, as_leaves(parameters), get_method(method), 0, batch, second_order=False).parameters
    images, labels = batch.images.numpy(), batch.labels.numpy()
    meter = Meter()
    adapted = device_image_step(network, parameters, get_method(method), 0, images, labels, at_once, meter)
    assert meter.alive == 0
    assert_zero_where_pruned(adapted, network)
    for name, tensor in expected.items():
        largest = float((tensor.detach() - parameters[name]).abs().max())
        torch.testing.assert_close(adapted[name], tensor.detach(), rtol=1e-6, atol=1e-3 * largest)
    assert any(not torch.equal(adapted[name], parameters[name]) for name in parameters)


def test_accumulators_take_four_bytes_for_each_kept_weight() -> None:
    """On small images the accumulators are the peak."""
    network = Conv4(side=16, ways=3, width=32)
    images, labels = random_images(16, 3, 2)
    peaks = {}
    for share in (-1.0, 0.5, 0.9):
        parameters, meter = pruned(image_parameters(network, "maml"), network, share), Meter()
        device_image_step(network, parameters, get_method("maml"), 0, images, labels, 1, meter)
        peaks[sum(kept_weights(parameters, network).values())] = meter.peak
    (most, largest), *others = sorted(peaks.items(), reverse=True)
    for kept, peak in others:
        assert 0.9 * 4 * (most - kept) < largest - peak <= 4 * (most - kept)


def test_full_masks_change_nothing() -> None:
    parameters, batch = image_parameters(CONV4, "maml"), support(CONV4, 3)
    full = pruned(parameters, CONV4, share=-1.0)
    dense, masked = (
        inner_step(CONV4, as_leaves(each), get_method("maml"), 0, batch, second_order=True).parameters
        for each in (parameters, full)
    )
    for name, tensor in dense.items():
        assert torch.equal(masked[name], tensor)


def test_steps_that_are_added_up_leave_masks_and_zeros_as_they_are() -> None:
    network = replace(CONV4, norm="batch")
    parameters = pruned(image_parameters(network, "maml"), network)
    adapted = accumulated_step(network, parameters, get_method("maml"), 0, support(network, 10), 1)
    assert_zero_where_pruned(adapted, network)
    for name in weight_names(network):
        assert torch.equal(adapted[name + MASK], parameters[name + MASK])
        assert not torch.equal(adapted[name], parameters[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("method", METHODS)
def test_training_starts_from_a_pruned_classifier_and_leaves_its_zeros(folder: Path, method: str) -> None:
    context = {"context_size": 3} if get_method(method).takes_context else {}
    settings = small_settings(folder, method=method, epochs=1, step_size=0.1, **context)
    untrained = ImageTraining(settings, load_data(settings))
    dense = untrained.classifier(untrained.initial_state())
    start = replace(dense, parameters=pruned(dense.parameters, dense.network))
    training = ImageTraining(settings, load_data(settings), start)
    begun = training.initial_state()
    assert begun.parameters.keys() == start.parameters.keys()
    for step in training.iterations(begun):
        assert_zero_where_pruned(step.state.parameters, training.network)
    for name in weight_names(training.network):
        assert torch.equal(step.state.parameters[name + MASK], start.parameters[name + MASK])
        assert not torch.equal(step.state.parameters[name], start.parameters[name])


def test_a_file_gives_a_pruned_classifier_back_and_it_adapts(tmp_path: Path) -> None:
    dense = small_classifier()
    classifier = replace(dense, parameters=pruned(dense.parameters, dense.network))
    sizes = []
    for name, each in (("dense", dense), ("pruned", classifier)):
        each.save(tmp_path / f"{name}.safetensors")
        sizes.append((tmp_path / f"{name}.safetensors").stat().st_size)
    assert sizes[1] < sizes[0]
    loaded = load_classifier(tmp_path / "pruned.safetensors")
    assert isinstance(loaded, Classifier)
    assert loaded.parameters.keys() == classifier.parameters.keys()
    for name, tensor in classifier.parameters.items():
        assert torch.equal(loaded.parameters[name].view(torch.int32), tensor.view(torch.int32))
    images, labels = random_images(16, 3, 4)
    adapted = loaded.adapt(np.clip(images, -1, 1), labels)
    assert_zero_where_pruned(adapted.parameters, adapted.network)
    assert not torch.equal(adapted.parameters["conv2.weight"], loaded.parameters["conv2.weight"])
