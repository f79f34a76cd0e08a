"""Meta-training on few-shot images: the loop as a sequence of states, as in reinforcement learning.

There are episodes in place of rollouts, and Adam in place of TRPO.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.adam import adam_step, initial_moments, step_lengths
from metarl.core.clock import Clock
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.intervals import Interval
from metarl.core.numerics import require_finite
from metarl.core.randomness import Purpose, generator
from metarl.core.threads import single_threaded_torch
from metarl.core.version import __version__
from metarl.envs.images.episodes import EpisodeShape, episode_shape
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.images.evaluation import evaluate_with
from metarl.images.logs import ImageReport, progress_columns, progress_row, timings_columns, timings_row
from metarl.images.settings import ImageSettings, build_network
from metarl.images.tasks import ImageTask, Score, adapt, query_score, sample_tasks, score
from metarl.inner_loop import Scores, as_leaves
from metarl.kept_channels import kept_channels
from metarl.losses import cross_entropy
from metarl.policies.classifier import Classifier
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.methods import (
    STEP_SIZES,
    Method,
    get_method,
    initial_meta_parameters,
    shrink_step_sizes,
    trained_names,
)
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.runs.folder import PROGRESS, TIMINGS
from metarl.runs.state import FAULTS_IN_A_ROW, Step, TrainingState, abandon, with_parameters

FAMILY = "images"  # what config.json and checkpoints name in place of a task family


@dataclass(frozen=True)
class ImageData:
    """The splits that a meta-training needs, and the tasks that are drawn from each."""

    training: ImageSet
    training_shape: EpisodeShape
    validation: ImageSet
    validation_shape: EpisodeShape


def load_data(settings: ImageSettings, progress: Progress | None = None) -> ImageData:
    """Load the splits train and val; Refusal if they do not exist or are too small for the tasks asked for."""
    sets, shapes = [], []
    for split in ("train", "val"):
        images = load_images(settings.data, split, settings.side, progress=progress)
        sets.append(images)
        shapes.append(episode_shape(images, settings.ways, settings.shots, settings.queries))
    return ImageData(sets[0], shapes[0], sets[1], shapes[1])


def describe(images: ImageSet) -> dict[str, Any]:
    """Return the classes of a split, how many images each has, and a digest of the first image of each."""
    firsts = np.unique(images.labels, return_index=True)[1]
    digest = sha256(b"".join(images.pixels[first].tobytes() for first in firsts)).hexdigest()
    return {"classes": list(images.classes), "images": images.counts.tolist(), "digest": digest}


def initial_state(network: ImageNetwork, settings: ImageSettings) -> TrainingState:
    """Return the state before the first iteration; ``best_score`` is the best accuracy of the validation."""
    method = get_method(settings.method)
    seed = int(generator(settings.seed, Purpose.PARAMETERS).integers(2**31))
    random = torch.Generator().manual_seed(seed)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        method, network.layers, settings.inner_steps, settings.step_size, random
    )
    moments = initial_moments({name: parameters[name] for name in trained_names(method, parameters)})
    return TrainingState(0, parameters, moments, parameters, -math.inf, 0)


class MetaGradient(NamedTuple):
    """The gradient of the mean query loss, and what else one pass over the tasks gives."""

    gradients: Parameters
    before: Score  # mean over the tasks, before adaptation
    after: Score
    scores: tuple[tuple[Scores, ...], ...]  # of the channels, as [inner step][task]


class ImageTraining:
    """The meta-training of a network on few-shot images, with the network built once."""

    family_name = FAMILY

    def __init__(self, settings: ImageSettings, data: ImageData, init: Classifier | None = None) -> None:
        self.settings, self.data = settings, data
        self.network = build_network(settings)
        self.begun = initial_state(self.network, settings)
        if init is not None:
            self.begun = start_from(init, self.begun, self.network, settings)
        self.trained_on = {"train": describe(data.training), "val": describe(data.validation)}
        self.columns = {PROGRESS: progress_columns(settings, self.network), TIMINGS: timings_columns()}

    def initial_state(self) -> TrainingState:
        """Return the state before the first iteration."""
        return self.begun

    def iterations(
        self, state: TrainingState, on_phase: Callable[[], None] = lambda: None
    ) -> Generator[Step, None, None]:
        """Train from ``state`` to the last iteration and yield after each; closing the iterator frees the threads.

        An iteration whose meta-gradient is not finite is abandoned: the parameters stay, and the next one draws other
        tasks. NumericalFault after FAULTS_IN_A_ROW such iterations.
        """
        settings, network, data = self.settings, self.network, self.data
        with single_threaded_torch(), ThreadPoolExecutor(settings.threads, thread_name_prefix="task") as executor:
            while state.iteration < settings.iterations:
                clock, report, validation, fault = Clock(on_phase), None, None, ""
                try:
                    parameters, moments, report = image_iteration(state, settings, network, data, executor, clock)
                except FloatingPointError as error:
                    state, fault = abandon(state), str(error)
                else:
                    state = replace(
                        state,
                        iteration=state.iteration + 1,
                        parameters=parameters,
                        moments=moments,
                        faults_in_a_row=0,
                    )
                if state.iteration % settings.iterations_per_epoch == 0:
                    with clock.phase("validation"):
                        validation = validate(state.parameters, settings, network, data, executor, on_phase)
                    state = keep_best(state, validation)
                scalars = progress_row(settings, network, state, report, validation)
                yield Step(state, scalars, timings_row(state, clock.seconds), fault)
                if state.faults_in_a_row >= FAULTS_IN_A_ROW:
                    raise NumericalFault(
                        f"{fault}; it was the {FAULTS_IN_A_ROW}th such iteration in a row, so training stops"
                    )

    def classifier(self, state: TrainingState) -> Classifier:
        """Return the classifier of the epoch with the best validation so far, the untrained one before the first."""
        return best_classifier(self.network, self.settings, state)

    def save(self, state: TrainingState, path: Path) -> None:
        """Write the classifier of the best epoch so far; an older file is replaced."""
        self.classifier(state).save(path, overwrite=True)


def start_from(init: Classifier, state: TrainingState, network: ImageNetwork, settings: ImageSettings) -> TrainingState:
    """Return the state before the first iteration with the parameters of a classifier.

    Args:
        init: The classifier to start from.
        state: The state to start from without it.
        network: The network of the training.
        settings: The settings of the training.

    Returns:
        The state. Refusal names what of the classifier is not as the settings ask for.
    """
    given = {"network": (init.network, network), "inner steps": (init.metadata.inner_steps, settings.inner_steps)}
    for what, (mine, wanted) in given.items():
        if mine != wanted:
            raise Refusal(f"the classifier to start from has the {what} {mine}, and the settings ask for {wanted}")
    fixed = get_method(settings.method).step_sizes == "fixed"
    parameters = init.parameters | ({STEP_SIZES: state.parameters[STEP_SIZES]} if fixed else {})
    return with_parameters(state, parameters, init.metadata.method, settings.method)


def best_classifier(network: ImageNetwork, settings: ImageSettings, state: TrainingState) -> Classifier:
    """Return the classifier of the best epoch so far, with a record of its training."""
    record = {
        "seed": settings.seed,
        "iterations": state.iteration,
        "best_epoch": state.best_iteration // settings.iterations_per_epoch,
        "best_validation_accuracy": state.best_score if state.best_iteration else None,
        "settings": asdict(replace(settings, threads=1)) | {"data": settings.data.name},
        "metarl": __version__,
    }
    metadata = ClassifierMetadata(
        method=settings.method,
        inner_steps=settings.inner_steps,
        shots=settings.shots,
        queries=settings.queries,
        data=settings.data.name,
        training=record,
    )
    parameters = {name: tensor.detach().clone() for name, tensor in state.best_parameters.items()}
    return Classifier(parameters, network, metadata)


def image_iteration(
    state: TrainingState,
    settings: ImageSettings,
    network: ImageNetwork,
    data: ImageData,
    executor: Executor,
    clock: Clock,
) -> tuple[Parameters, Parameters, ImageReport]:
    """Sample tasks, adapt to each, and take one step of Adam on the mean query loss of the adapted networks.

    Sparse step sizes then take the proximal step of the Lasso in Adam's own metric, so that the penalty weighs against
    the loss as it does in their sum; none goes below zero (Yun et al., NeurIPS 2021).

    Args:
        state: The state before the iteration.
        settings: The settings of the training.
        network: The network.
        data: The images.
        executor: Threads, each with a task of its own.
        clock: Takes the time of each phase.

    Returns:
        The new parameters, the new moments and a report. NumericalFault if the meta-gradient is not finite.
    """
    method = get_method(settings.method)
    random = generator(settings.seed, Purpose.TRAINING, state.iteration)
    with clock.phase("sampling"):
        tasks = sample_tasks(data.training, data.training_shape, settings.tasks_per_iteration, random)
    with clock.phase("meta-gradient"):
        gradients, before, after, scores = meta_gradient(
            network, state.parameters, method, tasks, settings.first_order, executor
        )
        for gradient in gradients.values():
            require_finite("the meta-gradient is", gradient)
    rate = learning_rate(settings, state.iteration)
    with clock.phase("adam"):
        moved, moments = adam_step(state.parameters, gradients, state.moments, rate)
        parameters = state.parameters | moved
        if method.step_sizes == "sparse":
            lengths = step_lengths(moments, STEP_SIZES, rate)
            thresholds = lengths * settings.lasso * input_memory(network)
            parameters[STEP_SIZES] = shrink_step_sizes(parameters[STEP_SIZES], thresholds)
    kept = None
    if (state.iteration + 1) % settings.iterations_per_epoch == 0:
        kept = kept_channels(method, network.layer_names, scores)
    return parameters, moments, ImageReport(before, after, rate, kept)


def meta_gradient(
    network: ImageNetwork,
    parameters: Parameters,
    method: Method,
    tasks: list[ImageTask],
    first_order: bool,
    executor: Executor,
) -> MetaGradient:
    """Return the gradient of the mean query loss after adaptation with respect to all that the outer loop trains.

    Args:
        network: The network.
        parameters: The meta-parameters.
        method: Which layers the inner loop updates, and what weighs their channels.
        tasks: The meta-batch.
        first_order: Whether the inner gradients count as constants.
        executor: Threads, each with a task of its own.

    Returns:
        The gradient, and what else one pass over the tasks gives.
    """
    trained = trained_names(method, parameters)

    def term(task: ImageTask) -> tuple[tuple[Tensor, ...], Score, Score, tuple[Scores, ...]]:
        leaves = as_leaves(parameters, trained)
        adapted, scores = adapt(network, leaves, method, task.support, second_order=not first_order)
        logits, _ = network(adapted, task.query.images)
        loss = cross_entropy(logits, task.query.labels)
        gradients = torch.autograd.grad(loss, [leaves[name] for name in trained], materialize_grads=True)
        before, after = query_score(network, parameters, task.query), score(logits.detach(), task.query.labels)
        return gradients, before, after, scores

    gradients, before, after, scores = zip(*executor.map(term, tasks), strict=True)
    mean = {
        name: torch.stack(parts).mean(dim=0) for name, parts in zip(trained, zip(*gradients, strict=True), strict=True)
    }
    return MetaGradient(mean, mean_score(before), mean_score(after), tuple(zip(*scores, strict=True)))


def validate(
    parameters: Parameters,
    settings: ImageSettings,
    network: ImageNetwork,
    data: ImageData,
    executor: Executor,
    on_tasks: Callable[[], None],
) -> Interval:
    """Return the accuracy after adaptation, one image at a time, on the validation tasks, which are always the same.

    Args:
        parameters: The meta-parameters.
        settings: The settings of the training.
        network: The network.
        data: The images.
        executor: Threads, each with a task of its own.
        on_tasks: Is called when some tasks are done, and may raise to stop there.

    Returns:
        The mean and its interval over the tasks.
    """
    evaluation = evaluate_with(
        executor,
        network,
        parameters,
        get_method(settings.method),
        data.validation,
        data.validation_shape,
        settings.validation_tasks,
        settings.seed,
        on_tasks=lambda done: on_tasks(),
    )
    return evaluation.accuracies()[-1]


def keep_best(state: TrainingState, validation: Interval) -> TrainingState:
    """Return the state, with its parameters as the best if no epoch before had a better validation."""
    if validation.mean <= state.best_score:
        return state
    return replace(state, best_parameters=state.parameters, best_score=validation.mean, best_iteration=state.iteration)


def learning_rate(settings: ImageSettings, iteration: int) -> float:
    """Return the rate on half a cosine from the initial one to zero after the last (Loshchilov and Hutter 2017)."""
    return settings.learning_rate * (1 + math.cos(math.pi * iteration / settings.iterations)) / 2


def input_memory(network: ImageNetwork) -> Tensor:
    """Return m(x_{l-1}) [layer] of p-Meta, eq. 9: the memory of each layer's input divided by the largest one."""
    memory = torch.tensor([float(layer.input_words) for layer in network.layers])
    return memory / memory.max()


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean of both numbers."""
    losses, accuracies = zip(*scores, strict=True)
    return Score(float(np.mean(losses)), float(np.mean(accuracies)))
