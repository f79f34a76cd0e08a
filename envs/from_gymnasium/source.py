"""The user's environments and how an episode of one runs; everything that they return is checked here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError, retold, user_code
from metarl.envs.family import Array
from metarl.envs.from_gymnasium.spaces import Actions, Observations

Env = gymnasium.Env[Any, Any]
Task = dict[str, float]
MakeEnv = Callable[..., Env]
SetTask = Callable[[Env, Task], None]

SUCCESS = ("success", "is_success")  # in info
NUMBERS = (float, int, np.floating, np.integer, np.bool_)

# Part of an error's message, and what it most likely means.
HINTS = {
    "unexpected keyword argument 'options'": "reset must take seed and options, as in Gymnasium",
    "unexpected keyword argument 'seed'": "reset must take seed and options, as in Gymnasium",
    "unexpected keyword argument 'render_mode'": "make_env must pass render_mode on to an environment that takes it",
    "expected 5, got 4": "step returns four values, as in gym before 0.26: Gymnasium's returns "
    "observation, reward, terminated, truncated, info",
}


@runtime_checkable
class Suspendable(Protocol):
    """An environment in which several episodes take turns, so that one serves all episodes of a process."""

    def suspend(self) -> Any:
        """Return all that the episode under way needs to go on, which later steps and resets leave as it is."""
        ...

    def resume(self, state: Any) -> None:
        """Go on with the episode that ``suspend`` has returned."""
        ...


class Step(NamedTuple):
    """The checked outcome of one step of one environment."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]
    success: bool | None  # whether the goal is reached; None if the environment does not tell


@dataclass(frozen=True)
class Source:
    """How environments are made and given their task.

    ``set_task`` is called before each reset, or after it with ``after_reset``; without it the task is handed over as
    ``reset(options={"task": task})``.
    """

    name: str
    make_env: MakeEnv
    set_task: SetTask | None
    after_reset: bool
    fields: tuple[str, ...]
    observations: Observations
    actions: Actions
    reset_seconds: float | None = None  # that a reset may take

    def make(self, **kwargs: Any) -> Env:
        """Return a new environment."""
        return made(self.name, self.make_env, **kwargs)

    def begin(self, env: Env, task: Task, seed: int | None, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Reset an environment for an episode of ``task``.

        Args:
            env: one that ``make`` has made.
            task: the value of each field by name.
            seed: of the environment's random numbers; None goes on with those it has.
            options: other options that ``reset`` gets.

        Returns:
            The observation as the environment gives it, and its info.
        """
        if self.set_task is not None and not self.after_reset:
            self._give(env, task)
        given = {**options, "task": task} if self.set_task is None else dict(options) or None
        with user_code(f"reset of {self.name} for the task {told(task)}", HINTS), limited(self.reset_seconds):
            answer = env.reset(seed=seed, options=given)
        if self.set_task is not None and self.after_reset:
            self._give(env, task)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            raise UserCodeError(f"reset of {self.name} must return an observation and an info dict, got {kind(answer)}")
        return answer

    def advance(self, env: Env, action: NDArray[Any]) -> Step:
        """Step an environment with an action of its own space; raise UserCodeError if the answer is no step.

        Without context managers, because it is called for every step of every episode.
        """
        try:
            answer = env.step(action)
        except (Refusal, NumericalFault):
            raise
        except (Exception, SystemExit) as error:
            raise retold(f"step of {self.name}", error, HINTS) from error
        if not (isinstance(answer, tuple) and len(answer) == 5):
            hint = f"; {HINTS['expected 5, got 4']}" if isinstance(answer, tuple) and len(answer) == 4 else ""
            raise UserCodeError(f"step of {self.name} must return five values, got {kind(answer)}{hint}")
        observation, reward, terminated, truncated, info = answer
        if not isinstance(info, dict):
            raise UserCodeError(f"the info that step of {self.name} returns must be a dict, got {kind(info)}")
        number = float(reward) if isinstance(reward, NUMBERS) else self._number(reward)
        return Step(observation, number, bool(terminated), bool(truncated), info, self._success(info))

    def flatten(self, observation: Any) -> Array:
        """Return an observation of the environment as one vector [observation]."""
        try:
            return self.observations.flatten(observation)
        except Refusal as error:
            raise UserCodeError(f"{self.name}: {error}") from None
        except Exception as error:
            raise retold(f"reading an observation of {self.name}", error) from error

    def named(self, row: Array) -> Task:
        """Return the named values of a task [field]."""
        return dict(zip(self.fields, row.tolist(), strict=True))

    def _give(self, env: Env, task: Task) -> None:
        assert self.set_task is not None
        with user_code(f"set_task of {self.name} with the task {told(task)}"):
            self.set_task(env, task)

    def _success(self, info: Mapping[str, Any]) -> bool | None:
        for key in SUCCESS:
            if key in info:
                if np.ndim(info[key]) == 0:
                    return bool(info[key])
                raise UserCodeError(f"{key} in the info of {self.name} must be true or false, got {kind(info[key])}")
        return None

    def _number(self, reward: Any) -> float:
        """Return a reward of another type, e.g. an array without axes or a torch tensor."""
        if np.ndim(reward) == 0 and np.isrealobj(reward):
            with suppress(TypeError, ValueError):
                return float(reward)
        raise UserCodeError(f"the reward that step of {self.name} returns must be a number, got {kind(reward)}")


def made(name: str, make_env: MakeEnv, **kwargs: Any) -> Env:
    """Return the environment that ``make_env`` makes; raise UserCodeError if it is none."""
    with user_code(f"make_env of {name}", HINTS):
        env = make_env(**kwargs)
    if not isinstance(env, gymnasium.Env):
        raise UserCodeError(f"make_env of {name} must return a gymnasium.Env, got {kind(env)}")
    return env


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in what runs inside after ``seconds``; only a process's main thread can be interrupted."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def told(task: Task) -> str:
    """Return a task as ``goal=0.5, mass=2``."""
    return ", ".join(f"{name}={value:g}" for name, value in task.items())


def kind(value: Any) -> str:
    """Return what a value is, in a few words: its type, and its length or shape if it has one."""
    if isinstance(value, np.ndarray):
        return f"an array of the shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r:.80}"
