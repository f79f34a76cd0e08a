"""What most users call: train, evaluate, adapt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarl.core.threads import available_threads
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES, get_family
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.loading import load_controller, require_controller
from metarl.policies.methods import get_method
from metarl.rl.evaluation import Evaluation, adapt_to_task, evaluate_tasks, family_of, unseen_tasks
from metarl.rl.settings import TrainSettings, preset, read_config
from metarl.rl.training import PolicyTraining
from metarl.runs.callbacks import Callback
from metarl.runs.run import DEFAULT_CHECKPOINTS, CheckpointSettings, run


def train(
    family: str | TaskFamily,
    *,
    settings: TrainSettings | None = None,
    out: str | Path | None = None,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
    **overrides: Any,
) -> Controller:
    """Meta-train a policy and return the controller of the best iteration.

    Args:
        family: The name of a task family, or a task family of your own.
        settings: All settings; those that suit the family if left out.
        out: A new folder for the run: ``config.json``, ``progress.csv``, ``timings.csv``, TensorBoard events,
            checkpoints that ``resume`` goes on from, and ``controller.safetensors``. None to keep nothing on disk.
        checkpoints: How often a checkpoint is written to ``out``.
        callbacks: What watches the training.
        **overrides: Single settings, e.g. ``iterations=100, seed=1, method="anil"``.

    Returns:
        The controller of the best iteration. ValueError says which argument is impossible; FloatingPointError that
        the simulation or the policy does not give finite numbers any more.
    """
    resolved = resolve(family)
    settings = replace(settings, **overrides) if settings else preset(resolved.name, **overrides)
    training = PolicyTraining(resolved, settings)
    return training.controller(run(training, None if out is None else Path(out), checkpoints, callbacks))


def resume(
    folder: str | Path,
    *,
    family: TaskFamily | None = None,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
) -> Controller:
    """Go on with the run in a folder, from its newest checkpoint to its last iteration.

    On the same machine with the same number of threads this gives the very numbers of a run without interruption.

    Args:
        folder: The run folder.
        family: A task family of your own that cannot be found by name.
        checkpoints: How often a checkpoint is written.
        callbacks: What watches the training.

    Returns:
        The controller of the best iteration. ValueError says why the folder is not that of a run.
    """
    name, settings = read_config(Path(folder))
    training = PolicyTraining(family or get_family(name), settings)
    return training.controller(run(training, Path(folder), checkpoints, callbacks, resume=True))


def evaluate(
    controller: Controller | str | Path,
    *,
    tasks: int = 400,
    seed: int = 1,
    horizon: int | None = None,
    family: TaskFamily | None = None,
    threads: int | None = None,
    on_tasks: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Returns before and after 1..K inner steps on ``tasks`` unseen tasks.

    ``horizon`` is the episodes' if it shall not be the training's. ``family`` is needed for a controller of a task
    family of your own. ``on_tasks`` is told how many tasks are done. ValueError if the controller cannot be adapted.
    """
    if tasks < 1:
        raise ValueError(f"the number of tasks must be at least 1, got {tasks}")
    controller = loaded(controller)
    method = get_method(controller.metadata.method)
    check_adaptable(controller.parameters, controller.network, method, on_device=False)
    if horizon is not None:
        controller = replace(controller, metadata=replace(controller.metadata, horizon=horizon))
    family = family_of(controller, family or trained_on(controller))
    unseen = unseen_tasks(family, tasks, seed)
    return evaluate_tasks(controller, family, unseen, seed, threads or available_threads(), on_tasks)


def adapt(
    controller: Controller | str | Path,
    task: Mapping[str, float],
    *,
    seed: int = 1,
    family: TaskFamily | None = None,
    threads: int | None = None,
) -> Controller:
    """The controller after its inner steps on one task, given by its named values."""
    return adapt_and_evaluate(controller, task, seed=seed, family=family, threads=threads)[0]


def adapt_and_evaluate(
    controller: Controller | str | Path,
    task: Mapping[str, float],
    *,
    seed: int = 1,
    family: TaskFamily | None = None,
    threads: int | None = None,
) -> tuple[Controller, Evaluation]:
    """As ``adapt``, with the returns before and after each inner step."""
    controller = loaded(controller)
    family = family_of(controller, family or trained_on(controller))
    return adapt_to_task(controller, family, task, seed, threads or available_threads())


def trained_on(controller: Controller) -> TaskFamily:
    """The family that the controller names; ValueError if that is none of metarl's.

    A controller's file may come from a stranger, so it alone does not decide which code is imported and called.
    """
    name = controller.metadata.family
    if name not in FAMILIES:
        raise ValueError(
            f"the controller was trained on '{name}', which is no family of metarl: give the family yourself"
        )
    return get_family(name)


def resolve(family: str | TaskFamily) -> TaskFamily:
    """A task family by name, or as given."""
    return get_family(family) if isinstance(family, str) else family


def loaded(controller: Controller | str | Path) -> Controller:
    """A controller from its file, by the name FAMILY/METHOD of one that ships, or as given."""
    return load_controller(controller) if isinstance(controller, str | Path) else require_controller(controller)
