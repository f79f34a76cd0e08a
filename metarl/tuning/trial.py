"""One trial of a search: a training whose running return may prune it, and its judgment on the validation tasks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from metarl.core.errors import NumericalFault
from metarl.rl.training import selection_score
from metarl.runs.callbacks import Callback
from metarl.runs.folder import CONFIG
from metarl.runs.recorder import CheckpointSettings
from metarl.runs.run import run
from metarl.runs.state import Step
from metarl.tuning.search import TRIALS, Search
from metarl.tuning.study import REMARK, as_trial


class Judge(Callback):
    """Reports the running return after adaptation, and stops a training whose trial is to be pruned."""

    def __init__(self, trial: Trial, reported: Sequence[int]) -> None:
        self.trial, self.reported = trial, set(reported)
        self.pruned = bool(reported) and trial.should_prune()  # decided before the process ended, and not yet told

    def on_iteration(self, step: Step) -> bool:
        """Report the return unless it was reported before an interruption; return False to prune."""
        if step.fault:
            return True
        if step.state.iteration not in self.reported:
            self.trial.report(selection_score(step.state.recent_returns), step.state.iteration)
            self.pruned = self.trial.should_prune()
        return not self.pruned


def run_trial(
    folder: Path,
    study: optuna.Study,
    search: Search,
    frozen: FrozenTrial,
    checkpoints: CheckpointSettings,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train and judge a trial, or go on with it, and tell the study how it ended.

    A training that meets numerical faults again and again counts as pruned: such settings are worse than any return.

    Args:
        folder: The search's folder.
        study: Its study.
        search: What is searched.
        frozen: The trial, which this process holds.
        checkpoints: How often the run is saved.
        callbacks: What else watches the training; what they raise leaves the trial to be gone on with.
    """
    judge = Judge(as_trial(study, frozen), list(frozen.intermediate_values))
    value = None
    if not judge.pruned and REMARK not in frozen.user_attrs:
        try:
            value = trained_value(
                search, frozen, folder / TRIALS / str(frozen.number), checkpoints, [judge, *callbacks]
            )
        except NumericalFault as fault:
            judge.trial.set_user_attr(REMARK, str(fault))
    if value is None or judge.pruned:
        study.tell(frozen.number, state=TrialState.PRUNED)
    else:
        study.tell(frozen.number, value)


def trained_value(
    search: Search,
    frozen: FrozenTrial,
    folder: Path,
    checkpoints: CheckpointSettings,
    callbacks: Sequence[Callback],
) -> float | None:
    """Return the value of a trial after its last iteration, None if it was stopped before."""
    training = search.training(frozen.params)
    resume = (folder / CONFIG).is_file()
    if folder.exists() and not resume:
        shutil.rmtree(folder)  # of a process that was killed before the first iteration
    state = run(training, folder, checkpoints, callbacks, resume)
    return search.value(training.controller(state)) if state.iteration == search.settings.iterations else None
