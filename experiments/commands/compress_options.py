"""What the kinds of ``metarl compress`` share: how controllers are judged, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from metarl.compression.images import image_tasks
from metarl.compression.judge import Judged, Verdict
from metarl.compression.tasks import Tasks
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.parsing import refuse, require_at_least
from metarl.experiments.console.progress import decoding_line, number
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.rl.evaluation import family_of


@dataclass(frozen=True)
class JudgeOptions:
    """How two controllers are compared."""

    judge_tasks: int = 40
    """Unseen tasks that both controllers adapt to, at least 2."""
    judge_seed: int = 1
    """Seed of these tasks and of the episodes."""
    family: Family = None
    """Task family; needed where the controller was trained on one of your own (module:attribute)."""
    data: Maybe[Path] = None
    """Folder of images; an image network needs it."""
    threads: int = available_threads()
    """Threads of the simulator and of the training."""
    json: Maybe[Path] = None
    """Write the verdict to this file, which must be new."""

    def __post_init__(self) -> None:
        require_at_least(2, judge_tasks=self.judge_tasks)
        require_at_least(0, judge_seed=self.judge_seed)
        require_at_least(1, threads=self.threads)


def tasks_for(controller: Controller | Classifier, options: JudgeOptions, console: Console) -> Tasks:
    """Return what a controller is pruned and judged on; raise Refusal if an option is missing or for the other kind."""
    if isinstance(controller, Classifier):
        refuse(options, "is about policies: leave it out for an image network", "family")
        if options.data is None:
            raise Refusal("an image network is pruned and judged on images: name their folder with --data")
        return image_tasks(controller, options.data, decoding_line(console))
    refuse(options, "is about image networks: leave it out for a policy", "data")
    return family_of(controller, family_for(controller, options.family))


def share(accuracy: float) -> str:
    """Return an accuracy, or a difference of two, with three digits."""
    return f"{accuracy:.3f}"


def tell_verdict(verdict: Verdict, tasks: int, console: Console) -> None:
    """Print a verdict on so many tasks."""
    table = Table("", "before", "after")

    def row(name: str, of: str, judged: tuple[Judged, Judged] = (verdict.before, verdict.after)) -> None:
        values = (getattr(each, of) for each in judged)
        table.add_row(name, *("-" if value is None else f"{value:,}" for value in values))

    row("file, bytes", "file_bytes")
    measure, show = verdict.before.measure, number if verdict.before.measure == "return" else share
    row(f"multiplications of an {'action' if measure == 'return' else 'image'}", "macs")
    row("working memory of an inner step, bytes", "adaptation_bytes")
    for when in ("before", "after"):
        intervals = (getattr(each, f"return_{when}") for each in (verdict.before, verdict.after))
        table.add_row(f"{measure} {when} adaptation", *(f"{show(each.mean)} ± {show(each.ci95)}" for each in intervals))
    console.print(table)
    difference = verdict.paired_difference
    clear = "differs from" if verdict.is_clear else "cannot be told from"
    console.print(
        f"paired difference of the {'returns' if measure == 'return' else 'accuracies'} after adaptation: "
        f"{show(difference.mean)} ± {show(difference.ci95)} "
        f"(95 %, {tasks} tasks), which {clear} zero",
        soft_wrap=True,
    )
