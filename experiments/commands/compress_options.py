"""What the kinds of ``metarl compress`` share: how controllers are judged, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from metarl.compression.images import image_tasks
from metarl.compression.tasks import Tasks
from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.families import family_for
from metarl.experiments.console.parsing import refuse, require_at_least
from metarl.experiments.console.progress import decoding_line
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
