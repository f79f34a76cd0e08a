"""The batched simulator of any robot: all episodes in MuJoCo's threads, one array per control step in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from gymnasium.spaces import Box
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError, user_code
from metarl.envs.family import Array, Transition
from metarl.envs.mujoco.interface import Interface
from metarl.envs.mujoco.model import action_space, check_ranges, describe, load_model, middle_task, model_for
from metarl.envs.mujoco.robot import RobotTasks, Step

if TYPE_CHECKING:
    from metarl.envs.mujoco.camera import Camera

DIVERGED = 1e6  # m, rad or their rate per second: no robot driven within its limits comes near
BAD_STATES = [int(getattr(mujoco.mjtWarning, f"mjWARN_BAD{of}")) for of in ("QPOS", "QVEL", "QACC")]


class RobotSimulator:
    """Episodes of a robot's tasks; one that has ended stands still and costs nothing.

    Free-running, the physics is bit-identical to one ``MjData`` per episode stepped by ``mj_step``, at any number of
    threads: an episode depends on its task, its seed and its actions alone.
    """

    def __init__(self, tasks: RobotTasks, threads: int) -> None:
        self.tasks, self.robot, self.threads = tasks, tasks.robot, threads
        self.model = load_model(self.robot.model, tasks.name)
        self.actions = action_space(self.model)
        check_ranges(tasks, self.model)
        self.frames_per_second = 1 / (self.robot.frame_skip * self.model.opt.timestep)
        self.batch: Batch | None = None
        self.camera: Camera | None = None
        self.fields: dict[str, Array] = {}

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed and return the observations [task, episode, observation]."""
        self._close_camera()  # the next task may have another model
        self.shape, count = seeds.shape, seeds.size
        names = [field.name for field in self.tasks.fields]
        self.each_task = [dict(zip(names, row, strict=True)) for row in tasks.tolist()]
        self.values: Mapping[str, Array] = {
            name: np.repeat(tasks[:, i], seeds.shape[1]) for i, name in enumerate(names)
        }
        models = [model_for(self.tasks, self.model, task) for task in self.each_task]
        batch = self._open(count)
        if self.tasks.vary is not None:
            batch.set_models([model for model in models for _ in range(seeds.shape[1])])
        batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        positions, velocities = batch.qpos, batch.qvel
        for index, seed in enumerate(seeds.flat):
            positions[index], velocities[index] = self._start(models[index // seeds.shape[1]], int(seed))
        batch.forward()
        self.alive = np.ones(count, dtype=bool)
        self.rewards = np.zeros(count)
        self.interface = Interface(self.tasks, self.values, seeds, self.model.nu)
        self.seconds = self.interface.repeats * (self.robot.frame_skip * self.model.opt.timestep)
        return self._observations()

    def step(self, actions: Array) -> Transition:
        """Raise NumericalFault naming the first episode with an action that is NaN or a simulation that diverged."""
        assert self.batch is not None and actions.shape == (*self.shape, self.model.nu), actions.shape
        clipped = np.clip(actions.reshape(-1, self.model.nu), self.actions.low, self.actions.high)
        # MuJoCo would take zeros for them.
        self._require(np.asarray(~np.isnan(clipped).any(axis=1)), "the actions are not finite")
        applied = self.interface.delay(clipped)
        before = {name: values.copy() for name, values in self.fields.items()}
        self.batch.ctrl = applied
        self._advance(self.batch)
        healthy = self.alive
        if self.robot.healthy is not None:
            healthy = healthy & self._ask("healthy", self.robot.healthy, self.fields).astype(bool)
        step = Step(before, self.fields, applied, self.values, self.seconds, healthy)
        self.rewards = np.where(self.alive, self._ask("reward", self.tasks.reward, step), 0.0)
        self.alive = healthy
        return Transition(self._observations(), self.rewards.reshape(self.shape).copy(), ~healthy.reshape(self.shape))

    def draw(self) -> NDArray[np.uint8]:
        """Draw the first task's first episode."""
        model, data = self.first_episode()
        if self.camera is None:
            from metarl.envs.mujoco.camera import Camera  # needs Pillow, which an installation may lack

            self.camera = Camera(model, data)
        return self.camera.picture(data, f"{describe(self.each_task[0])}   reward {self.rewards[0]:+.2f}")

    def first_episode(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return model and data of the first task's first episode, with all bodies in place."""
        assert self.batch is not None
        model, data = self.batch.get_model(0), self.batch.get_data(0)
        mujoco.mj_kinematics(model, data)
        return model, data

    def close(self) -> None:
        """End the threads and put the camera away; ``reset`` starts them again."""
        self._close_camera()
        self.batch = None
        self.fields = {}

    def _close_camera(self) -> None:
        if self.camera is not None:
            self.camera.close()
            self.camera = None

    def _open(self, count: int) -> Batch:
        if self.batch is None or self.batch.nsim != count:
            self.batch = Batch(self.model, count, self.threads)
            self.fields = {name: self._bind(self.batch, name) for name in self.robot.reads}
        return self.batch

    def _bind(self, batch: Batch, name: str) -> Array:
        try:
            values: Array = batch.bind(name)
        except ValueError as error:
            raise Refusal(f"the robot of {self.tasks.name} reads '{name}': {error}") from None
        return values

    def _start(self, model: mujoco.MjModel, seed: int) -> tuple[Array, Array]:
        generator = np.random.Generator(np.random.PCG64(seed))
        with user_code(f"start of {self.tasks.name}"):
            positions, velocities = map(np.asarray, self.robot.start(model, generator))
        self._check_shape("start", positions, (model.nq,))
        self._check_shape("start", velocities, (model.nv,))
        return positions, velocities

    def _ask(self, part: str, function: Callable[[Any], Any], argument: object, *shape: int | None) -> Any:
        """Return what a function of the robot's says of all episodes; a length of None is any length."""
        with user_code(f"{part} of {self.tasks.name}"):
            answer = np.asarray(function(argument))
        self._check_shape(part, answer, (len(self.alive), *shape))
        return answer

    def _check_shape(self, part: str, answer: Array, shape: tuple[int | None, ...]) -> None:
        if len(answer.shape) != len(shape) or any(
            length not in (None, found) for length, found in zip(shape, answer.shape, strict=True)
        ):
            expected = ", ".join("any" if length is None else str(length) for length in shape)
            raise UserCodeError(
                f"{part} of {self.tasks.name} must return an array of the shape [{expected}], got {list(answer.shape)}"
            )

    def _advance(self, batch: Batch) -> None:
        """Step the physics of all episodes that have not ended."""
        for repeat in self.interface.distinct_repeats:
            running = self.alive & (self.interface.repeats == repeat)
            try:
                batch.step(None if running.all() else running, nstep=self.robot.frame_skip * repeat)
            except SimulationError as error:
                good = np.ones(batch.nsim, dtype=bool)
                good[error.ids] = False
                self._require(good, f"MuJoCo stopped ({batch.error(int(error.ids[0]))})")
        good = ~(batch.warning[:, BAD_STATES, 1] > 0).any(axis=1)
        for state in (batch.qpos, batch.qvel):
            good &= (np.abs(state) < DIVERGED).all(axis=1)
        self._require(good, "the simulation diverged")

    def _require(self, good: NDArray[np.bool_], otherwise: str) -> None:
        """Raise NumericalFault naming the first episode that is not ``good`` [n]."""
        if not good.all():
            assert self.batch is not None
            index = int(good.argmin())
            task, episode = divmod(index, self.shape[1])
            meant, time = describe(self.each_task[task]), self.batch.time[index]
            raise NumericalFault(f"{otherwise} in episode {episode} of task {task} ({meant}) after {time:.3g} s")

    def _observations(self) -> Array:
        size = None if self.robot.spaces is None else self.robot.spaces[0].shape[0]
        observations = self._ask("observe", self.robot.observe, self.fields, size)
        # A copy, because ``observe`` may return one of the fields, which change with the next step.
        return np.array(self.interface.sense(observations), np.float64).reshape(*self.shape, -1)


def read_spaces(tasks: RobotTasks) -> tuple[Box, Box]:
    """Return the observation and action space of a robot, read off its model."""
    simulator = RobotSimulator(tasks, threads=1)
    task = np.array([list(middle_task(tasks.fields).values())])
    observation = simulator.reset(task, np.zeros((1, 1), np.int64))[0, 0]
    simulator.close()
    return Box(-np.inf, np.inf, observation.shape, np.float64), simulator.actions
