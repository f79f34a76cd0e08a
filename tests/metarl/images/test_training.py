"""Meta-training on images: the meta-gradient, the schedule, and that it learns."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from coloured_images import small_settings, write_images
from contexts import suited

from metarl.core.intervals import Interval
from metarl.core.randomness import Purpose, generator
from metarl.images.batch import ImageBatch, accumulated_step
from metarl.images.evaluation import evaluate_images
from metarl.images.iteration import input_memory, learning_rate, meta_gradient
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import ImageData, load_data
from metarl.images.tasks import ImageTask, adapt_on_device, sample_tasks
from metarl.images.training import ImageTraining, keep_best
from metarl.policies.methods import METHODS, STEP_SIZES, get_method, initial_meta_parameters, trained_names
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import Parameters
from metarl.runs.folder import PROGRESS
from metarl.runs.state import FAULTS_IN_A_ROW, Step

NETWORK = Conv4(side=16, ways=3, width=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def steps_of(settings: ImageSettings) -> list[Step]:
    training = ImageTraining(settings, load_data(settings))
    return list(training.iterations(training.initial_state()))


def smooth_parameters(method: str, inner_steps: int = 2) -> Parameters:
    """Meta-parameters in float64 with nothing left at zero and large step sizes, so that second-order terms matter."""
    random = torch.Generator().manual_seed(0)
    network = suited(NETWORK, method)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        get_method(method), network.layers, inner_steps, 0.3, random
    )
    return {
        name: tensor.double() + (0 if tensor.any() else 0.3 * torch.randn(tensor.shape, generator=random).double())
        for name, tensor in parameters.items()
    }


def random_task(seed: int) -> ImageTask:
    random = torch.Generator().manual_seed(seed)

    def batch(each: int) -> ImageBatch:
        images = torch.randn(3 * each, 3, 16, 16, generator=random, dtype=torch.float64)
        return ImageBatch(images, torch.arange(3).repeat_interleave(each))

    return ImageTask(batch(1), batch(2))


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "maml++", "p-meta-fw0-bw0", "p-meta-alpha-ch"])
def test_the_meta_gradient_equals_finite_differences(method: str) -> None:
    """The differences are tiny, for with them the ReLUs and max-poolings of all images must stay as they are."""
    parameters, row = smooth_parameters(method), get_method(method)
    tasks = [random_task(1), random_task(2)]
    with ThreadPoolExecutor(2) as executor:
        gradients = meta_gradient(NETWORK, parameters, row, tasks, False, executor).gradients
        assert tuple(gradients) == trained_names(row, parameters)
        random = torch.Generator().manual_seed(3)
        for group in ("conv1", "norm2", "fc.", STEP_SIZES, "attention", "channel_step_sizes"):
            names = [name for name in gradients if name.startswith(group)]
            direction = {name: torch.randn(gradients[name].shape, generator=random).double() for name in names}

            def loss(shift: float, direction: Parameters = direction) -> float:
                moved = {name: parameters[name] + shift * tensor for name, tensor in direction.items()}
                return meta_gradient(NETWORK, parameters | moved, row, tasks, True, executor).after.loss

            slope = sum(float((gradients[name] * direction[name]).sum()) for name in names)
            assert slope == pytest.approx((loss(1e-8) - loss(-1e-8)) / 2e-8, rel=1e-5, abs=1e-6), group


def test_the_first_order_gradient_is_another() -> None:
    parameters, tasks = smooth_parameters("maml"), [random_task(1)]
    with ThreadPoolExecutor(1) as executor:
        second = meta_gradient(NETWORK, parameters, get_method("maml"), tasks, False, executor).gradients
        first = meta_gradient(NETWORK, parameters, get_method("maml"), tasks, True, executor).gradients
    assert not torch.allclose(first["conv1.weight"], second["conv1.weight"], rtol=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_one_image_at_a_time_is_one_pass_with_group_norm(method: str) -> None:
    network = suited(NETWORK, method)
    parameters, support = smooth_parameters(method), random_task(1).support
    together = adapt_on_device(network, parameters, get_method(method), support, 1)
    alone = parameters
    for step in range(2):
        alone = accumulated_step(network, alone, get_method(method), step, support, 1)
    for name, tensor in together.items():
        torch.testing.assert_close(tensor, alone[name])


def test_batch_norm_adapts_otherwise_one_image_at_a_time() -> None:
    parameters, support = smooth_parameters("maml"), random_task(1).support
    network = replace(NETWORK, norm="batch")
    single = adapt_on_device(network, parameters, get_method("maml"), support, 1)
    whole = adapt_on_device(network, parameters, get_method("maml"), support, 3)
    assert not torch.allclose(single["conv2.weight"], whole["conv2.weight"], rtol=1e-3)


def test_the_learning_rate_follows_a_cosine() -> None:
    settings = small_settings(Path(), learning_rate=0.4)
    assert settings.iterations == 6
    rates = [learning_rate(settings, iteration) for iteration in (0, 2, 3, 6)]
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.0])


def test_memory_of_the_inputs() -> None:
    """Side 16: 3 * 16^2 images, then 32 channels at 16, 8, 8, 4, 4, 2 and 2 pixels, and 32 numbers before fc."""
    words = [768, 8192, 8192 / 4, 8192 / 4, 8192 / 16, 8192 / 16, 8192 / 64, 8192 / 64, 32]
    assert input_memory(build_network(small_settings(Path()))).tolist() == pytest.approx(
        [number / 8192 for number in words]
    )


def test_the_lasso_lands_on_zero(folder: Path) -> None:
    """A lambda far above the gradients wins where the input is largest."""
    settings = small_settings(folder, method="p-meta", lasso=30.0, step_size=0.003)
    training = ImageTraining(settings, load_data(settings))
    *_, last = training.iterations(training.initial_state())
    step_sizes = last.state.parameters[STEP_SIZES]
    assert (step_sizes[:, 1] == 0).all() and (step_sizes >= 0).all() and (step_sizes[:, -1] > 0).all()


def test_the_lasso_weighs_against_the_loss_in_the_metric_of_adam(folder: Path) -> None:
    """In the first iteration that metric divides by |g|, so what is taken off is rate * lambda * m / |g|."""
    settings = small_settings(folder, method="p-meta-layers", lasso=0.02, step_size=0.5)
    training = ImageTraining(settings, load_data(settings))
    data, state = training.data, training.initial_state()
    network, method = training.network, get_method(settings.method)
    tasks = sample_tasks(
        data.training, data.training_shape, settings.tasks_per_iteration, generator(0, Purpose.TRAINING, 0)
    )
    with ThreadPoolExecutor(1) as executor:
        gradients = meta_gradient(network, state.parameters, method, tasks, False, executor).gradients
    gradient, rate = gradients[STEP_SIZES], settings.learning_rate
    expected = 0.5 - rate * gradient.sign() - rate * 0.02 * input_memory(network) / gradient.abs()
    step = next(training.iterations(state))
    torch.testing.assert_close(step.state.parameters[STEP_SIZES], expected.clamp_min(0), rtol=0, atol=2e-5)
    assert 0 < int((expected < 0.49).sum()) < expected.numel()


def test_it_learns_to_tell_colors_apart(folder: Path) -> None:
    settings = small_settings(
        folder, method="maml++", epochs=3, tasks_per_epoch=24, meta_batch_size=4, learning_rate=0.005, step_size=0.05
    )
    training = ImageTraining(settings, load_data(settings))
    data, state = training.data, training.initial_state()

    def accuracies(parameters: Parameters) -> tuple[float, float]:
        network, shape = training.network, data.validation_shape
        method = get_method(settings.method)
        with ThreadPoolExecutor(2) as executor:
            evaluation = evaluate_images(executor, network, parameters, method, data.validation, shape, 40, 7)
        before, after = evaluation.accuracies()
        return before.mean, after.mean

    *_, last = training.iterations(state)
    assert max(accuracies(state.parameters)) < 0.5
    before, after = accuracies(last.state.best_parameters)
    assert before < 0.5 and after > 0.75


def test_best_is_what_validates_best(folder: Path) -> None:
    settings = small_settings(folder)
    state = replace(ImageTraining(settings, load_data(settings)).initial_state(), iteration=3)
    better = keep_best(replace(state, best_score=0.5, best_parameters={}), Interval(0.6, 0.1))
    assert (better.best_score, better.best_iteration) == (0.6, 3) and better.best_parameters is state.parameters
    assert keep_best(replace(state, best_score=0.7, best_parameters={}), Interval(0.6, 0.1)).best_parameters == {}


def test_validation_follows_each_epoch(folder: Path) -> None:
    settings = small_settings(folder)
    steps = steps_of(settings)
    assert ["validation_accuracy" in step.scalars for step in steps] == [False, False, True, False, False, True]
    assert [step.state.iteration for step in steps] == [1, 2, 3, 4, 5, 6]


def test_kept_channels_are_those_of_an_epochs_last_meta_batch(folder: Path) -> None:
    """Scores start equal, and equal ones are kept."""
    short = small_settings(folder, method="p-meta", epochs=1, tasks_per_epoch=2)
    (step,) = steps_of(short)
    layers = [f"{kind}{number}" for number in (1, 2, 3, 4) for kind in ("conv", "norm")]
    expected = {f"kept_input_{layer}_{number}": 1.0 for layer in layers for number in (1, 2)}
    expected |= {f"kept_output_{layer}_{number}": 1.0 for layer in layers for number in (1, 2)}
    assert {name: value for name, value in step.scalars.items() if name.startswith("kept_")} == expected
    settings = small_settings(folder, method="p-meta-bw0.3", epochs=2)
    kept = [f"kept_output_{layer}_{number}" for layer in layers for number in (1, 2)]
    assert ImageTraining(settings, load_data(settings)).columns[PROGRESS][-len(kept) :] == kept
    for step in steps_of(settings):
        is_last = step.state.iteration % 3 == 0
        assert [name for name in step.scalars if name.startswith("kept_")] == (kept if is_last else [])


def test_numbers_that_are_not_finite_stop_it_in_the_end(folder: Path) -> None:
    settings = small_settings(folder, epochs=3)
    training = ImageTraining(settings, load_data(settings))
    state = training.initial_state()
    broken = replace(state, parameters=state.parameters | {"fc.bias": torch.full((3,), math.nan)})
    steps = training.iterations(broken)
    first = list(islice(steps, FAULTS_IN_A_ROW))
    assert all("loss_after" not in step.scalars and "meta-gradient is not finite" in step.fault for step in first)
    assert first[-1].state.skipped == FAULTS_IN_A_ROW
    with pytest.raises(FloatingPointError, match="5th such iteration in a row"):
        next(steps)


def test_threads_change_nothing(folder: Path) -> None:
    def parameters(threads: int) -> Parameters:
        settings = small_settings(folder, method="p-meta", threads=threads, epochs=1)
        return steps_of(settings)[-1].state.parameters

    one, three = parameters(1), parameters(3)
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_what_is_missing_is_said_before_training(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has 8 classes: too few for 9 ways"):
        load_data(small_settings(folder, ways=9))
    with pytest.raises(ValueError, match=r"5-shot episodes need at least 6"):
        load_data(small_settings(folder, shots=5))
    with pytest.warns(UserWarning, match=r"have 4 instead of 15 queries"):
        data = load_data(small_settings(folder, queries=15))
    assert isinstance(data, ImageData) and data.training_shape.queries == 4
