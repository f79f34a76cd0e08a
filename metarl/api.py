"""What most users call: train, evaluate, adapt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from metarl.compression.bases.search import find_bases, require_codable
from metarl.compression.bases.settings import BasisSettings
from metarl.compression.images import image_tasks
from metarl.compression.integers import IntegerSettings, require_floats, to_integers
from metarl.compression.nest_settings import NestSettings
from metarl.compression.nesting import nest as train_nested
from metarl.compression.rounds import prune_in_rounds
from metarl.compression.settings import PruneSettings
from metarl.compression.tasks import Tasks
from metarl.core.errors import Refusal
from metarl.core.settings import check_names
from metarl.core.threads import available_threads
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES, get_family
from metarl.fleet.federated.rounds import Outcome
from metarl.fleet.federated.rounds import federate as run_rounds
from metarl.fleet.federated.run import IMAGES, population_of, read_names
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.loading import load, load_controller, load_start, require_controller
from metarl.policies.methods import get_method
from metarl.policies.nested import Nested
from metarl.rl.checking import Check, check_adaptation
from metarl.rl.evaluation import (
    MOST_TASKS,
    Evaluation,
    adapt_to_task,
    evaluate_tasks,
    family_of,
    grid_of_tasks,
    unseen_tasks,
)
from metarl.rl.settings import TrainSettings, preset, read_config, with_overrides
from metarl.rl.training import PolicyTraining
from metarl.rl.variation import varied
from metarl.runs.callbacks import Callback
from metarl.runs.recorder import CheckpointSettings
from metarl.runs.run import DEFAULT_CHECKPOINTS, run
from metarl.workers.ray_pool import RayCluster


def train(
    family: str | TaskFamily,
    *,
    settings: TrainSettings | None = None,
    out: str | Path | None = None,
    init: Controller | str | Path | None = None,
    init_normalization: str | Path | None = None,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
    cluster: RayCluster | None = None,
    **overrides: Any,
) -> Controller:
    """Meta-train a policy and return the controller of the best iteration.

    Args:
        family: The name of a task family, or a task family of your own.
        settings: All settings; those that suit the family and the method if left out.
        out: A new folder for the run: ``config.json``, ``progress.csv``, ``timings.csv``, TensorBoard events,
            checkpoints that ``resume`` goes on from, and ``controller.safetensors``. None to keep nothing on disk.
        init: What to start from: a controller with the parameters that the settings ask for, its file, or the ``.zip``
            that PPO of Stable-Baselines3 saved; random parameters if left out.
        init_normalization: The file that VecNormalize of Stable-Baselines3 saved beside the ``.zip``.
        checkpoints: How often a checkpoint is written to ``out``.
        callbacks: What watches the training.
        cluster: A Ray cluster whose workers hold the tasks, with ``threads`` threads each; this process if left out.
        **overrides: Single settings, e.g. ``iterations=100, seed=1, method="anil"``.

    Returns:
        The controller of the best iteration. ValueError says which argument is impossible; FloatingPointError that
        the simulation or the policy does not give finite numbers any more.
    """
    resolved = resolve(family)
    settings = preset(resolved.name, **overrides) if settings is None else with_overrides(settings, overrides)
    training = PolicyTraining(resolved, settings, load_start(init, init_normalization), cluster)
    return training.controller(run(training, None if out is None else Path(out), checkpoints, callbacks))


def resume(
    folder: str | Path,
    *,
    iterations: int | None = None,
    family: TaskFamily | None = None,
    checkpoints: CheckpointSettings = DEFAULT_CHECKPOINTS,
    callbacks: Sequence[Callback] = (),
    cluster: RayCluster | None = None,
) -> Controller:
    """Go on with the run in a folder, from its newest checkpoint to its last iteration.

    On the same machine with the same number of threads this gives the very numbers of a run without interruption.

    Args:
        folder: The run folder.
        iterations: The iterations of the whole run, if they are to be others than it was begun with.
        family: A task family of your own that cannot be found by name.
        checkpoints: How often a checkpoint is written.
        callbacks: What watches the training.
        cluster: A Ray cluster whose workers hold the tasks; this process if left out.

    Returns:
        The controller of the best iteration. ValueError says why the folder is not that of a run.
    """
    name, settings = read_config(Path(folder))
    if iterations is not None:
        settings = replace(settings, iterations=iterations)
    training = PolicyTraining(family or get_family(name), settings, cluster=cluster)
    return training.controller(run(training, Path(folder), checkpoints, callbacks, resume=True))


def evaluate(
    controller: Controller | str | Path,
    *,
    tasks: int = 400,
    grid: int | None = None,
    seed: int = 1,
    horizon: int | None = None,
    episodes: int | None = None,
    inner_steps: int | None = None,
    deterministic: bool = False,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
    on_tasks: Callable[[int], None] = lambda done: None,
    cluster: RayCluster | None = None,
) -> Evaluation:
    """Adapt a controller to unseen tasks and return its returns before and after each inner step.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        tasks: Number of unseen tasks.
        grid: Number of targets on an even grid, in place of unseen tasks, for a family with one task field.
        seed: Seed of the tasks and of the episodes.
        horizon: Time steps of an episode; as in the training if left out.
        episodes: Episodes of an inner step and of each evaluation; as in the training if left out.
        inner_steps: Inner steps; as in the training if left out. Steps beyond them repeat the last.
        deterministic: Whether to evaluate the mean or most likely actions, without exploration noise.
        family: The tasks' family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator and of the adaptation; all cores if left out.
        on_tasks: Is told how many tasks are done.
        cluster: A Ray cluster whose workers adapt to the tasks, with ``threads`` threads each; this process if left
            out.

    Returns:
        The returns. ValueError says why the controller cannot be adapted, or which number is impossible.
    """
    for what, count in (("tasks", tasks), ("targets", tasks if grid is None else grid)):
        if not 1 <= count <= MOST_TASKS:
            raise Refusal(f"the number of {what} must be at least 1 and at most {MOST_TASKS}, got {count}")
    controller = varied(loaded(controller), horizon, episodes, inner_steps)
    method = get_method(controller.metadata.method)
    check_adaptable(controller.parameters, controller.network, method, on_device=False)
    resolved = family_of(controller, trained_on(controller) if family is None else resolve(family))
    chosen = unseen_tasks(resolved, tasks, seed) if grid is None else grid_of_tasks(resolved, grid)
    threads = threads or available_threads()
    return evaluate_tasks(controller, resolved, chosen, seed, threads, on_tasks, deterministic, cluster)


def adapt(
    controller: Controller | str | Path,
    task: Mapping[str, float],
    *,
    seed: int = 1,
    horizon: int | None = None,
    episodes: int | None = None,
    inner_steps: int | None = None,
    check: int | None = None,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
) -> Controller:
    """Adapt a controller to one task and return it.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        task: The task's named values, e.g. ``{"target_velocity": 1.5}``.
        seed: Seed of the episodes.
        horizon: Time steps of an episode; as in the training if left out.
        episodes: Episodes of an inner step; as in the training if left out.
        inner_steps: Inner steps; as in the training if left out. Steps beyond them repeat the last.
        check: Fresh episodes before and after the adaptation, to keep the better controller; none if left out.
        family: The task's family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator; all cores if left out.

    Returns:
        The controller after its inner steps, or the one before if the check tells that it is better. ValueError says
        what is wrong with the task or the controller.
    """
    controller = varied(loaded(controller), horizon, episodes, inner_steps)
    adapted, _ = adapt_and_evaluate(controller, task, seed=seed, family=family, threads=threads)
    if check is None:
        return adapted
    compared = compare(controller, adapted, check, seed=seed, family=family, threads=threads)
    return adapted if compared.keeps_adapted else controller


def adapt_and_evaluate(
    controller: Controller | str | Path,
    task: Mapping[str, float],
    *,
    seed: int = 1,
    horizon: int | None = None,
    episodes: int | None = None,
    inner_steps: int | None = None,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
) -> tuple[Controller, Evaluation]:
    """Adapt a controller to one task; return it and the returns before and after each inner step.

    The arguments are those of ``adapt``.
    """
    controller = varied(loaded(controller), horizon, episodes, inner_steps)
    resolved = family_of(controller, trained_on(controller) if family is None else resolve(family))
    return adapt_to_task(controller, resolved, task, seed, threads or available_threads())


def compare(
    before: Controller,
    after: Controller,
    episodes: int,
    *,
    seed: int = 1,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
) -> Check:
    """Run a controller before and after its adaptation on fresh episodes of the task it was adapted to.

    Args:
        before: The controller that was adapted.
        after: The controller after its inner steps, by ``adapt``.
        episodes: Fresh episodes of each, at least 2.
        seed: Seed of the episodes.
        family: The task's family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator; all cores if left out.

    Returns:
        The returns of both. ValueError says which number is impossible.
    """
    resolved = family_of(before, trained_on(before) if family is None else resolve(family))
    return check_adaptation(before, after, resolved, episodes, seed, threads or available_threads())


@overload
def prune(controller: Classifier, *, data: str | Path, **settings: Any) -> Classifier: ...


@overload
def prune(controller: Controller, **settings: Any) -> Controller: ...


@overload
def prune(controller: str | Path, **settings: Any) -> Controller | Classifier: ...


def prune(
    controller: Controller | Classifier | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Controller | Classifier:
    """Remove weights of a meta-trained controller so that it still adapts (ANP), and return it.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        data: The folder of an image network's images; of image networks alone.
        out: A folder for the outcome of each round, new or of the same pruning, which then goes on. None to keep
            nothing on disk.
        family: The tasks' family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator and of the training; all cores if left out.
        **settings: Those of ``metarl.compression.settings.PruneSettings``, e.g. ``sparsity=0.9, rounds=5``.

    Returns:
        The pruned controller. ValueError says what is wrong with the controller, the folder or a setting.
    """
    check_names(PruneSettings, settings)
    controller = load(controller) if isinstance(controller, str | Path) else controller
    asked, folder = PruneSettings(**settings), None if out is None else Path(out)
    tasks = tasks_for(controller, data, family, "pruned")
    return prune_in_rounds(controller, tasks, asked, threads or available_threads(), folder)


def federate(
    family: str | TaskFamily,
    *,
    init: Controller | Classifier | str | Path | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Outcome:
    """Train on the data of many clients that hold integers and return gradients (FedAQT), all computed here.

    Args:
        family: The task family of robots, or its name; ``"images"`` for clients that hold images of a folder.
        init: What the server starts with: a controller, its file, its run's folder, or the name FAMILY/METHOD of one
            that ships. If left out, random parameters of a policy, or a network trained on the server's own images.
        out: A folder for checkpoints, log and controller, new or of the same federation, which then goes on. None to
            keep nothing on disk.
        **settings: Those of ``metarl.fleet.federated.settings.FederationSettings`` and of its clients,
            ``metarl.fleet.federated.robots.RobotSettings`` or ``metarl.fleet.federated.images.ImageClientSettings``,
            e.g. ``bits=4, relay=True, rounds=50``.

    Returns:
        The controller as clients hold it, what it reaches, and the log of the rounds. ValueError says what is wrong
        with a setting, the folder or what to start from.
    """
    name = family if isinstance(family, str) else family.name
    asked, own = read_names(name, settings)
    begun = load(init) if isinstance(init, str | Path) else init
    resolved = None if name == IMAGES else resolve(family)
    with population_of(resolved, asked, own, begun) as population:
        return run_rounds(population, asked, None if out is None else Path(out))


def nest(
    controller: Controller | Classifier | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Nested:
    """Train several sparse subnets of a meta-trained controller in one table (DRESS), and return them.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        data: The folder of an image network's images; of image networks alone.
        out: A folder for the state after each epoch, new or of the same nesting, which then goes on. None to keep
            nothing on disk.
        family: The tasks' family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator and of the training; all cores if left out.
        **settings: Those of ``metarl.compression.nest_settings.NestSettings``, e.g. ``sparsities=(0.5, 0.9)``.

    Returns:
        The nested controller, whose ``subnet(1)`` is the densest. ValueError says what is wrong with the controller,
        the folder or a setting.
    """
    check_names(NestSettings, settings)
    controller = load(controller) if isinstance(controller, str | Path) else controller
    asked, folder = NestSettings(**settings), None if out is None else Path(out)
    tasks = tasks_for(controller, data, family, "nested")
    return train_nested(controller, tasks, asked, threads or available_threads(), folder)


def int8(
    controller: Controller | str | Path,
    *,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Controller:
    """Return a meta-trained policy with int8 weights and activations, which acts and adapts in integers.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        family: The tasks' family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator and of the adaptation; all cores if left out.
        **settings: Those of ``metarl.compression.integers.IntegerSettings``, e.g. ``gradient_bits=16``.

    Returns:
        The controller of integers. ValueError says what is wrong with the controller or a setting.
    """
    check_names(IntegerSettings, settings)
    asked, controller = IntegerSettings(**settings), require_floats(loaded(controller))
    resolved = family_of(controller, trained_on(controller) if family is None else resolve(family))
    return to_integers(controller, resolved, asked, threads or available_threads())


def bases(
    controller: Controller | str | Path,
    *,
    family: str | TaskFamily | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Controller:
    """Return a meta-trained policy whose weights are binary bases, a bit or two each, which adapts coordinates.

    Args:
        controller: A controller, its file, its run's folder, or the name FAMILY/METHOD of one that ships.
        family: The tasks' family or its name; needed if the controller was trained on a family of your own.
        threads: Threads of the simulator and of the training; all cores if left out.
        **settings: Those of ``metarl.compression.bases.settings.BasisSettings``, e.g. ``bits=1.0``.

    Returns:
        The controller of binary bases. ValueError says what is wrong with the controller or a setting.
    """
    check_names(BasisSettings, settings)
    asked = BasisSettings(**settings)
    controller = require_codable(loaded(controller), asked)
    resolved = family_of(controller, trained_on(controller) if family is None else resolve(family))
    return find_bases(controller, resolved, asked, threads or available_threads())


def tasks_for(
    controller: Controller | Classifier, data: str | Path | None, family: str | TaskFamily | None, done: str
) -> Tasks:
    """Return what a controller is compressed on.

    Args:
        controller: The controller.
        data: The folder of an image network's images.
        family: The family of a policy's tasks or its name; None for that of its training.
        done: What is done to it, in the sentence of a refusal: ``pruned``.

    Raises:
        Refusal: An argument is missing or for the other kind of controller.
    """
    if isinstance(controller, Classifier):
        if data is None or family is not None:
            raise Refusal(f"an image network is {done} on images: give their folder as data, and no family")
        return image_tasks(controller, Path(data))
    if data is not None:
        raise Refusal("data is about image networks: leave it out for a policy")
    policy = require_controller(controller)
    return family_of(policy, trained_on(policy) if family is None else resolve(family))


def trained_on(controller: Controller) -> TaskFamily:
    """Return the family that the controller names; raise Refusal if that is none of metarl's.

    A controller's file may come from a stranger, so it alone does not decide which code is imported and called.
    """
    name = controller.metadata.family
    if name not in FAMILIES:
        raise Refusal(f"the controller was trained on '{name}', which is no family of metarl: give the family yourself")
    return get_family(name)


def resolve(family: str | TaskFamily) -> TaskFamily:
    """Return a task family by name, or as given; raise Refusal for anything else."""
    if not isinstance(family, str | TaskFamily):
        raise Refusal(f"a task family is a name or a TaskFamily, got {family!r}")
    return get_family(family) if isinstance(family, str) else family


def loaded(controller: Controller | str | Path) -> Controller:
    """Return a controller from its file, by the name FAMILY/METHOD of one that ships, or as given."""
    return load_controller(controller) if isinstance(controller, str | Path) else require_controller(controller)
