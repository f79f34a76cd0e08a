"""From run folders to one HTML page that needs nothing but itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from metarl.core.atomic import write_atomically
from metarl.experiments.analysis.style import PALETTE
from metarl.experiments.report.chart import inline_svg
from metarl.experiments.report.runs import Run
from metarl.experiments.report.section import Section, section
from metarl.experiments.report.task_returns import TaskReturns, task_returns

# What tells a report from other files, so that only reports are replaced.
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
    """Writes a page about the runs, and returns its path.

    Each policy is evaluated on ``tasks`` unseen tasks drawn with ``seed``, once: its ``evaluation.csv`` keeps
    the returns. ``tasks`` = 0 leaves that out. ``family`` must name the family of runs on one of your own
    (module:attribute) for them to be evaluated. ``on_tasks`` is told how many tasks of all runs are done.
    ValueError says why the page cannot be written; what is missing or damaged in a run is told on the page.
    """
    check_out(out)
    evaluated: dict[Path, TaskReturns] = {}
    remarks: dict[Path, str] = {}
    for index, run in enumerate(run for run in runs if tasks and not run.is_about_images):
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
    """Passes on how many tasks of all runs are done."""
    on_tasks(before + done)


def check_out(out: Path) -> None:
    """ValueError unless the page can be written there; only an older report is replaced."""
    if out.is_dir() or (out.exists() and MARK not in out.read_text(errors="replace")[:1000]):
        raise ValueError(f"{out} is there already and is no report: choose another name with --out")
    if not out.parent.is_dir():
        raise ValueError(f"cannot write {out}: there is no folder {out.parent}")


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
