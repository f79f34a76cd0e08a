"""Write the HTML page, which needs no other file and no network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis.style import PALETTE
from metarl.experiments.report.chart import inline_svg
from metarl.experiments.report.runs import Run
from metarl.experiments.report.section import Section, section
from metarl.experiments.report.task_returns import TaskReturns, task_returns

# In every report: files without it are not replaced.
MARK = '<meta name="generator" content="metarl report">'


def write_report(
    runs: Sequence[Run],
    out: Path,
    tasks: int = 400,
    seed: int = 1,
    threads: int = 1,
    family: str | None = None,
    on_tasks: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write a page about runs.

    What is missing or damaged in a run is told on the page.

    Args:
        runs: the runs.
        out: file to write; only an older report is replaced.
        tasks: unseen tasks that each policy is evaluated on, none for 0. Its ``evaluation.csv`` keeps the returns.
        seed: of the unseen tasks.
        threads: of the evaluation.
        family: the family of runs on one of the user's own (module:attribute), which are not evaluated without it.
        on_tasks: called with the number of tasks that are done, of all runs.

    Returns:
        ``out``. Raise Refusal if the page cannot be written.
    """
    check_out(out)
    evaluated: dict[Path, TaskReturns] = {}
    remarks: dict[Path, str] = {}
    for index, run in enumerate(run for run in runs if tasks and not run.is_on_images):
        try:
            evaluated[run.folder] = task_returns(
                run, tasks, seed, threads, family, partial(tell, on_tasks, index * tasks)
            )
        except (ValueError, FloatingPointError) as error:
            remarks[run.folder] = f"{run.name} was not evaluated: {error}"
            warnings.warn(remarks[run.folder], stacklevel=2)
        on_tasks((index + 1) * tasks)
    topics: dict[str, list[Run]] = {}
    for run in runs:
        topics.setdefault(run.topic, []).append(run)
    sections = [
        section(
            members,
            {run.name: evaluated[run.folder] for run in members if run.folder in evaluated},
            [remarks[run.folder] for run in members if run.folder in remarks],
        )
        for members in topics.values()
    ]
    write_atomically(out, render(sections).encode())
    return out


def tell(on_tasks: Callable[[int], None], before: int, done: int) -> None:
    """Tell how many tasks of all runs are done."""
    on_tasks(before + done)


def check_out(out: Path) -> None:
    """Raise Refusal unless the page can be written there; only an older report is replaced."""
    if out.is_dir() or (out.exists() and MARK not in out.read_text(errors="replace")[:1000]):
        raise Refusal(f"{out} is there already and is no report: choose another name with --out")
    if not out.parent.is_dir():
        raise Refusal(f"cannot write {out}: there is no folder {out.parent}")


def render(sections: Sequence[Section]) -> str:
    """Return the page. Everything that comes from runs is escaped."""
    environment = Environment(
        loader=PackageLoader("metarl.experiments.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count()
    environment.filters["svg"] = lambda chart: inline_svg(chart, salt=str(next(numbers)))
    most_groups = max(len(section.groups) for section in sections)
    return environment.get_template("page.html").render(sections=sections, most_groups=most_groups, palette=PALETTE)
