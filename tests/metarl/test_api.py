"""The Python interface on a small family: what it returns, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from point_family import TINY, point_family
from watching import Steps

import metarl
from metarl.api import adapt_and_evaluate
from metarl.policies.controller import Controller
from metarl.policies.methods import METHODS, STEP_SIZES


@pytest.fixture(scope="module")
def controller() -> Controller:
    return metarl.train(point_family(), settings=TINY)


def test_evaluation_is_repeatable_whatever_the_threads(controller: Controller) -> None:
    first = metarl.evaluate(controller, tasks=5, seed=3, family=point_family(), threads=1)
    second = metarl.evaluate(controller, tasks=5, seed=3, family=point_family(), threads=3)
    assert torch.equal(first.returns, second.returns) and first.returns.shape == (2, 5)
    other = metarl.evaluate(controller, tasks=5, seed=4, family=point_family())
    assert not torch.equal(first.returns, other.returns)


def test_evaluation_at_another_horizon(controller: Controller) -> None:
    """Before adaptation the same policy meets the same tasks, whose rewards are negative: half the time, less loss."""
    whole, half = (metarl.evaluate(controller, tasks=20, horizon=steps, family=point_family()) for steps in (None, 5))
    assert controller.metadata.horizon > 5
    assert whole.returns[0].mean() < half.returns[0].mean() < 0


def test_more_tasks_than_fit_at_once_are_counted_on_the_way(controller: Controller) -> None:
    done: list[int] = []
    evaluation = metarl.evaluate(controller, tasks=83, family=point_family(), on_tasks=done.append)
    assert done == [40, 80, 83] and evaluation.returns.shape == (2, 83)
    interval = evaluation.intervals()[1]
    returns = evaluation.returns[1].numpy()
    assert interval.mean == pytest.approx(returns.mean())
    assert interval.ci95 == pytest.approx(1.989319 * returns.std(ddof=1) / np.sqrt(83))


def test_adapting_changes_what_the_method_updates_and_says_for_which_task(controller: Controller) -> None:
    adapted, evaluation = adapt_and_evaluate(controller, {"target": 0.5}, family=point_family())
    assert adapted.metadata.adapted_to == {"target": 0.5} and evaluation.returns.shape == (2, 1)
    assert not torch.equal(adapted.parameters["layer1.weight"], controller.parameters["layer1.weight"])
    assert torch.equal(adapted.parameters[STEP_SIZES], controller.parameters[STEP_SIZES])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_several_inner_steps(method: str) -> None:
    steps = Steps()
    settings = replace(TINY, method=method, inner_steps=2, iterations=2)
    trained = metarl.train(point_family(), settings=settings, callbacks=[steps])
    assert {f"return_{number}" for number in (0, 1, 2)} <= steps[-1].scalars.keys()
    assert metarl.evaluate(trained, tasks=2, family=point_family()).returns.shape == (3, 2)


def test_sparse_step_sizes_land_on_zero_and_stay_countable() -> None:
    settings = replace(TINY, method="p-meta-layers", lasso=10.0, iterations=5, seed=1)
    steps = Steps()
    metarl.train(point_family(), settings=settings, callbacks=[steps])
    assert [steps[0].scalars[f"step_size_{layer}_1"] for layer in ("layer1", "layer2")] == [pytest.approx(0.1)] * 2
    # The widest input weighs most and goes first; no surrogate is worth such a lambda, so both stay at exactly zero.
    assert steps[1].scalars["step_size_layer2_1"] == 0.0 < steps[1].scalars["step_size_layer1_1"]
    assert all(step.scalars[f"step_size_{layer}_1"] == 0.0 for step in steps[2:] for layer in ("layer1", "layer2"))


def test_a_controller_does_not_choose_the_code_that_runs(controller: Controller, tmp_path: Path) -> None:
    stranger = replace(controller, metadata=replace(controller.metadata, family="os:abort"))
    stranger.save(tmp_path / "stranger.safetensors")
    with pytest.raises(ValueError, match="trained on 'os:abort', which is no family of metarl"):
        metarl.evaluate(tmp_path / "stranger.safetensors", tasks=1)


def test_a_controller_made_for_other_spaces(controller: Controller) -> None:
    renamed = replace(controller, metadata=replace(controller.metadata, family="half-cheetah-velocity"))
    with pytest.raises(ValueError, match="made for other spaces"):
        metarl.evaluate(renamed, tasks=1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"meta_batch_size": 0}, "setting 'meta_batch_size' must be at least 1, got 0"),
        ({"step_size": -0.1}, "setting 'step_size' must be above 0, got -0.1"),
        ({"initial_std": float("nan")}, "setting 'initial_std' must be a finite number, got nan"),
        ({"fisher_fraction": 1.5}, "setting 'fisher_fraction' must be at most 1"),
        ({"damping": -1.0}, "setting 'damping' must be at least 0"),
        ({"gae_lambda": 1.1}, "setting 'gae_lambda' must be at most 1"),
        ({"hidden_sizes": (8, 0)}, "setting 'hidden_sizes.1.' must be at least 1"),
        ({"method": "sgd"}, "unknown method 'sgd': choose one of maml, anil"),
        ({"episodes": 5}, "unknown setting 'episodes': did you mean 'episodes_per_task'"),
        ({"tasks": 5}, "unknown setting 'tasks'; there are method, iterations"),
        ({"threads": 5000}, "setting 'threads' must be at most 1024, got 5000"),
        ({"settings": {"seed": 1}}, "settings must be TrainSettings, got dict"),
        ({"callbacks": [print]}, "a callback must be an object of a class derived from Callback, got <built-in"),
        ({"callbacks": [Steps]}, "a callback must be an object of a class derived from Callback, got <class"),
    ],
)
def test_impossible_settings(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        metarl.train(point_family(), **{"settings": TINY} | change)


def test_no_tasks_to_evaluate_on(controller: Controller) -> None:
    with pytest.raises(ValueError, match="number of tasks must be at least 1 and at most 1000000, got 0"):
        metarl.evaluate(controller, tasks=0, family=point_family())
    with pytest.raises(ValueError, match="at most 1000000, got 1000000000000"):
        metarl.evaluate(controller, tasks=10**12, family=point_family())


def test_a_controller_that_cannot_be_adapted(controller: Controller) -> None:
    parameters = {name: tensor for name, tensor in controller.parameters.items() if name != STEP_SIZES}
    with pytest.raises(ValueError, match="the controller cannot be adapted: maml needs its 'step_sizes'"):
        metarl.evaluate(replace(controller, parameters=parameters), tasks=2, family=point_family())


@pytest.mark.parametrize("family", [None, 3, point_family])
def test_what_is_no_family(family: object) -> None:
    with pytest.raises(ValueError, match="a task family is a name or a TaskFamily, got"):
        metarl.train(family)
