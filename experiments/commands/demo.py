"""``metarl demo``: meta-train on 2D navigation, adapt to new goals, and draw what happened.

At the end a simulated robot, a HalfCheetah, adapts its pretrained controller as a device does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Env
from rich.console import Console
from rich.table import Table

from metarl import api
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.envs.family import Array, TaskFamily
from metarl.envs.registry import get_family
from metarl.experiments.analysis import costs, plots
from metarl.experiments.analysis.animation import animation_limits, write_animation
from metarl.experiments.analysis.costing import device_sentence
from metarl.experiments.analysis.evaluation import returns_table
from metarl.experiments.analysis.rendering import film, play, use_opengl_without_display
from metarl.experiments.analysis.training_views import PolicyView
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.progress import number
from metarl.experiments.console.suggestions import command_line, example_task, task_words
from metarl.experiments.console.training import Plan, follow
from metarl.policies.controller import Controller
from metarl.policies.device.meter import Meter
from metarl.policies.device.step import CHUNK
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load_controller
from metarl.policies.recorder import Recorder
from metarl.rl.evaluation import family_of
from metarl.rl.settings import preset
from metarl.rl.training import PolicyTraining
from metarl.runs import folder as run_folder
from metarl.runs.progress import live_progress

FAMILY = "navigation-2d"
GOALS = ((0.42, 0.28), (-0.12, 0.44), (-0.43, 0.15), (-0.31, -0.36), (0.12, -0.45), (0.4, -0.2))
TASKS = 100
ROBOT = "half-cheetah-velocity"
ROBOT_METHODS = ("p-meta", "maml")  # the first whose controller ships
ROBOT_TASK = {"target_velocity": 1.5}


@dataclass(frozen=True)
class RobotRun:
    """A controller adapted on a robot, mean returns by inner steps, and seconds and peak bytes of the steps."""

    adapted: Controller
    returns: tuple[float, ...]
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Demo:
    """Meta-train MAML on 2D navigation, adapt it to goals that it has not seen, and draw what happened.

    Then adapt the HalfCheetah controller that ships with metarl to a velocity, and film it.
    """

    out: Path = Path("demo")
    """Folder for the pictures; the training gets a new folder run-N in it."""
    iterations: int = 60
    """Meta-iterations."""
    seed: int = 0
    """Seed of the training."""

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, iterations=self.iterations)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal if its arguments cannot be used."""
    command = parse(Demo, arguments, "metarl demo")
    use_opengl_without_display()
    console = Terminal()
    family = get_family(FAMILY)
    folder = next_run(command.out)
    console.print(f"Meta-training MAML on {FAMILY}: a point finds a goal that it cannot see, from rewards alone.")
    settings = preset(FAMILY, iterations=command.iterations, seed=command.seed)
    training = PolicyTraining(family, settings)
    controller = training.controller(follow(Plan(training, folder, PolicyView(training)), console))

    with live_progress(console, TASKS, "unseen goals") as show:
        evaluation = api.evaluate(controller, tasks=TASKS, on_tasks=lambda done: show(done, ""))
    console.print(returns_table(evaluation, family))

    picture = command.out / "trajectories.png"
    table = adapt_to_goals(controller, family, picture)
    console.print(table)
    path = folder / run_folder.CONTROLLER
    console.print(
        f"Pictures: {picture}, {folder / plots.LEARNING_CURVE}\n"
        f"Controller: {path}\n"
        f"Next: {command_line('render', path, '--task', *example_task(family), '--out', command.out / 'episode.gif')}",
        soft_wrap=True,
    )
    show_robot(command.out / "half_cheetah.gif", console)


def show_robot(animation: Path, console: Console) -> None:
    """Adapt a pretrained HalfCheetah controller, print its returns and its cost, and film it."""
    name = next(name for name in (f"{ROBOT}/{method}" for method in ROBOT_METHODS) if name in pretrained_files())
    controller = load_controller(name)
    family = family_of(controller, get_family(ROBOT))
    console.print(
        f"\nAdapting {name}, which ships with metarl, on a robot: {' '.join(task_words(family, ROBOT_TASK))}.",
        soft_wrap=True,
    )
    run = adapt_on_robot(controller, family, ROBOT_TASK)
    episodes = controller.metadata.episodes_per_step
    device = costs.device_record(controller, (), CHUNK) | {"working_bytes": run.peak_bytes}
    console.print(
        f"Return over {episodes} episodes: {number(run.returns[0])} before, {number(run.returns[-1])} after. The "
        f"adaptation took {run.seconds:.2f} s. With {CHUNK} observations in work at a time, a device needs "
        f"{device_sentence(device)}",
        soft_wrap=True,
    )
    write_animation(film(run.adapted, family, ROBOT_TASK, 0, *animation_limits(animation)), animation)
    console.print(f"Animation: {animation}", soft_wrap=True)


def adapt_on_robot(controller: Controller, family: TaskFamily, task: dict[str, float]) -> RobotRun:
    """Take all inner steps, each on episodes recorded before it, then record episodes of the adapted controller.

    The memory is that of the inner steps alone, without the controller and the recorded episodes.
    """
    env, meter, random = family.make_env(), Meter(), generator(0, Purpose.ADAPTATION)
    adapted, returns, seconds = controller, [], 0.0
    for step in range(controller.metadata.inner_steps + 1):
        recorder = record(adapted, env, task, family.horizon, random)
        returns.append(float(np.mean([np.sum(episode["rewards"]) for episode in recorder.episodes])))
        if step < controller.metadata.inner_steps:
            start = time.perf_counter()
            adapted = adapted.adapt(recorder.episodes, step, CHUNK, meter)
            seconds += time.perf_counter() - start
    env.close()
    return RobotRun(adapted, tuple(returns), seconds, meter.peak)


def record(
    controller: Controller, env: Env[Any, Any], task: dict[str, float], horizon: int, random: np.random.Generator
) -> Recorder:
    """Return the episodes of one inner step, recorded as a robot's control loop does.

    Args:
        controller: the policy.
        env: the environment.
        task: the value of each field by name.
        horizon: steps of an episode.
        random: draws the seeds of the episodes and the exploration noise.
    """
    recorder = Recorder(controller, random)
    for _ in range(controller.metadata.episodes_per_step):
        observation, _ = env.reset(seed=int(random.integers(2**31)), options={"task": task})
        for _ in range(horizon):
            observation, reward, terminated, truncated, _ = env.step(recorder.act(observation))
            recorder.reward(float(reward))
            if terminated or truncated:
                break
        recorder.end_episode()
    return recorder


def next_run(out: Path) -> Path:
    """Return the first of ``run-1``, ``run-2``, ... that does not exist; raise Refusal for a folder of other files."""
    if out.exists() and not (out / "run-1").is_dir() and (not out.is_dir() or any(out.iterdir())):
        raise Refusal(f"{out} is there already and was not made by the demo: choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"cannot write to {out}: {error.strerror or error}") from None
    number = 1
    while (out / f"run-{number}").exists():
        number += 1
    return out / f"run-{number}"


def adapt_to_goals(controller: Controller, family: TaskFamily, picture: Path) -> Table:
    """Adapt to each goal, draw the paths before and after, and return the table of returns."""
    table = Table(title="the goals in the picture")
    for heading in ("goal", "return before", "after adaptation"):
        table.add_column(heading, justify="right")
    after = []
    for goal in GOALS:
        task = family.task_dict(np.array(goal))
        adapted, evaluation = api.adapt_and_evaluate(controller, task, family=family)
        returns = evaluation.intervals()
        table.add_row(f"({goal[0]:g}, {goal[1]:g})", number(returns[0].mean), number(returns[-1].mean))
        after.append(paths(adapted, family, task))
    limit = max(abs(bound) for field in family.fields for bound in (field.low, field.high))
    before = paths(controller, family, task)
    plots.write(plots.trajectories(np.array(GOALS), before, after, limit), picture)
    return table


def paths(controller: Controller, family: TaskFamily, task: dict[str, float]) -> tuple[Array, Array]:
    """Return the positions [time, 2], which the policy observes, of episodes with and without exploration noise."""
    env = family.make_env()
    noisy, quiet = (
        np.array([moment.observation for moment in play(controller, env, task, 0, family.horizon, noise)])
        for noise in (generator(0, Purpose.RENDERING), None)
    )
    return noisy, quiet
