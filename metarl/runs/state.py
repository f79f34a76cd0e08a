"""What a training carries from one iteration to the next, and what it reports after each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import is_mask
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


def check_start(kind: str, given: Mapping[str, tuple[object, object]]) -> None:
    """Raise Refusal unless what a training starts from, a ``kind``, agrees with the settings.

    ``given`` maps what is compared to its value there and its value in the settings.
    """
    for what, (mine, wanted) in given.items():
        if mine != wanted:
            raise Refusal(f"the {kind} to start from has the {what} {mine}, and the settings ask for {wanted}")


def with_parameters(state: TrainingState, parameters: Parameters, method: str, wanted: str) -> TrainingState:
    """Return a state before the first iteration with the parameters of something that was trained before.

    Args:
        state: The state to start from without them.
        parameters: The parameters to start from; masks of pruned weights among them stay.
        method: The method that they were trained by.
        wanted: The method that they are to be trained by now.

    Returns:
        The state. Refusal if they are not the parameters that the method trains.
    """
    different = {name for name in parameters if not is_mask(name)} ^ state.parameters.keys()
    if different:
        name = min(different)
        raise Refusal(
            f"what to start from was trained by {method}, and the settings ask for {wanted}: '{name}' is a parameter "
            "of one alone"
        )
    return replace(state, parameters=parameters, best_parameters=parameters)


def abandon(state: TrainingState) -> TrainingState:
    """Return the state one iteration on, when that iteration met a numerical fault."""
    return replace(
        state, iteration=state.iteration + 1, skipped=state.skipped + 1, faults_in_a_row=state.faults_in_a_row + 1
    )
