"""What a training relies on, tested on random episodes of a task family."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

from metarl.core.text import plural
from metarl.core.threads import available_threads
from metarl.envs.family import Simulator, TaskFamily, is_possible
from metarl.experiments.analysis.family_trials import (
    Recording,
    Script,
    SingleEnvironment,
    difference,
    random_script,
    record,
    steps_per_second,
)

TASKS, EPISODES = 4, 3
LARGE = 100.0  # of an observation, from which on a policy learns poorly
# What the two checkers say of every family, or what is checked here on its own.
NOT_TOLD = (
    "A Box observation space",
    "We recommend you to use a symmetric and normalized Box action space",
    "For Box action spaces, we recommend using a symmetric and normalized space",
)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check in a sentence; ``verdict`` is "fine", "hint", or "wrong" for what spoils a training."""

    check: str
    verdict: Literal["fine", "hint", "wrong"]
    sentence: str


def check_family(family: TaskFamily, steps: int | None = None) -> Iterator[Finding]:
    """Yield the findings one after the other; ``steps`` shortens the episodes.

    UserCodeError passes by where the family's code fails.
    """
    script = random_script(family, TASKS, EPISODES, min(steps or family.horizon, family.horizon))
    with closing(family.make_simulator(1)) as simulator:
        recording = record(simulator, script)
        yield numbers(family, recording)
        yield seeds(recording, record(simulator, script))
        yield neighbors(simulator, script, recording)
        yield from fields(family, simulator, script)
        yield actions(simulator, script, recording)
    yield threads(family, script, recording)
    yield single(family, script, recording)
    yield from checkers(family)
    yield rewards(recording)
    yield ends(family, recording)
    yield observations(recording)
    yield success(recording)
    yield speed(family, script)


def numbers(family: TaskFamily, recording: Recording) -> Finding:
    """Check that observations have the size of their space, and that all numbers are finite."""
    size, expected = recording.observations.shape[-1], family.observation_space.shape[0]
    if size != expected:
        return Finding("numbers", "wrong", f"an observation has {size} numbers, its space {expected}")
    for what, values in (("observations", recording.observations), ("rewards", recording.rewards)):
        if not np.isfinite(values).all():
            time = int(np.nonzero(~np.isfinite(values))[0][0])
            return Finding("numbers", "wrong", f"{what} are not finite after {plural(time, 'step')}")
    return Finding("numbers", "fine", f"observations of {plural(size, 'number')} and rewards are finite")


def seeds(first: Recording, second: Recording) -> Finding:
    """Check that the same task, seed and actions give the same episode."""
    return same(
        "seeds",
        "the same task, seed and actions give the same episode",
        first,
        second,
        "draw random numbers from self.np_random and set every variable anew in reset",
    )


def neighbors(simulator: Simulator, script: Script, recording: Recording) -> Finding:
    """Check that an episode does not depend on those beside it, nor on its place."""
    tasks, episodes = [TASKS - 1, 1], [EPISODES - 1, 0]
    expected = recording.of(tasks, episodes)
    found = record(simulator, script.of(tasks, episodes))
    return same("neighbors", "an episode does not depend on those beside it", expected, found, "share nothing")


def threads(family: TaskFamily, script: Script, recording: Recording) -> Finding:
    """Check that more threads, or worker processes, give the same episodes."""
    with closing(family.make_simulator(max(2, available_threads()))) as simulator:
        found = record(simulator, script)
    return same("threads", "more threads or processes give the same episodes", recording, found, "share nothing")


def single(family: TaskFamily, script: Script, recording: Recording) -> Finding:
    """Check that the single environment gives the episodes of the batched simulator."""
    with closing(SingleEnvironment(family)) as simulator:
        found = record(simulator, script.of([0], [0]))
    claim = "the single environment gives the episodes of the batched simulator"
    # An environment may return its observations in single precision.
    return same("single", claim, recording.of([0], [0]).rounded(), found.rounded(), "let both share one step")


def same(check: str, claim: str, first: Recording, second: Recording, advice: str) -> Finding:
    """Return whether two recordings that must be equal are.

    Args:
        check: The check's name.
        claim: What is found if the recordings are equal.
        first: A recording.
        second: Another recording of the same script.
        advice: What to do if they differ.
    """
    apart = difference(first, second)
    return Finding(check, "wrong", f"not so: {claim}: {apart}; {advice}") if apart else Finding(check, "fine", claim)


def fields(family: TaskFamily, simulator: Simulator, script: Script) -> Iterator[Finding]:
    """Check of each task field that its lowest and its highest value make a difference."""
    for column, field in enumerate(family.fields):
        values = field.choices or (field.low, field.high)
        recordings = []
        for value in (min(values), max(values)):
            tasks = script.tasks.copy()
            tasks[:, column] = value
            if all(is_possible(family.name, family.valid, family.task_dict(task)) for task in tasks):
                recordings.append(record(simulator, script.on(tasks)))
        if len(recordings) < 2:
            yield Finding(field.name, "hint", f"the field {field.name} was not tried: valid refuses its extreme values")
            continue
        low, high = recordings
        apart = difference(low, high)
        if not apart:
            yield Finding(field.name, "wrong", f"the field {field.name} changes nothing: does set_task have an effect?")
        elif not np.array_equal(low.observations[0], high.observations[0]):
            yield Finding(field.name, "hint", f"the first observation tells {field.name}: there is nothing to adapt to")
        else:
            yield Finding(field.name, "fine", f"the field {field.name} changes {apart}")


def actions(simulator: Simulator, script: Script, recording: Recording) -> Finding:
    """Check that actions make a difference."""
    other = Script(script.tasks, script.seeds, script.actions[::-1])
    if difference(recording, record(simulator, other)):
        return Finding("actions", "fine", "actions make a difference")
    return Finding("actions", "wrong", "other actions give the same observations and rewards")


class Opaque(gymnasium.Env[Any, Any]):
    """A family's single environment as metarl's policies see it, for the checkers, without what it is made of.

    They would make it again by its specification, or ask for the Dict that a goal-conditioned environment observes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env, self.metadata, self.render_mode = env, env.metadata, env.render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        super().reset(seed=seed)
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        return self.env.step(action)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def checkers(family: TaskFamily) -> Iterator[Finding]:
    """Run the environment checkers of Gymnasium and Stable-Baselines3 on the single environment."""
    for name, check in (("Gymnasium", check_env), ("Stable-Baselines3", check_for_stable_baselines)):
        with closing(Opaque(family.make_env())) as env, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                check(env, skip_render_check=True)
            except Exception as error:
                yield Finding(name, "wrong", f"{name}'s checker refuses the environment: {one_line(error)}")
                continue
        told = {one_line(warning.message) for warning in caught}
        said = sorted(text for text in told if not any(part in text for part in NOT_TOLD))
        for text in said:
            yield Finding(name, "hint", f"{name}'s checker warns: {text}")
        if not said:
            yield Finding(name, "fine", f"{name}'s checker has nothing to say")


def rewards(recording: Recording) -> Finding:
    """Check that rewards or the lengths of episodes differ."""
    taken, lengths = recording.rewards[recording.alive], recording.alive.sum(axis=0)
    if taken.min() == taken.max() and lengths.min() == lengths.max():
        return Finding(
            "rewards", "wrong", f"every reward of {len(taken)} random steps is {taken[0]:g}: nothing to learn"
        )
    return Finding("rewards", "fine", f"rewards of random actions lie in [{taken.min():.4g}, {taken.max():.4g}]")


def ends(family: TaskFamily, recording: Recording) -> Finding:
    """Tell which episodes end before the horizon."""
    if family.time_limit is not None and family.time_limit < family.horizon:
        return Finding(
            "ends",
            "hint",
            f"the environment's own time limit is {family.time_limit} steps, the horizon {family.horizon}",
        )
    lengths = recording.alive.sum(axis=0)
    short = lengths < len(recording.alive)
    if not short.any():
        return Finding("ends", "fine", f"no episode ends within {plural(len(recording.alive), 'step')}")
    if short.all() and lengths.min() == lengths.max():
        steps = plural(int(lengths.min()), "step")
        return Finding(
            "ends", "hint", f"every episode ends after {steps}: has the environment a time limit of its own?"
        )
    return Finding(
        "ends", "fine", f"{short.sum()} of {short.size} episodes end early, after {lengths.min()} steps at least"
    )


def observations(recording: Recording) -> Finding:
    """Tell what makes observations hard to learn from: numbers that never change, or large ones."""
    taken = recording.observations[:-1][recording.alive]
    still = np.nonzero(np.ptp(taken, axis=0) == 0)[0].tolist()
    large = np.nonzero(np.abs(taken).max(axis=0) > LARGE)[0].tolist()
    if large:
        return Finding("observations", "hint", f"observations exceed {LARGE:g} at {places(large)}: scale them")
    if still:
        return Finding("observations", "hint", f"observations never change at {places(still)}")
    return Finding("observations", "fine", f"observations lie in [{taken.min():.4g}, {taken.max():.4g}]")


def places(indices: list[int]) -> str:
    """Return ``index 3``, or the first of several."""
    shown = ", ".join(map(str, indices[:5]))
    return f"{'index' if len(indices) == 1 else 'indices'} {shown}{', ...' if len(indices) > 5 else ''}"


def success(recording: Recording) -> Finding:
    """Tell whether success rates will be known."""
    if recording.tells_success:
        return Finding("success", "fine", "info tells of success, so that success rates are known")
    return Finding("success", "fine", "info tells no success or is_success: returns alone are known")


def speed(family: TaskFamily, script: Script) -> Finding:
    """Measure steps per second with one thread and with all."""
    count = available_threads()
    with closing(family.make_simulator(1)) as simulator:
        one = steps_per_second(simulator, script)
    with closing(family.make_simulator(count)) as simulator:
        all_threads = steps_per_second(simulator, script)
    return Finding("speed", "fine", f"{one:,.0f} steps/s with one thread, {all_threads:,.0f} with {count}")


def one_line(message: object) -> str:
    """Return a checker's message without the colors and line breaks that it was given for a terminal."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(message)).split())
