"""HalfCheetah that shall run at a given velocity, or in a given direction (Finn et al. 2017; p-Meta, Sec. 4.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from metarl.envs import drawing
from metarl.envs.family import Array, Transition

FRAME_SKIP = 5  # physics steps per control step, as in Gymnasium
TIME_STEP = 0.05  # seconds per control step
CONTROL_COST = 0.05
DIVERGED = 1e6  # no coordinate of a cheetah driven at its limits reaches 100
POSITIONS, VELOCITIES, ACTIONS = 9, 9, 6

RewardFunction = Callable[[Array, Array, Array], Array]


def initial_state(seed: int) -> Array:
    """Time, positions and velocities [19] near rest, drawn as in Gymnasium's HalfCheetah."""
    generator = np.random.Generator(np.random.PCG64(seed))
    positions = generator.uniform(-0.1, 0.1, POSITIONS)
    return np.concatenate([[0.0], positions, 0.1 * generator.standard_normal(VELOCITIES)])


def observe(states: Array, torso_height: float) -> Array:
    """[n, 20]: positions without the root's x, velocities, and the torso's place in space; ``states`` [n, 19]."""
    observations = np.empty((len(states), POSITIONS + VELOCITIES + 2))
    observations[:, :17] = states[:, 2:]
    observations[:, 17] = states[:, 1]
    observations[:, 18] = 0
    observations[:, 19] = states[:, 2] + torso_height
    return observations


def velocity_reward(velocities: Array, actions: Array, targets: Array) -> Array:
    """[n]: minus the distance to the target velocity in m/s, minus the control cost."""
    return -np.abs(velocities - targets) - control_cost(actions)


def direction_reward(velocities: Array, actions: Array, directions: Array) -> Array:
    """[n]: the velocity in the direction, 1 for forward and -1 for backward, minus the control cost."""
    return directions * velocities - control_cost(actions)


def control_cost(actions: Array) -> Array:
    """[n]: 0.05 |a|^2 of actions [n, 6]."""
    squares: Array = np.einsum("na,na->n", actions, actions)
    return CONTROL_COST * squares


@cache
def load_model() -> mujoco.MjModel:
    """Gymnasium's model. A diverged state stays visible instead of being reset on the quiet."""
    if mujoco.get_mju_user_warning() is None:
        # MuJoCo's own handler leaves a file MUJOCO_LOG.TXT in whatever folder the user is in.
        mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)
    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


class HalfCheetahSimulator:
    """All episodes in MuJoCo's own threads; the model is shared, everything else belongs to the simulator."""

    def __init__(self, reward: RewardFunction, describe: Callable[[float], str], threads: int) -> None:
        self.reward, self.describe = reward, describe
        self.model = load_model()
        self.torso_height = float(self.model.body("torso").pos[2])
        self.data = [mujoco.MjData(self.model) for _ in range(threads)]
        self.pool = rollout.Rollout(nthread=0 if threads == 1 else threads)

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        self.shape, count = seeds.shape, seeds.size
        self.tasks = np.repeat(tasks[:, 0], seeds.shape[1])
        self.states = np.array([initial_state(int(seed)) for seed in seeds.flat])
        self.models = [self.model] * count
        self.trajectories = np.empty((count, FRAME_SKIP, self.states.shape[1]))
        self.sensors = np.empty((count, FRAME_SKIP, self.model.nsensordata))
        self.controls = np.empty((count, FRAME_SKIP, ACTIONS))
        self.velocities = np.zeros(count)
        return self._observations()

    def step(self, actions: Array) -> Transition:
        """FloatingPointError names the first episode whose actions are NaN, or whose simulation has diverged."""
        assert actions.shape == (*self.shape, ACTIONS), (actions.shape, self.shape)
        clipped = np.clip(actions.reshape(-1, ACTIONS), -1, 1)
        # MuJoCo would take zeros for them.
        self._require(np.abs(clipped) <= 1, "the actions are not finite")
        self.controls[:] = clipped[:, np.newaxis]
        self.pool.rollout(
            self.models,
            self.data,
            self.states,
            self.controls,
            state=self.trajectories,
            sensordata=self.sensors,
            nstep=FRAME_SKIP,
            skip_checks=True,
        )
        before, self.states = self.states, self.trajectories[:, -1].copy()
        # MuJoCo stops the clock of an episode that it finds bad, unless that happens in the last physics step.
        self._require(self.states[:, :1] > before[:, :1] + TIME_STEP / 2, "the simulation diverged")
        self._require(np.abs(self.states) < DIVERGED, "the simulation diverged")
        self.velocities = (self.states[:, 1] - before[:, 1]) / TIME_STEP
        rewards = self.reward(self.velocities, clipped, self.tasks)
        terminated = np.zeros(self.shape, dtype=bool)
        return Transition(self._observations(), rewards.reshape(self.shape), terminated)

    def draw(self) -> NDArray[np.uint8]:
        """The first episode from the side."""
        data = self.data[0]
        data.qpos[:] = self.states[0, 1 : 1 + POSITIONS]
        mujoco.mj_kinematics(self.model, data)
        caption = f"{self.describe(float(self.tasks[0]))}   now {self.velocities[0]:+.1f} m/s"
        return drawing.draw_side_view(self.model, data, caption)

    def close(self) -> None:
        self.pool.close()

    def _require(self, good: NDArray[np.bool_], otherwise: str) -> None:
        """FloatingPointError names the first episode where not all is ``good`` [n, feature]."""
        if not good.all():
            index = int(good.all(axis=1).argmin())
            task, episode = divmod(index, self.shape[1])
            meant = self.describe(float(self.tasks[index]))
            raise FloatingPointError(f"{otherwise} in episode {episode} of task {task} ({meant})")

    def _observations(self) -> Array:
        return observe(self.states, self.torso_height).reshape(*self.shape, -1)


def velocity_simulator(threads: int) -> HalfCheetahSimulator:
    """Episodes whose task is a target velocity."""
    return HalfCheetahSimulator(velocity_reward, lambda target: f"target {target:.1f} m/s", threads)


def direction_simulator(threads: int) -> HalfCheetahSimulator:
    """Episodes whose task is a direction."""
    return HalfCheetahSimulator(direction_reward, lambda way: "forward" if way > 0 else "backward", threads)
