"""What a training carries from one iteration to the next, and what it reports after each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metarl.policies.networks.network import Parameters

FAULTS_IN_A_ROW = 5

Row = dict[str, float | int]  # the cells of a log by column


@dataclass(frozen=True)
class TrainingState:
    """The state of a meta-training after an iteration; its random numbers follow from ``iteration``."""

    iteration: int  # iterations done
    parameters: Parameters
    moments: Parameters  # Adam's
    best_parameters: Parameters
    best_score: float  # the selection score after adaptation: a mean return, or the validation accuracy
    best_iteration: int
    skipped: int = 0  # iterations that left the parameters as they were
    faults_in_a_row: int = 0  # the last of these that met a numerical fault
    recent_returns: tuple[float, ...] = ()  # after adaptation, of the last SELECTION_WINDOW iterations, newest last


@dataclass(frozen=True)
class Step:
    """What a training yields after each iteration.

    ``scalars`` is its row of ``progress.csv`` and ``timings`` that of ``timings.csv``. An iteration that met a
    numerical fault has few scalars, and ``fault`` says what was not finite.
    """

    state: TrainingState
    scalars: Row
    timings: Row
    fault: str = ""


def abandon(state: TrainingState) -> TrainingState:
    """Return the state one iteration on, when that iteration met a numerical fault."""
    return replace(
        state, iteration=state.iteration + 1, skipped=state.skipped + 1, faults_in_a_row=state.faults_in_a_row + 1
    )
