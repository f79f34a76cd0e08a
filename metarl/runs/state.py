"""What a training carries from one iteration to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metarl.policies.networks.network import Parameters

FAULTS_IN_A_ROW = 5


@dataclass(frozen=True)
class TrainingState:
    """All that a meta-training carries from one iteration to the next; random numbers follow from ``iteration``."""

    iteration: int  # iterations done
    parameters: Parameters
    moments: Parameters  # Adam's, of the attention modules
    best_parameters: Parameters
    best_score: float  # after adaptation: the mean return of the iterations up to it, or the validation accuracy
    best_iteration: int
    skipped: int = 0  # iterations that left the parameters as they were
    faults_in_a_row: int = 0  # the last of these that met a numerical fault
    recent_returns: tuple[float, ...] = ()  # after adaptation, of the last JUDGED_ON iterations, newest last


def abandon(state: TrainingState) -> TrainingState:
    """The state one iteration on, when that iteration met a numerical fault."""
    return replace(
        state, iteration=state.iteration + 1, skipped=state.skipped + 1, faults_in_a_row=state.faults_in_a_row + 1
    )
