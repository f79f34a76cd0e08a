"""What a meta-iteration on images leaves in the logs of a run."""

from __future__ import annotations

from dataclasses import dataclass

from metarl.core.intervals import Interval
from metarl.images.settings import ImageSettings
from metarl.images.tasks import Score
from metarl.kept_channels import KeptChannels, kept_columns, kept_row
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.network import ImageNetwork
from metarl.runs.logs import seconds_column
from metarl.runs.state import Row, TrainingState

PHASES = ("sampling", "meta-gradient", "adam", "validation")
SCORES = ("loss_before", "loss_after", "accuracy_before", "accuracy_after")
VALIDATION = "validation_accuracy"


@dataclass(frozen=True)
class ImageReport:
    """What one meta-iteration did: means over its tasks, with the parameters before the outer step."""

    before: Score
    after: Score
    learning_rate: float
    kept: KeptChannels | None  # of the last iteration of an epoch alone


def progress_columns(settings: ImageSettings, network: ImageNetwork) -> list[str]:
    """Return the columns of ``progress.csv``.

    Those of the validation, the step sizes and the kept channels are filled after each epoch alone.
    """
    scores = [*SCORES, VALIDATION, f"{VALIDATION}_ci95", "learning_rate", "skipped"]
    kept = kept_columns(get_method(settings.method), network.layer_names, settings.inner_steps)
    return ["iteration", "epoch", *scores, *step_size_columns(settings, network), *kept]


def step_size_columns(settings: ImageSettings, network: ImageNetwork) -> list[str]:
    """Return the columns of the step sizes, by layer and, within a layer, by inner step."""
    numbers = range(1, settings.inner_steps + 1)
    return [f"step_size_{layer}_{number}" for layer in network.layer_names for number in numbers]


def progress_row(
    settings: ImageSettings,
    network: ImageNetwork,
    state: TrainingState,
    report: ImageReport | None,
    validation: Interval | None,
) -> Row:
    """Return the row of ``progress.csv``, where nothing depends on the clock.

    Args:
        settings: The settings of the training.
        network: Its network.
        state: The state after the iteration.
        report: What happened in it, None if a numerical fault ended it.
        validation: The accuracy on the validation tasks, in the last iteration of an epoch alone.

    Returns:
        The cells by column.
    """
    epoch = (state.iteration - 1) // settings.iterations_per_epoch + 1
    row: Row = {"iteration": state.iteration, "epoch": epoch, "skipped": state.skipped}
    if report is not None:
        scores = (report.before.loss, report.after.loss, report.before.accuracy, report.after.accuracy)
        row |= dict(zip(SCORES, scores, strict=True))
        row["learning_rate"] = report.learning_rate
        if report.kept is not None:
            row |= kept_row(report.kept)
    if validation is not None:
        row |= {VALIDATION: validation.mean, f"{VALIDATION}_ci95": validation.ci95}
        step_sizes = state.parameters[STEP_SIZES].mT.flatten().tolist()
        row |= dict(zip(step_size_columns(settings, network), step_sizes, strict=True))
    return row


def timings_columns() -> list[str]:
    """Return the columns of ``timings.csv``."""
    return ["iteration", *map(seconds_column, PHASES)]


def timings_row(state: TrainingState, seconds: dict[str, float]) -> Row:
    """Return the row of ``timings.csv``: seconds by phase."""
    row: Row = {"iteration": state.iteration}
    return row | {seconds_column(phase): spent for phase, spent in seconds.items()}
