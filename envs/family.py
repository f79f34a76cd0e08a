"""Task families: a distribution over tasks, a horizon, spaces, and a simulator of many episodes at once."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import ArrayLike, NDArray

from metarl.core.errors import Refusal
from metarl.core.user_code import user_code

Array = NDArray[np.float64]
SampleTasks = Callable[[int, np.random.Generator], Array]
Valid = Callable[[dict[str, float]], bool]

MAX_DRAWS = 1000  # of a task until it is valid


@dataclass(frozen=True)
class TaskField:
    """A number that differs between tasks, e.g. a target velocity, and the interval [low, high] of its values.

    With ``choices`` it takes these values only, e.g. -1 and 1 for a direction. Raise ValueError if the name cannot be
    typed as NAME=VALUE, the bounds are not finite or reversed, or a choice lies outside them.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    choices: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise Refusal(
                f"the name of a task field must be an identifier such as target_velocity, for it is typed as "
                f"NAME=VALUE: got {self.name!r}"
            )
        where = f"task field '{self.name}'"
        low, high = _finite(f"the low bound of {where}", self.low), _finite(f"the high bound of {where}", self.high)
        if low > high:
            raise Refusal(f"the low bound of {where} must not be above the high one, got [{low:g}, {high:g}]")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "choices", self._checked_choices(where))

    def _checked_choices(self, where: str) -> tuple[float, ...]:
        values = tuple(_finite(f"a choice of {where}", choice) for choice in self.choices)
        if not values and self.choices != ():  # an empty list that the user's code has computed, not the default
            raise Refusal(f"{where} has no choices: leave choices out for every value of [{self.low:g}, {self.high:g}]")
        if len(set(values)) < len(values):
            raise Refusal(f"{where} has a choice twice: {_listed(values)}")
        outside = [value for value in values if not self.low <= value <= self.high]
        if outside:
            raise Refusal(f"the choices of {where} must lie in [{self.low:g}, {self.high:g}], got {_listed(values)}")
        return values

    def check(self, family: str, value: float) -> None:
        """Raise ValueError unless ``value`` is a number that the field allows."""
        where = f"task field '{self.name}' of {family}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise Refusal(f"{where} must be a number, got {value!r}") from None
        if self.choices and number not in self.choices:
            raise Refusal(f"{where} must be one of {_listed(self.choices)}, got {number:g}")
        if not self.low <= number <= self.high:
            raise Refusal(f"{where} must lie in [{self.low:g}, {self.high:g}], got {number:g}")


class Transition(NamedTuple):
    """The outcome of one control step of every episode."""

    observations: Array  # [task, episode, observation]
    rewards: Array  # [task, episode]
    terminated: NDArray[np.bool_]  # [task, episode], stays True
    successes: NDArray[np.bool_] | None = None  # [task, episode], goal reached so far; None if nobody tells


class Simulator(Protocol):
    """All episodes of all tasks, stepped together. Stateful: ``reset`` fixes the number of tasks and episodes."""

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start an episode per seed and return the observations [task, episode, observation].

        An episode depends on its task in ``tasks`` [task, field] and its seed in ``seeds`` [task, episode] alone. The
        caller may keep and change what ``reset`` and ``step`` return.
        """
        ...

    def step(self, actions: Array) -> Transition:
        """Apply ``actions`` [task, episode, action], clipped to the action space, for one control step.

        Of a Discrete action space an action is one number, that of its choice.

        Observations and rewards of an episode that has terminated have no meaning. A NumericalFault names an episode
        whose physics has diverged.
        """
        ...

    def close(self) -> None:
        """Free what the simulator holds; a later reset begins anew."""
        ...


@runtime_checkable
class DrawnSimulator(Simulator, Protocol):
    """A simulator that can show itself, in real time by so many pictures per second."""

    frames_per_second: float

    def draw(self) -> NDArray[np.uint8]:
        """Return a picture [height, width, 3] of the first task's first episode."""
        ...


@dataclass(frozen=True)
class TaskFamily:
    """A distribution over tasks that share observations, actions and a horizon.

    ``make_simulator(threads)`` builds a batched simulator, ``make_env(**kwargs)`` the single Gymnasium environment;
    both share one definition of dynamics, observation and reward. ``sample_tasks(count, generator)`` returns tasks
    [count, field], and ``valid(task)`` tells of a task within the bounds whether it is possible. ``time_limit`` is the
    number of steps after which the environment ends an episode by itself, None if it does not; ``episode_bytes`` the
    memory that each episode's environment takes, 0 if it is not worth counting.

    Observations are a Box with one axis. Actions are one, too, or Discrete from 0 on: a simulator then gets the number
    of the choice as an action [1]. Raise ValueError if there is no field or two of one name, a space is another one,
    the action bounds are not finite, or the horizon is below 1.
    """

    name: str
    fields: tuple[TaskField, ...]
    observation_space: Box
    action_space: Box | Discrete
    horizon: int
    make_simulator: Callable[[int], Simulator]
    make_env: Callable[..., gymnasium.Env[Any, Any]]
    sample_tasks: SampleTasks
    valid: Valid | None = None
    time_limit: int | None = None
    episode_bytes: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise Refusal(f"the name of a task family must be text without spaces around it, got {self.name!r}")
        where = f"the task family {self.name}"
        fields = checked_fields(where, self.fields)
        check_spaces(where, self.observation_space, self.action_space)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "horizon", checked_horizon(where, self.horizon))
        for part in ("make_simulator", "make_env", "sample_tasks"):
            if not callable(getattr(self, part)):
                raise Refusal(f"{part} of {where} must be a function, got {getattr(self, part)!r}")
        sample_tasks = self.sample_tasks
        if isinstance(sample_tasks, TaskSampler):  # this family is a changed copy of another
            sample_tasks = sample_tasks.function
        object.__setattr__(self, "sample_tasks", TaskSampler(self.name, fields, sample_tasks, self.valid))

    @property
    def choices(self) -> int | None:
        """The number of actions to choose from; None if actions are vectors."""
        return int(self.action_space.n) if isinstance(self.action_space, Discrete) else None

    @property
    def action_shape(self) -> tuple[int, ...]:
        """The shape of an action as the single environment takes it: [action], or [] for a choice."""
        return self.action_space.shape or ()

    @property
    def action_bounds(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The lowest and the highest action [action]."""
        if isinstance(self.action_space, Discrete):
            return np.zeros(1), np.full(1, float(self.action_space.n - 1))
        return self.action_space.low, self.action_space.high

    def warn_of_time_limit(self) -> None:
        """Warn if the environment ends episodes before the horizon."""
        if self.time_limit is not None and self.time_limit < self.horizon:
            warnings.warn(
                f"the environment of {self.name} ends episodes after {self.time_limit} steps by its own time limit, "
                f"the horizon is {self.horizon}",
                stacklevel=1,
            )

    def task_array(self, task: Mapping[str, float] | ArrayLike) -> Array:
        """Return the task [field] from its named values, or from an array [field].

        Raise ValueError if a field is missing, unknown or out of range.
        """
        names = [field.name for field in self.fields]
        if not isinstance(task, Mapping):
            values = np.atleast_1d(np.asarray(task, dtype=object))
            if values.shape != (len(names),):
                raise Refusal(
                    f"a task of {self.name} as an array has the shape ({len(names)},) for {', '.join(names)}, "
                    f"got the shape {values.shape}"
                )
            task = dict(zip(names, values, strict=True))
        expected = f"a task of {self.name} has the fields {', '.join(names)}"
        for name in task:
            if name not in names:
                raise Refusal(f"unknown task field '{name}': {expected}")
        for field in self.fields:
            if field.name not in task:
                raise Refusal(f"task field '{field.name}' is missing: {expected}")
            field.check(self.name, task[field.name])
        values = np.array([float(task[name]) for name in names])
        if not is_possible(self.name, self.valid, self.task_dict(values)):
            told = ", ".join(f"{name}={value:g}" for name, value in zip(names, values, strict=True))
            raise Refusal(f"the function valid of {self.name} refuses the task {told}")
        return values

    def task_dict(self, task: Array) -> dict[str, float]:
        """Return the named values of a task [field]."""
        return {field.name: float(value) for field, value in zip(self.fields, task, strict=True)}


@dataclass(frozen=True)
class TaskSampler:
    """Draw tasks by a family's ``sample_tasks``; refuse those outside its fields and draw invalid ones anew."""

    family: str
    fields: tuple[TaskField, ...]
    function: SampleTasks
    valid: Valid | None = None

    def __call__(self, count: int, generator: np.random.Generator) -> Array:
        """Return tasks [count, field]; raise ValueError if the shape is another or a value is not allowed."""
        names = [field.name for field in self.fields]
        tasks, pending = np.empty((count, len(names))), np.arange(count)
        for _ in range(MAX_DRAWS):
            tasks[pending] = self._drawn(len(pending), generator)
            named = (dict(zip(names, row, strict=True)) for row in tasks[pending].tolist())
            refused = [not is_possible(self.family, self.valid, task) for task in named]
            pending = pending[np.array(refused, dtype=np.bool_)]
            if not pending.size:
                return tasks
        raise Refusal(f"the function valid of {self.family} refused {MAX_DRAWS} tasks in a row that sample_tasks drew")

    def _drawn(self, count: int, generator: np.random.Generator) -> Array:
        with user_code(f"sample_tasks of {self.family}"):
            drawn = self.function(count, generator)
        try:
            tasks = np.array(drawn, dtype=np.float64)
        except (TypeError, ValueError):
            raise Refusal(f"sample_tasks of {self.family} must return an array of numbers, got {drawn!r}") from None
        shape = (count, len(self.fields))
        if tasks.shape != shape:
            raise Refusal(
                f"sample_tasks({count}, generator) of {self.family} must return an array of the shape {shape}, "
                f"[task, field], got the shape {tasks.shape}"
            )
        for field, values in zip(self.fields, tasks.T, strict=True):
            for value in values:
                try:
                    field.check(self.family, value)
                except ValueError as error:
                    raise Refusal(f"sample_tasks of {self.family} drew a task that is not allowed: {error}") from None
        return tasks


def is_possible(family: str, valid: Valid | None, task: dict[str, float]) -> bool:
    """Return what ``valid`` says of a task within the bounds of its fields; without it every task is possible."""
    if valid is None:
        return True
    with user_code(f"the function valid of {family}"):
        return bool(valid(task))


def sample_fields(fields: tuple[TaskField, ...], count: int, generator: np.random.Generator) -> Array:
    """Return tasks [count, field], each field uniform in its interval or among its choices."""
    columns = [
        generator.choice(field.choices, count) if field.choices else generator.uniform(field.low, field.high, count)
        for field in fields
    ]
    return np.stack(columns, axis=1)


def checked_fields(where: str, fields: Iterable[TaskField]) -> tuple[TaskField, ...]:
    """Return the fields as a tuple; raise ValueError unless there is one at least and no name occurs twice."""
    if isinstance(fields, TaskField):
        raise Refusal(f"the fields of {where} must be a tuple of TaskFields, got one alone: write (field,)")
    try:
        checked = tuple(fields)
    except TypeError:
        raise Refusal(f"the fields of {where} must be a tuple of TaskFields, got {fields!r}") from None
    if not checked:
        raise Refusal(f"{where} has no task fields: tasks must differ in one number at least")
    for field in checked:
        if not isinstance(field, TaskField):
            raise Refusal(f"the fields of {where} must be TaskFields, got {field!r}")
    names = [field.name for field in checked]
    for name in names:
        if names.count(name) > 1:
            raise Refusal(f"{where} has two task fields named '{name}': each needs a name of its own")
    return checked


def check_spaces(where: str, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
    """Raise ValueError unless the spaces are Boxes with one axis and actions have finite bounds, or are Discrete."""
    discrete = isinstance(action_space, Discrete)
    for kind, space in (("observation", observation_space), *(() if discrete else (("action", action_space),))):
        if not isinstance(space, Box) or len(space.shape) != 1 or space.shape[0] < 1:
            or_discrete = " or Discrete" if kind == "action" else ""
            raise Refusal(f"the {kind} space of {where} must be a Box with one axis{or_discrete}, got {space}")
    if isinstance(action_space, Discrete):
        if action_space.n < 2 or action_space.start != 0:
            raise Refusal(
                f"a Discrete action space of {where} must have two actions or more, from 0 on, got {action_space}"
            )
        return
    assert isinstance(action_space, Box)
    if not (np.isfinite(action_space.low).all() and np.isfinite(action_space.high).all()):
        raise Refusal(f"the action space of {where} must have finite bounds, got {action_space}")
    if not (action_space.low < action_space.high).all():
        raise Refusal(f"the lower bounds of the actions of {where} must be below the upper ones, got {action_space}")


def checked_horizon(where: str, horizon: int) -> int:
    """Return the horizon as an int; raise ValueError unless it is a whole number of at least 1."""
    try:
        steps = operator.index(horizon)
    except TypeError:
        steps = 0
    if steps < 1 or isinstance(horizon, bool):
        raise Refusal(f"the horizon of {where} must be a whole number of at least 1, got {horizon!r}")
    return steps


def _finite(what: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Refusal(f"{what} must be a finite number, got {value!r}")
    return number


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
