"""2D navigation: a point that must reach a goal (Finn et al. 2017; p-Meta, Sec. 4.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array, Transition

MAX_SPEED = 0.1  # per axis and step
ARENA = 0.5  # goals lie within this distance of the origin along each axis
GOAL_RADIUS = 0.01  # along each axis


def move(positions: Array, actions: Array) -> Array:
    """Return the positions [..., 2] after one step with velocities ``actions`` [..., 2], clipped to MAX_SPEED."""
    return positions + np.clip(actions, -MAX_SPEED, MAX_SPEED)


def reward(positions: Array, goals: Array) -> Array:
    """Return minus the distance to the goal [...]."""
    distances: Array = np.sqrt(np.square(positions - goals).sum(axis=-1))
    return -distances


def reached(positions: Array, goals: Array) -> NDArray[np.bool_]:
    """Return whether a position is within 0.01 of its goal along both axes [...]."""
    within: NDArray[np.bool_] = np.all(np.abs(positions - goals) < GOAL_RADIUS, axis=-1)
    return within


def sample_goals(count: int, generator: np.random.Generator) -> Array:
    """Return goals [count, 2], uniform in the square."""
    return generator.uniform(-ARENA, ARENA, (count, 2))


class NavigationSimulator:
    """Every episode starts at the origin, so seeds change nothing."""

    frames_per_second = 20.0  # a step has no duration

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start every episode at the origin; return the positions [task, episode, 2]."""
        self.goals = np.broadcast_to(tasks[:, np.newaxis], (*seeds.shape, 2))
        self.positions = np.zeros((*seeds.shape, 2))
        self.trail = [self.positions[0, 0]]
        return self.positions.copy()

    def step(self, actions: Array) -> Transition:
        """Move every point by its action [task, episode, 2]."""
        self.positions = move(self.positions, actions)
        self.trail.append(self.positions[0, 0].copy())
        rewards, ended = reward(self.positions, self.goals), reached(self.positions, self.goals)
        return Transition(self.positions.copy(), rewards, ended)

    def draw(self) -> NDArray[np.uint8]:
        """Return a picture of the first episode's path."""
        from metarl.envs import drawing  # needs Pillow, which an installation may lack

        return drawing.draw_navigation(np.array(self.trail), self.goals[0, 0])

    def close(self) -> None:
        """Do nothing: the simulator holds no resources."""
