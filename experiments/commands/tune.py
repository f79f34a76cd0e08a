"""``metarl tune``: search for the settings that suit a task family, and write them as a preset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from filelock import FileLock
from rich.table import Table

from metarl.core.distribution import install_command
from metarl.core.errors import NumericalFault
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.training_views import PolicyView
from metarl.experiments.console.constructors import FieldWords
from metarl.experiments.console.families import family_by_name, first_word, word_after
from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.progress import number
from metarl.experiments.console.suggestions import command_line
from metarl.experiments.console.training import Display
from metarl.policies.methods import METHODS
from metarl.rl.settings import TrainSettings, preset
from metarl.runs.progress import live_progress
from metarl.runs.recorder import CheckpointSettings
from metarl.tuning.search import LOCK, PRESET, Search, open_folder
from metarl.tuning.space import parse_space, shown, usual_space

if TYPE_CHECKING:
    from metarl.tuning.study import Outcome

DESCRIPTION = (
    "Search for the settings that suit a task family: train again and again with others, and judge each training on "
    "validation tasks of its own.\n\n"
    "The best settings are written as a preset: metarl train FAMILY --preset OUT/preset.json.\n\n"
    "The same command goes on with a search that was interrupted; run it several times at once to share the trials.\n\n"
    f"Task families: {', '.join(FAMILIES)}.\n\nMethods: {', '.join(METHODS)}."
)
MOST_ROWS = 10  # of the table on the terminal


@dataclass(frozen=True)
class Tune:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family, the first word: one of those above, gym:ID with --field, or module:attribute for your own."""
    out: Path
    """Folder of the search; if it holds this search already, that goes on."""
    settings: Annotated[TrainSettings, tyro.conf.OmitArgPrefixes]
    """The settings that all trials share, with the values that suit the task family and the method."""
    trials: int = 40
    """Trials of the whole search; more may be asked for later."""
    search: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=LOW:HIGH[:log] [...]", help_behavior_hint="")] = ()
    """Settings to search, each with its range, or with its choices as NAME=VALUE/VALUE; what suits the method if left
    out."""
    prune: bool = True
    """Stop a trial whose running return is below the median of the trials before it."""
    validation_tasks: int = 40
    """Tasks that judge each trial, which no training and no evaluation draws."""
    fields: FieldWords = ()
    """Numbers of the environment gym:ID that make a task, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. g=5:15."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often each run is saved."""

    def __post_init__(self) -> None:
        require_at_least(1, trials=self.trials, validation_tasks=self.validation_tasks)


def main(arguments: Sequence[str]) -> None:
    """Run the command; Refusal says what is wrong with its arguments."""
    command = parse_tune(arguments)
    search = search_of(command)
    ended = followed(command, search, Terminal())
    report(command, search, ended, Terminal())


def parse_tune(arguments: Sequence[str]) -> Tune:
    """Return the command; the settings that suit the family, its first word, and the method are the defaults."""
    family, method = first_word(arguments, "metarl tune"), word_after("--method", arguments)
    settings = preset(family, **{"method": method} if method else {})
    default = Tune(family=tyro.MISSING, out=tyro.MISSING, settings=settings)
    return parse(Tune, arguments, "metarl tune", default, DESCRIPTION)


def search_of(command: Tune) -> Search:
    """Return what is searched; Refusal if it cannot be."""
    space = parse_space(command.search) or usual_space(command.settings)
    family = family_by_name(command.family, command.fields)
    search = Search(family, command.settings, space, command.validation_tasks, command.prune)
    search.check()
    return search


def followed(command: Tune, search: Search, console: Terminal) -> list[Outcome]:
    """Work on the trials of a search until there is nothing left to do, and return those that have ended."""
    from metarl.tuning.results import write_results
    from metarl.tuning.study import claimed_trial, open_study, outcomes
    from metarl.tuning.trial import run_trial

    open_folder(command.out, search)
    study = open_study(command.out, search)
    with interruptible() as check:
        while True:
            with claimed_trial(command.out, study, search, command.trials) as trial:
                if trial is None:
                    return outcomes(study)
                name = f"trial {trial.number} of {command.trials}"
                console.print(f"{name}: {settings_text(trial.params)}", soft_wrap=True)
                view = PolicyView(search.training(trial.params))
                try:
                    with live_progress(console, search.settings.iterations, "meta-iterations") as show:
                        run_trial(command.out, study, search, trial, command.checkpoints, [Display(view, show, check)])
                except Interrupted as interrupted:
                    raise Interrupted(interrupted.number, "interrupted; the same command goes on") from None
            with FileLock(command.out / LOCK):
                ended = outcomes(study)
                write_results(command.out, search, ended)
            console.print(ending(name, next(each for each in ended if each.number == trial.number)), soft_wrap=True)


def report(command: Tune, search: Search, ended: Sequence[Outcome], console: Terminal) -> None:
    """Print the best trials and where the preset is, and draw all of them."""
    from metarl.tuning.study import best_outcome

    if len(ended) < command.trials:
        console.print(f"Other processes are at work on {command.trials - len(ended)} more of {command.trials} trials.")
    best = best_outcome(ended)
    if best is None:
        raise NumericalFault("no trial came to its end, so that there is no preset: see trials.csv")
    draw(command, search, ended)
    console.print(best_trials(search, ended))
    console.print(f"Best: trial {best.number}, return {number(best.value or 0.0)} on the validation tasks.")
    train = command_line("train", search.family.name, "--preset", command.out / PRESET)
    console.print(f"Next: {train}", soft_wrap=True)


def draw(command: Tune, search: Search, ended: Sequence[Outcome]) -> None:
    """Draw the history and the importances if matplotlib is installed."""
    from metarl.tuning.study import importances, open_study

    try:
        from metarl.experiments.analysis import plots, tuning_plot
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        warnings.warn(f"the search is not drawn: it needs {install_command('report')}", stacklevel=2)
        return
    shares = importances(open_study(command.out, search))
    figure = tuning_plot.search_plot(ended, shares, f"{search.family.name}, {search.settings.method}")
    plots.write(figure, command.out / tuning_plot.SEARCH_PLOT)


def best_trials(search: Search, ended: Sequence[Outcome]) -> Table:
    """Return the best trials as a table, those that were pruned last."""
    table = Table()
    for heading in ("trial", "state", "return", *(dimension.name for dimension in search.space)):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    ranked = sorted(ended, key=lambda each: (each.state != "complete", -(each.value or 0.0)))
    for each in ranked[:MOST_ROWS]:
        value = "" if each.value is None else number(each.value)
        table.add_row(str(each.number), each.state, value, *map(shown, each.settings.values()))
    return table


def ending(name: str, outcome: Outcome) -> str:
    """Return how a trial ended."""
    if outcome.state == "complete":
        return f"{name}: return {number(outcome.value or 0.0)} on the validation tasks"
    return f"{name}: pruned after {outcome.iterations} iterations{f', {outcome.remark}' if outcome.remark else ''}"


def settings_text(values: dict[str, float]) -> str:
    """Return what a trial is made with, e.g. "step_size 0.1, max_kl 0.01"."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())
