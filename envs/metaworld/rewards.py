"""Rewards of Meta-World's robot arm for all episodes of a batch, as its V3 environments compute them, bit for bit.

Each function does what ``compute_reward`` and ``evaluate_state`` of the environment do that its docstring names
(metaworld 3.1.1, McLean et al. 2025, arXiv 2505.11289), in the same order and precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.envs.family import Array

Real = NDArray[np.floating[Any]]

TARGET_RADIUS = 0.05  # m
PLACE_RADIUS = 0.07  # m, what counts as a success of pick-place
AT_OBJECT = 0.02  # m
OBJECT_RADIUS = 0.015  # m
PAD_REACH = 0.05  # m, how far a pad may be from the object that it holds
PLANE_REACH = 0.005  # m, how far the gripper may be from the object, seen from the side
CAGED = 0.97  # from here on the gripper's force counts
SIDE_VIEW = np.array([1.0, 0.0, 1.0])  # x and z of a place
AT_MARGIN = 0.1  # what a tolerance is worth where the distance equals its margin


@dataclass(frozen=True)
class Start:
    """What the rewards of an episode remember of its reset: places [episode, 3] in m."""

    target: Array
    object: Array
    hand: Array  # as Meta-World's configuration says
    gripper: Array  # the middle of the fingers


@dataclass(frozen=True)
class Scene:
    """What the rewards see of a step: places [episode, 3] in m."""

    start: Start
    object: Array
    opened: Array  # [episode], of the gripper, 0 to 1
    gripper: Array
    left_pad: Array
    right_pad: Array
    effort: NDArray[np.float32]  # [episode], positive to close the gripper


class Outcome(NamedTuple):
    """What a step is worth."""

    rewards: Array  # [episode], 0 to 10
    reached: NDArray[np.bool_]  # [episode], whether Meta-World calls it a success


Reward = Callable[[Scene], Outcome]


def reach(scene: Scene) -> Outcome:
    """Return the rewards of ``SawyerReachEnvV3``: the gripper goes to the target."""
    away = distance(scene.gripper, scene.start.target)
    near = tolerance(away, 0, TARGET_RADIUS, distance(scene.start.hand, scene.start.target))
    return Outcome(10 * near, away <= TARGET_RADIUS)


def push(scene: Scene) -> Outcome:
    """Return the rewards of ``SawyerPushEnvV3``: the object goes to the target on the table."""
    start = scene.start
    away, in_place = _placed(scene)
    pads = (scene.left_pad[:, 1], scene.right_pad[:, 1])
    y, start_y = scene.object[:, 1], start.object[:, 1]
    between = hamacher(*(_beside(np.abs(pad - y), np.abs(pad - start_y)) for pad in pads))
    margin = distance(start.object[:, ::2], start.gripper[:, ::2]) - PLANE_REACH
    level = tolerance(distance(scene.gripper[:, ::2], scene.object[:, ::2]), 0, PLANE_REACH, margin)
    at_object = (distance(scene.object, scene.gripper) < AT_OBJECT) & (scene.opened > 0)

    def score(held: Real, in_place: Real, bonus: Real) -> Real:
        rewards = 2 * held
        return np.where(at_object, rewards + (1.0 + rewards + bonus), rewards)

    rewards = _in_both_precisions(score, hamacher(between, level), scene.effort, in_place, 5.0 * in_place)
    return Outcome(np.where(away < TARGET_RADIUS, 10.0, rewards), away <= TARGET_RADIUS)


def pick_place(scene: Scene) -> Outcome:
    """Return the rewards of ``SawyerPickPlaceEnvV3``: the object is lifted to the target.

    Its ``init_left_pad`` and ``init_right_pad`` are views of where the pads are now.
    """
    start = scene.start
    away, in_place = _placed(scene)
    to_left, to_right = (scene.left_pad - scene.object)[:, 1], (scene.object - scene.right_pad)[:, 1]
    between = hamacher(_beside(to_left, np.abs(to_left)), _beside(to_right, np.abs(to_right)))
    margin = distance(start.object * SIDE_VIEW, start.gripper * SIDE_VIEW) - PLANE_REACH
    level = tolerance(distance(scene.gripper * SIDE_VIEW, scene.object * SIDE_VIEW), 0, PLANE_REACH, margin)
    lifted = scene.object[:, 2] - 0.01 > start.object[:, 2]
    carried = (distance(scene.object, scene.gripper) < AT_OBJECT) & (scene.opened > 0) & lifted

    def score(held: Real, in_place: Real, bonus: Real) -> Real:
        rewards = hamacher(held, in_place)
        return np.where(carried, rewards + bonus, rewards)

    rewards = _in_both_precisions(score, hamacher(between, level), scene.effort, in_place, 1.0 + 5.0 * in_place)
    return Outcome(np.where(away < TARGET_RADIUS, 10.0, rewards), away <= PLACE_RADIUS)


# By the environments' names.
REWARDS: dict[str, Reward] = {"reach-v3": reach, "push-v3": push, "pick-place-v3": pick_place}


def distance(places: Array, others: Array) -> Array:
    """Return the distances [n] of places [n, d], row by row: the norm of a matrix rounds otherwise."""
    return np.array([np.linalg.norm(row) for row in places - others])


def tolerance(values: Array, low: float, high: float, margins: Array) -> Array:
    """Return 1 within the bounds, and outside what falls to AT_MARGIN at the margin, in a long tail.

    The rewards of dm_control (Tassa et al. 2018, arXiv 1801.00690, Sec. 3).

    Args:
        values: What is judged, [episode].
        low: Lower bound.
        high: Upper bound.
        margins: Positive distances from the bounds, [episode].

    Returns:
        Numbers from 0 to 1, [episode].
    """
    beyond = np.where(values < low, low - values, values - high) / margins
    tail = 1 / ((beyond * np.sqrt(1 / AT_MARGIN - 1)) ** 2 + 1)
    return np.where((low <= values) & (values <= high), 1.0, tail)


def hamacher(first: Real, second: Real) -> Real:
    """Return the Hamacher product [episode] of numbers from 0 to 1, which is 0 where both are 0."""
    product = first * second
    both = first + second - product
    return np.divide(product, both, out=np.zeros_like(both), where=both > 0)


def _placed(scene: Scene) -> tuple[Array, Array]:
    """Return how far the object is from the target, and how well it is placed, 0 to 1."""
    away = distance(scene.object, scene.start.target)
    return away, tolerance(away, 0, TARGET_RADIUS, distance(scene.start.object, scene.start.target))


def _beside(gaps: Array, reach_of: Array) -> Array:
    """Return how well pads stand beside the object, 0 to 1.

    The gaps [episode] are those between pad and object along y, and the reward falls by how far ``reach_of`` [episode]
    is from PAD_REACH.
    """
    return tolerance(gaps, OBJECT_RADIUS, PAD_REACH, np.abs(reach_of - PAD_REACH))


def _in_both_precisions(
    score: Callable[[Real, Real, Real], Real], caged: Real, effort: NDArray[np.float32], in_place: Array, bonus: Array
) -> Array:
    """Return rewards [episode]; from where the gripper's force counts, Meta-World computes on in float32.

    Args:
        score: Makes a reward of how well the object is held, how well it is placed, and a bonus.
        caged: How well the object is between the pads.
        effort: What closes the gripper.
        in_place: How well the object is placed.
        bonus: What a held object adds.
    """
    held = (hamacher(caged, np.zeros_like(caged)) + caged) / 2
    small = caged.astype(np.float32)
    gripped = (hamacher(small, np.clip(effort, 0, 1)) + small) / 2
    single = score(gripped, in_place.astype(np.float32), bonus.astype(np.float32))
    return np.where((caged > CAGED) & (effort > 0), single.astype(np.float64), score(held, in_place, bonus))
