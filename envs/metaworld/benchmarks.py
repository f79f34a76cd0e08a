"""Meta-World's benchmarks as families: ``metaworld:reach-v3``, any other of its ML1 tasks, and ``metaworld:ml10``.

A name that ends in ``-test`` has the benchmark's test tasks in place of its training tasks. The goals are Meta-World's
own, 50 of each environment, which it draws from SEED (McLean et al. 2025, arXiv 2505.11289).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np

from metarl.core.errors import Refusal
from metarl.envs.family import Simulator, TaskFamily, TaskField
from metarl.envs.from_gymnasium.definition import task_family
from metarl.envs.from_gymnasium.source import Env, Task
from metarl.envs.metaworld.rewards import REWARDS

PREFIX = "metaworld:"
TEST = "-test"
ML10 = "ml10"
SEED = 0  # of the goals, so that they are the same in every run
HORIZON = 500  # Meta-World's own
MISSING = (
    "the families of Meta-World need its package: pip install 'metarl[metaworld]', then pip install --no-deps "
    "metaworld==3.1.1, for it asks for an older MuJoCo than metarl's"
)
WELD_NUMBERS = 11  # of a row of eq_data that Meta-World writes; MuJoCo 3.17 made the row one longer


def metaworld_family(name: str) -> TaskFamily:
    """Return the family that a name like ``metaworld:reach-v3-test`` means; raise Refusal if there is none."""
    chosen = name.removeprefix(PREFIX)
    test, benchmark = chosen.endswith(TEST), chosen.removesuffix(TEST)
    known = load().ML1.ENV_NAMES
    if benchmark != ML10 and benchmark not in known:
        raise Refusal(
            f"unknown task family '{name}': after {PREFIX} comes {ML10} or one of {', '.join(known)}, with {TEST} "
            f"behind it for the test tasks"
        )
    tasks = tasks_of(benchmark, test)
    goals = len(tasks[0])
    fields = [TaskField("goal", 0, goals - 1, choices=tuple(range(goals)))]
    if len(tasks) > 1:
        fields.insert(0, TaskField("environment", 0, len(tasks) - 1, choices=tuple(range(len(tasks)))))
    family = task_family(name, partial(Goals, tasks), fields, HORIZON)
    if benchmark not in REWARDS:
        return family

    def make_simulator(threads: int) -> Simulator:
        from metarl.envs.metaworld.sawyer import SawyerSimulator  # needs MuJoCo

        make = load().env_dict.ALL_V3_ENVIRONMENTS[benchmark]
        return SawyerSimulator(tasks[0], make, REWARDS[benchmark], threads)

    return replace(family, make_simulator=make_simulator, episode_bytes=0)


ONE_WELD = '<mujoco><worldbody><body name="a"/></worldbody><equality><weld body1="a"/></equality></mujoco>'


@cache
def load() -> Any:
    """Return the package metaworld, mended where MuJoCo is newer than it knows; raise Refusal if it is missing."""
    try:
        package = import_module("metaworld")
    except ModuleNotFoundError as missing:
        if missing.name not in ("metaworld", "scipy", "imageio"):
            raise
        raise Refusal(MISSING) from missing
    import mujoco

    if mujoco.MjModel.from_xml_string(ONE_WELD).eq_data.shape[1] > WELD_NUMBERS:
        import_module("metaworld.sawyer_xyz_env").SawyerMocapBase.reset_mocap_welds = reset_mocap_welds
    return package


def reset_mocap_welds(env: Any) -> None:
    """Do what Meta-World's method of this name does, for rows of ``eq_data`` of any length."""
    import mujoco

    welds = env.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    env.model.eq_data[welds, :WELD_NUMBERS] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]


@cache
def tasks_of(benchmark: str, test: bool) -> tuple[tuple[Any, ...], ...]:
    """Return Meta-World's tasks [environment][goal], environments in the benchmark's order."""
    package = load()
    made = package.ML10(seed=SEED) if benchmark == ML10 else package.ML1(benchmark, seed=SEED)
    classes, tasks = (made.test_classes, made.test_tasks) if test else (made.train_classes, made.train_tasks)
    return tuple(tuple(task for task in tasks if task.env_name == name) for name in classes)


class Goals(gymnasium.Env[Any, Any]):
    """One environment of Meta-World at a time, which ``reset(options={"task": ...})`` chooses, and its goal."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012, declared so by Gymnasium

    def __init__(self, tasks: Sequence[Sequence[Any]], render_mode: str | None = None) -> None:
        self.tasks, self.render_mode = tasks, render_mode
        self.name = ""
        self.env: Env | None = None
        env = self._choose(tasks[0][0])
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the episode of a task; Meta-World's episodes depend on the task alone."""
        super().reset(seed=seed)
        task: Task = (options or {}).get("task", {})
        env = self._choose(self.tasks[int(task.get("environment", 0))][int(task.get("goal", 0))])
        observation, info = env.reset()
        return np.array(observation), dict(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; ``info["success"]`` is Meta-World's own."""
        assert self.env is not None
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """Return a picture [height, width, 3]."""
        return None if self.env is None else self.env.render()

    def close(self) -> None:
        """Close the environment of Meta-World; ``reset`` makes another."""
        if self.env is not None:
            self.env.close()
        self.name, self.env = "", None

    def _choose(self, task: Any) -> Env:
        """Return the task's environment with the task set; the one at hand where it is of the same kind."""
        if self.env is None or task.env_name != self.name:
            self.close()
            make = load().env_dict.ALL_V3_ENVIRONMENTS[task.env_name]
            self.name, self.env = task.env_name, make(render_mode=self.render_mode)
        chosen: Any = self.env
        chosen.set_task(task)
        return self.env
