"""Meta-World's benchmarks as families: ``metaworld:reach-v3``, any other of its ML1 tasks, and ``metaworld:ml10``.

A name that ends in ``-test`` has the benchmark's test tasks in place of its training tasks. The goals are Meta-World's
own, 50 of each environment, which it draws from SEED (McLean et al. 2025, arXiv 2505.11289).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from metarl.core.distribution import install_command
from metarl.core.errors import Refusal
from metarl.envs.family import Array, Simulator, TaskFamily, TaskField
from metarl.envs.from_gymnasium.definition import task_family
from metarl.envs.from_gymnasium.source import Task
from metarl.envs.metaworld.rewards import REWARDS

PREFIX = "metaworld:"
TEST = "-test"
ML10 = "ml10"
SEED = 0  # of the goals, so that they are the same in every run
HORIZON = 500  # Meta-World's own
MISSING = (
    f"the families of Meta-World need its package: {install_command('metaworld')}, then pip install --no-deps "
    "metaworld==3.1.1, for it asks for an older MuJoCo than metarl's"
)
PLACES = ("body_pos", "site_pos")  # what Meta-World changes of a model when it resets
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


class Suspended(NamedTuple):
    """An episode that waits for its turn."""

    environment: int
    physics: Array
    places: dict[str, Array]  # by the model's field
    attributes: dict[str, Any]  # of Meta-World's environment


class Goals(gymnasium.Env[Any, Any]):
    """The environments of a benchmark, of which ``reset(options={"task": ...})`` chooses one and its goal.

    Episodes take turns in them: what differs between two is MuJoCo's state, a few places in the model, and Meta-World's
    own attributes, which it replaces and never changes.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012, declared so by Gymnasium

    def __init__(self, tasks: Sequence[Sequence[Any]], render_mode: str | None = None) -> None:
        self.tasks, self.render_mode = tasks, render_mode
        self.environments: dict[int, Any] = {}
        self.starts: dict[tuple[int, int], tuple[Any, dict[str, Any], Suspended]] = {}
        self.chosen = 0
        env = self._environment()
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the episode of a task; Meta-World's episodes depend on the task alone."""
        super().reset(seed=seed)
        task: Task = (options or {}).get("task", {})
        self.chosen, goal = int(task.get("environment", 0)), int(task.get("goal", 0))
        if (self.chosen, goal) not in self.starts:
            env = self._environment()
            env.set_task(self.tasks[self.chosen][goal])
            observation, info = env.reset()
            self.starts[self.chosen, goal] = np.array(observation), dict(info), self.suspend()
        observation, info, state = self.starts[self.chosen, goal]
        self.resume(state)
        return observation.copy(), dict(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; ``info["success"]`` is Meta-World's own."""
        observation, reward, terminated, truncated, info = self._environment().step(action)
        return observation, float(reward), bool(terminated), bool(truncated), info

    def suspend(self) -> Suspended:
        """Return the state of the episode under way."""
        import mujoco

        env = self._environment()
        physics = np.empty(mujoco.mj_stateSize(env.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(env.model, env.data, physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        places = {name: getattr(env.model, name).copy() for name in PLACES}
        return Suspended(self.chosen, physics, places, dict(vars(env)))

    def resume(self, state: Suspended) -> None:
        """Go on with an episode."""
        import mujoco

        self.chosen = state.environment
        env = self._environment()
        mujoco.mj_setState(env.model, env.data, state.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        for name, values in state.places.items():
            getattr(env.model, name)[:] = values
        vars(env).clear()
        vars(env).update(state.attributes)

    def render(self) -> Any:
        """Return a picture [height, width, 3]."""
        import mujoco

        env, state = self._environment(), self.suspend()
        mujoco.mj_forward(env.model, env.data)  # places of bodies are no part of the state
        picture = env.render()
        self.resume(state)
        return picture

    def close(self) -> None:
        """Close the environments of Meta-World; ``reset`` makes others."""
        environments, self.environments, self.starts = self.environments, {}, {}
        for env in environments.values():
            env.close()

    def _environment(self) -> Any:
        """Return the chosen environment."""
        if self.chosen not in self.environments:
            name = self.tasks[self.chosen][0].env_name
            self.environments[self.chosen] = load().env_dict.ALL_V3_ENVIRONMENTS[name](render_mode=self.render_mode)
        return self.environments[self.chosen]
