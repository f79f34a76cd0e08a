"""Meta-training on few-shot images: the loop as a sequence of states, as in reinforcement learning.

There are episodes in place of rollouts, and Adam in place of TRPO.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from metarl.core.clock import Clock
from metarl.core.errors import NumericalFault
from metarl.core.intervals import Interval
from metarl.core.threads import single_threaded_torch
from metarl.core.version import __version__
from metarl.images.evaluation import evaluate_images
from metarl.images.iteration import image_iteration
from metarl.images.logs import progress_columns, progress_row, timings_columns, timings_row
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import ImageData, describe, initial_state, start_from
from metarl.policies.classifier import Classifier
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork, Parameters
from metarl.runs.folder import PROGRESS, TIMINGS
from metarl.runs.state import FAULTS_IN_A_ROW, Step, TrainingState, abandon

FAMILY = "images"  # what config.json and checkpoints name in place of a task family


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
    evaluation = evaluate_images(
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
