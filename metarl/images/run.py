"""A meta-training on few-shot images that lives in a folder: logged, checkpointed, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from metarl.core.version import __version__
from metarl.images.settings import ImageSettings, build_network
from metarl.images.training import ImageData, ImageStep, initial_state, train_on_images
from metarl.kept_channels import kept_columns, kept_row
from metarl.policies.classifier import Classifier
from metarl.policies.files.classifier_metadata import ClassifierMetadata
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.runs import folder as run_folder
from metarl.runs.run import CheckpointSettings, Training, begin, resume
from metarl.runs.state import TrainingState

FAMILY = "images"  # what config.json and checkpoints name in place of a task family
PHASES = ("sampling", "meta-gradient", "adam", "validation")
SCORES = ("loss_before", "loss_after", "accuracy_before", "accuracy_after")
VALIDATION = ("validation_accuracy", "validation_accuracy_ci95")
# Image networks are large beside policies, and their iterations longer: the clock decides.
IMAGE_CHECKPOINTS = CheckpointSettings(checkpoint_iterations=1000)


def start_image_run(
    folder: Path,
    settings: ImageSettings,
    data: ImageData,
    checkpoints: CheckpointSettings,
    on_iteration: Callable[[ImageStep], None] = lambda step: None,
    on_phase: Callable[[], None] = lambda: None,
) -> Classifier:
    """A new run in a folder that is empty or not there yet; returns the classifier of the best epoch.

    An exception that ``on_iteration`` or ``on_phase`` raises ends it, and the run can be resumed.
    """
    run_folder.create(folder, FAMILY, settings)
    return begin(folder, few_shot_images(folder, settings, data, on_iteration, on_phase), checkpoints)


def resume_image_run(
    folder: Path,
    settings: ImageSettings,
    data: ImageData,
    checkpoints: CheckpointSettings,
    on_iteration: Callable[[ImageStep], None] = lambda step: None,
    on_phase: Callable[[], None] = lambda: None,
) -> Classifier:
    """Goes on from the newest checkpoint that is whole, to the very numbers of a run that was never interrupted."""
    return resume(folder, few_shot_images(folder, settings, data, on_iteration, on_phase), checkpoints)


def is_image_run(folder: Path) -> bool:
    """Whether the run in the folder is about images; ValueError if it holds no run."""
    return run_folder.parse_config(folder, lambda content: bool(content["family"] == FAMILY))


def read_image_config(folder: Path) -> ImageSettings:
    """The settings of a run; ValueError says why the folder is none."""

    def parse(content: dict[str, Any]) -> ImageSettings:
        settings = content["settings"]
        return ImageSettings(**settings | {"data": Path(settings["data"])})

    return run_folder.parse_config(folder, parse)


def few_shot_images(
    folder: Path,
    settings: ImageSettings,
    data: ImageData,
    on_iteration: Callable[[ImageStep], None],
    on_phase: Callable[[], None],
) -> Training[ImageStep, Classifier]:
    """Meta-training on images, as a run folder sees it."""

    def keep(state: TrainingState) -> Classifier:
        classifier = best_classifier(settings, state)
        classifier.save(folder / run_folder.CONTROLLER, overwrite=True)
        return classifier

    return Training(
        family=FAMILY,
        method=settings.method,
        beginning=lambda: initial_state(settings),
        go_on=lambda state: train_on_images(settings, data, state, on_phase),
        columns={
            run_folder.PROGRESS: progress_columns(settings),
            run_folder.TIMINGS: ["iteration", *map(run_folder.column, PHASES)],
        },
        rows=partial(log_rows, settings),
        keep=keep,
        on_iteration=on_iteration,
    )


def progress_columns(settings: ImageSettings) -> list[str]:
    """The columns of ``progress.csv``.

    Those of the validation, the step sizes and the kept channels are filled after each epoch alone.
    """
    scores = [*SCORES, *VALIDATION, "learning_rate", "skipped"]
    kept = kept_columns(get_method(settings.method), build_network(settings).layer_names, settings.inner_steps)
    return ["iteration", "epoch", *scores, *step_size_columns(settings), *kept]


def step_size_columns(settings: ImageSettings) -> list[str]:
    """By layer, and of each by inner step."""
    numbers = range(1, settings.inner_steps + 1)
    return [f"step_size_{layer}_{number}" for layer in build_network(settings).layer_names for number in numbers]


def log_rows(settings: ImageSettings, step: ImageStep) -> dict[str, run_folder.Row]:
    """The row of ``progress.csv``, where nothing depends on the clock, and that of ``timings.csv``."""
    iteration = step.state.iteration
    epoch = (iteration - 1) // settings.iterations_per_epoch + 1
    progress: run_folder.Row = {"iteration": iteration, "epoch": epoch, "skipped": step.state.skipped}
    if step.report is not None:
        report = step.report
        scores = (report.before.loss, report.after.loss, report.before.accuracy, report.after.accuracy)
        progress |= dict(zip(SCORES, scores, strict=True))
        progress["learning_rate"] = report.learning_rate
        if report.kept is not None:
            progress |= kept_row(report.kept)
    if step.validation is not None:
        progress |= dict(zip(VALIDATION, (step.validation.mean, step.validation.ci95), strict=True))
        step_sizes = step.state.parameters[STEP_SIZES].mT.flatten().tolist()
        progress |= dict(zip(step_size_columns(settings), step_sizes, strict=True))
    timings: run_folder.Row = {"iteration": iteration}
    timings |= {run_folder.column(phase): spent for phase, spent in step.seconds.items()}
    return {run_folder.PROGRESS: progress, run_folder.TIMINGS: timings}


def best_classifier(settings: ImageSettings, state: TrainingState) -> Classifier:
    """The classifier of the epoch with the best validation so far, the untrained one before the first."""
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
    return Classifier(parameters, build_network(settings), metadata)
