"""Continue a meta-training on a server and send a few numbers of the outcome (DPU, Alg. 1).

A full update says which numbers matter; all others are rewound, and those are trained again from there. Robots get the
new numbers if an independent test finds the new controller better, otherwise nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field

from metarl.adam import initial_moments
from metarl.compression.judge import Verdict, judge
from metarl.core.clock import Clock
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.settings import AtLeastOne, check_settings
from metarl.envs.family import TaskFamily
from metarl.fleet.scores import Metric, largest, random_scores, update_masks
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.compression.masks import masks_of
from metarl.policies.controller import Controller
from metarl.policies.methods import get_method
from metarl.policies.networks.integers import refuse_integers
from metarl.policies.networks.network import Parameters
from metarl.rl.continuation import continued_settings
from metarl.rl.iteration import meta_iteration
from metarl.rl.outer import outer_names, stayed
from metarl.rl.settings import TrainSettings
from metarl.rl.workers import task_worker


@dataclass(frozen=True)
class UpdateSettings:
    """What an update sends; Refusal names a value that has a wrong type or is out of its limits."""

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the weights to send. Biases, step sizes and the like are sent whole."""
    metric: Metric = "combined"
    """What a weight's change is judged by: its size (global), what its steps took off the loss (local), or both
    (combined); or chance (random), which needs no full update and trains the chosen weights for as long instead."""
    iterations: AtLeastOne = 10
    """Meta-iterations of the full update, and as many of the partial one after it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of tasks and episodes."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Update:
    """A controller after an update, and how it compares to the one before on tasks that no training has seen."""

    controller: Controller
    sent: dict[str, float]  # the share of each matrix that may have changed
    verdict: Verdict

    @property
    def is_better(self) -> bool:
        """Whether the interval of the paired difference lies above zero: only then robots should get the update."""
        return self.verdict.is_clear and self.verdict.paired_difference.mean > 0


@dataclass(frozen=True)
class Course:
    """Where some meta-iterations led: the parameters, and -sum of g d for each number, by name."""

    parameters: Parameters
    local: Parameters | None  # None of a method that takes no meta-gradient


def partial_update(
    controller: Controller,
    family: TaskFamily,
    settings: UpdateSettings,
    threads: int,
    judged: tuple[int, int] = (40, 1),
    on_iteration: Callable[[str], None] = lambda told: None,
) -> Update:
    """Continue the meta-training of a controller, change a share of its weights, and judge the outcome.

    Args:
        controller: The controller that robots have.
        family: The task family, as the controller sees it; its tasks may have changed since.
        settings: What is sent.
        threads: Threads of the simulator and of the training.
        judged: The number of unseen tasks of the comparison and their seed.
        on_iteration: Is told of each meta-iteration in words.

    Returns:
        The update. Refusal if the controller cannot be trained on.
    """
    new, sent = trained_update(controller, family, settings, threads, on_iteration=on_iteration)
    return Update(new, sent, judge(controller, new, family, *judged, threads))


def trained_update(
    controller: Controller,
    family: TaskFamily,
    settings: UpdateSettings,
    threads: int,
    begun: int = 0,
    on_iteration: Callable[[str], None] = lambda told: None,
) -> tuple[Controller, dict[str, float]]:
    """Continue the meta-training of a controller, and change a share of its weights.

    Args:
        controller: The controller that robots have.
        family: The task family, as the controller sees it; its tasks may have changed since.
        settings: What is sent.
        threads: Threads of the simulator and of the training.
        begun: How many iterations of the server went before with this seed, so that the random numbers are others.
        on_iteration: Is told of each meta-iteration in words.

    Returns:
        The new controller, and the share of each matrix that may have changed. Refusal if it cannot be trained on.
    """
    check_updatable(controller)
    count = settings.iterations
    training = continued_settings(controller, family, 2 * count, settings.seed, threads)
    base = controller.parameters

    def told(stage: str, of: int) -> Callable[[int, float], None]:
        return lambda done, reached: on_iteration(f"{stage}: {done} of {of}, return after adaptation {reached:.4g}")

    whole = range(begun, begun + 2 * count)
    if settings.metric == "random":
        scores = random_scores(controller.network, base, settings.seed, begun)
        masks = largest(scores, settings.ratio, masks_of(base))
        start, left = base, whole
    else:
        full = continued(controller, base, family, training, whole[:count], None, told("full update", count))
        masks = update_masks(controller.network, base, full.parameters, full.local, settings.metric, settings.ratio)
        start, left = full.parameters | stayed(base, full.parameters, masks), whole[count:]
    last = continued(controller, start, family, training, left, masks, told("partial update", len(left)))
    return replace(controller, parameters=last.parameters), {name: float(mask.mean()) for name, mask in masks.items()}


def towards(controller: Controller, wanted: Controller, ratio: float) -> tuple[Controller, dict[str, float]]:
    """Return a controller with the largest changes towards another one, and the share of each matrix that they are.

    Args:
        controller: The controller that robots have.
        wanted: One of the same kind.
        ratio: The share of the weights that changes; biases, step sizes and the like become those of ``wanted``.

    Raises:
        Refusal: If they differ in more than numbers.
    """
    check_updatable(controller)
    check_updatable(wanted)
    if controller.network != wanted.network or controller.parameters.keys() != wanted.parameters.keys():
        raise Refusal("the controllers differ in more than numbers: a patch changes numbers alone")
    old, new = controller.parameters, wanted.parameters
    masks = update_masks(controller.network, old, new, None, "global", ratio)
    sent = {name: float(mask.mean()) for name, mask in masks.items()}
    return replace(controller, parameters=new | stayed(old, new, masks)), sent


def check_updatable(controller: Controller) -> None:
    """Raise Refusal if the controller is not one that was meta-trained to adapt."""
    refuse_integers(controller.network, "an update")
    refuse_bases(controller.parameters, "an update")
    if controller.metadata.adapted_to is not None:
        raise Refusal("the controller is adapted to a task: update the meta-trained one that it came from")
    method = get_method(controller.metadata.method)
    if not method.adapts:
        raise Refusal(f"{method.name} does not adapt: an update goes on with meta-training")


def continued(
    controller: Controller,
    parameters: Parameters,
    family: TaskFamily,
    settings: TrainSettings,
    iterations: range,
    movable: Parameters | None,
    on_iteration: Callable[[int, float], None],
) -> Course:
    """Meta-train from some parameters on.

    Args:
        controller: Where they come from.
        parameters: The parameters.
        family: The task family, as the controller sees it.
        settings: Settings of the training.
        iterations: Which iterations of the training these are; they tell the random numbers.
        movable: By name, 1 where a number may move and 0 where it stays; None if all may.
        on_iteration: Is told how many iterations are done, and the last one's mean return after adaptation.

    Returns:
        The course. NumericalFault if a number is not finite.
    """
    method = get_method(controller.metadata.method)
    moments = initial_moments({name: parameters[name] for name in outer_names(method, parameters)[1]})
    local: Parameters | None = {}
    with task_worker(family, controller.network, settings) as workers:
        for done, iteration in enumerate(iterations, start=1):
            random = generator(settings.seed, Purpose.UPDATE, iteration)
            try:
                new, moments, report = meta_iteration(parameters, moments, settings, workers, random, Clock(), movable)
            except FloatingPointError as error:
                raise NumericalFault(f"{error}, in iteration {done} of the update") from None
            local = added(local, report.step.gradient, parameters, new)
            parameters = new
            on_iteration(done, report.returns[-1].mean)
    return Course({name: tensor.detach() for name, tensor in parameters.items()}, local)


def added(local: Parameters | None, gradient: Parameters, old: Parameters, new: Parameters) -> Parameters | None:
    """Return the local scores with those of one more step, -g d; None if the step has no gradient."""
    if local is None or not gradient:
        return None
    with torch.no_grad():
        return {name: local.get(name, 0.0) - slope * (new[name] - old[name]) for name, slope in gradient.items()}
