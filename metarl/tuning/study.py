"""The trials of a search in Optuna's journal, which several processes may share and which outlives them.

A trial is drawn by a seed of its own from the trials before it, and written down with all its values at once. A trial
that is running holds a lock, which the kernel releases when its process ends: whoever finds it free goes on with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from metarl.core.errors import Refusal
from metarl.tuning.search import JOURNAL, LOCK, TRIALS, Search, sampler_seed
from metarl.tuning.space import Dimension, Range, Value

NAME = "metarl"
REMARK = "remark"  # of a trial that met a numerical fault
STARTUP_TRIALS = 5  # that come to their end before the first is pruned
LEAST_WARMUP = 2  # iterations: the first one is that of the untrained policy
FEWEST_FOR_IMPORTANCE = 8  # trials


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: ``complete`` with its value, or ``pruned`` after some iterations at a running return."""

    number: int
    state: str
    value: float | None
    iterations: int
    settings: dict[str, Value]
    remark: str = ""


class JournalLock(JournalFileOpenLock):
    """A lock of the journal that goes with the process; Optuna's own stays for 30 s after a killed one."""

    def __init__(self, path: Path) -> None:
        self.lock = FileLock(path)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.lock.acquire()
        return True

    def release(self) -> None:
        """Give it back."""
        self.lock.release()


def open_study(folder: Path, search: Search) -> optuna.Study:
    """Return the study in a search's folder, which is made if there is none; Refusal if its journal is damaged."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path, lock = folder / JOURNAL, JournalLock(folder / f"{JOURNAL}.lock")
    lock.acquire()
    cut_torn_line(path)
    lock.release()
    warmup = max(LEAST_WARMUP, search.settings.iterations // 5)
    pruner = MedianPruner(STARTUP_TRIALS, warmup) if search.prune else NopPruner()
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        return optuna.create_study(
            storage=storage, study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True
        )
    except (ValueError, KeyError) as error:
        raise Refusal(f"{path} is damaged ({error}): choose another folder with --out") from None


def cut_torn_line(path: Path) -> None:
    """Remove the end of a last line that was not wholly written, as after a power cut."""
    content = path.read_bytes() if path.is_file() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


@contextmanager
def claimed_trial(folder: Path, study: optuna.Study, search: Search, trials: int) -> Iterator[FrozenTrial | None]:
    """Yield a trial that nobody works on, held by a lock: one that was left, or else a new one.

    Args:
        folder: The search's folder.
        study: Its study.
        search: What is searched.
        trials: How many trials the whole search has.

    Yields:
        The trial, None if there is nothing to do: all are done, or others are at work on the last ones.
    """
    with ExitStack() as held:
        with FileLock(folder / LOCK):
            left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            found = next((trial for trial in left if is_free(folder, trial.number, held)), None)
            if found is None and len(study.get_trials(deepcopy=False)) < trials:
                add_trial(study, search)
                found = study.get_trials()[-1]
                if not is_free(folder, found.number, held):
                    raise Refusal(f"trial {found.number} in {folder} is held by a process of another search")
        yield found


def is_free(folder: Path, number: int, held: ExitStack) -> bool:
    """Return whether no living process works on a trial; it is then held until ``held`` closes."""
    lock = FileLock(folder / TRIALS / f"{number}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    held.callback(lock.release)
    return True


def add_trial(study: optuna.Study, search: Search) -> None:
    """Add a running trial with all its values; the first one has the usual ones, if they may be drawn."""
    distributions = {dimension.name: distribution(dimension) for dimension in search.space}
    usual = {dimension.name: getattr(search.settings, dimension.name) for dimension in search.space}
    number = len(study.get_trials(deepcopy=False))
    if number or not all(dimension.holds(usual[dimension.name]) for dimension in search.space):
        values = drawn(study.get_trials(), distributions, sampler_seed(search.settings.seed, number))
        values = {dimension.name: dimension.rounded(values[dimension.name]) for dimension in search.space}
    else:
        values = usual
    study.add_trial(create_trial(state=TrialState.RUNNING, params=values, distributions=distributions))


def drawn(trials: Sequence[FrozenTrial], distributions: dict[str, BaseDistribution], seed: int) -> dict[str, Value]:
    """Return what the tree-structured Parzen estimator draws after ``trials`` (Bergstra et al., NeurIPS 2011)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of older versions: the constant liar
        sampler = TPESampler(seed=seed, constant_liar=True)
    apart = optuna.create_study(direction="maximize", sampler=sampler)
    apart.add_trials(trials)
    return apart.ask(distributions).params


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return a dimension as Optuna has it."""
    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension.ends)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def as_trial(study: optuna.Study, frozen: FrozenTrial) -> Trial:
    """Return what reports the running return of a trial and says whether to prune it."""
    return Trial(study, frozen._trial_id)


def outcomes(study: optuna.Study) -> list[Outcome]:
    """Return the trials that have ended, by number."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [
        Outcome(
            trial.number,
            trial.state.name.lower(),
            trial.value,
            trial.last_step or 0,
            dict(trial.params),
            trial.user_attrs.get(REMARK, ""),
        )
        for trial in ended
    ]


def best_outcome(ended: Sequence[Outcome]) -> Outcome | None:
    """Return the trial with the highest return on the validation tasks, None if none has come to its end."""
    complete = [each for each in ended if each.state == "complete" and each.value is not None]
    return max(complete, key=lambda each: each.value or 0.0, default=None)


def importances(study: optuna.Study) -> dict[str, float]:
    """Return which share of the difference between good trials and all is each setting's; empty if trials are few.

    This is PED-ANOVA (Watanabe et al., IJCAI 2023).
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
