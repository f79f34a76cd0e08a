"""Meta-World's robot arm in MuJoCo's batch: all episodes in one simulator, without an environment for each.

One environment of Meta-World gives the model and, goal by goal, the state that its reset ends in. From there on every
step does what ``SawyerXYZEnv.step`` does, in the same order and precision, and a function of ``rewards`` judges it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from metarl.envs.family import Array, Transition
from metarl.envs.metaworld.rewards import Reward, Scene, Start, distance

FRAME_SKIP = 5  # physics steps of a control step
OPEN = 0.1  # m between the claws of an open gripper
STATE = ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat", "time")
READS = ("xpos", "site_xpos", "geom_xmat")
NOW = 18  # numbers of an observation that tell of this step; as many tell of the one before, and 3 are the hidden goal


class Reset(NamedTuple):
    """What a reset of Meta-World's environment leads to."""

    observation: Array
    state: dict[str, Array]
    target: Array
    object: Array
    hand: Array
    gripper: Array


class SawyerSimulator:
    """Episodes that depend on their goals alone; they last until the horizon."""

    def __init__(self, goals: tuple[Any, ...], make: Callable[[], Any], reward: Reward, threads: int) -> None:
        """Prepare the simulator.

        Args:
            goals: Meta-World's tasks.
            make: Makes an environment of Meta-World.
            reward: What its steps are worth.
            threads: MuJoCo's threads, which change no number.
        """
        self.goals, self.make, self.reward, self.threads = goals, make, reward, threads
        self.env: Any = None
        self.resets: dict[int, Reset] = {}
        self.batch: Batch | None = None

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed, which changes nothing, and return the observations [task, episode, 39]."""
        self.shape = seeds.shape
        if self.env is None:
            self.env = self.make()
        resets = [self._reset(int(goal)) for goal in np.repeat(tasks[:, -1], seeds.shape[1])]
        if self.batch is None or self.batch.nsim != seeds.size:
            self.batch = Batch(self.env.model, seeds.size, self.threads)
            self.state = {name: self.batch.bind(name) for name in STATE}
            self.read = {name: self.batch.bind(name) for name in READS}
        self.batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        for name, values in self.state.items():
            values[:] = np.array([each.state[name] for each in resets]).reshape(values.shape)
        observations = np.array([each.observation for each in resets])
        self.before = observations[:, :NOW].copy()
        self.start = Start(*(np.array(places) for places in list(zip(*resets, strict=True))[2:]))
        self.successes = np.zeros(seeds.size, np.bool_)
        return observations.reshape(*self.shape, -1)

    def step(self, actions: Array) -> Transition:
        """Move the hands and grippers by ``actions`` [task, episode, 4] for one control step."""
        assert self.batch is not None
        space = self.env.action_space
        clipped = np.clip(actions.reshape(len(self.before), -1), space.low, space.high).astype(np.float32)
        hands = self.state["mocap_pos"][:, 0] + clipped[:, :3] * self.env.action_scale
        self.state["mocap_pos"][:, 0] = np.clip(hands, self.env.mocap_low, self.env.mocap_high)
        self.state["mocap_quat"][:] = [1, 0, 1, 0]
        self.state["ctrl"][:] = np.stack([clipped[:, 3], -clipped[:, 3]], axis=1)
        self.batch.step(nstep=FRAME_SKIP, stage=mujoco.mjtStage.mjSTAGE_ACC)

        observations = self._observations()
        fingers = self._of("site", "rightEndEffector") + self._of("site", "leftEndEffector")
        pads = self._of("body", "leftpad"), self._of("body", "rightpad")
        scene = Scene(self.start, observations[:, 4:7], observations[:, 3], fingers / 2.0, *pads, clipped[:, 3])
        rewards, reached = self.reward(scene)
        self.successes = self.successes | reached
        return Transition(
            observations.reshape(*self.shape, -1),
            rewards.reshape(self.shape),
            np.zeros(self.shape, np.bool_),
            self.successes.reshape(self.shape),
        )

    def close(self) -> None:
        """End the threads and close the environment; ``reset`` makes others."""
        self.batch, self.state, self.read, self.resets = None, {}, {}, {}
        if self.env is not None:
            self.env.close()
            self.env = None

    def _reset(self, goal: int) -> Reset:
        """Return what the reset of a goal leads to."""
        if goal not in self.resets:
            env = self.env
            env.set_task(self.goals[goal])
            observation, _ = env.reset()
            state = {name: np.array(getattr(env.data, name)) for name in STATE}
            places = (env._target_pos, env.obj_init_pos, env.hand_init_pos, env.init_tcp)
            self.resets[goal] = Reset(np.array(observation), state, *(np.array(place) for place in places))
        return self.resets[goal]

    def _of(self, kind: str, name: str) -> Array:
        """Return the places [episode, 3] of a body or a site."""
        index = getattr(self.env.model, kind)(name).id
        places: Array = self.read["xpos" if kind == "body" else "site_xpos"][:, index]
        return places

    def _observations(self) -> Array:
        """Return what Meta-World observes, clipped to its space, and keep it for the next step."""
        from scipy.spatial.transform import Rotation

        gap = distance(self._of("body", "rightclaw"), self._of("body", "leftclaw"))
        turned = self.read["geom_xmat"][:, self.env.model.geom("objGeom").id].reshape(-1, 3, 3)
        now = np.zeros((len(gap), NOW))
        now[:, :3], now[:, 3] = self._of("body", "hand"), np.clip(gap / OPEN, 0.0, 1.0)
        now[:, 4:7], now[:, 7:11] = self._of("body", "obj"), Rotation.from_matrix(turned).as_quat()
        observations = np.concatenate([now, self.before, np.zeros((len(now), 3))], axis=1)
        self.before = now
        space = self.env.observation_space
        clipped: Array = np.clip(observations, space.low, space.high)
        return clipped
