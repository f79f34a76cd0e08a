"""Worker processes: few, they change no number, and one that fails takes all others along with one sentence."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
from own_environments import GOAL, Point, point_with, set_goal

from metarl.core.errors import NumericalFault, Refusal
from metarl.core.user_code import UserCodeError
from metarl.envs.from_gymnasium import definition, task_family

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

TASKS = np.array([[-1.0], [0.5], [1.0]])
SEEDS = np.arange(6).reshape(3, 2)
ACTIONS = np.zeros((3, 2, 1))


def children() -> set[int]:
    """Return the processes below this one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after_name[0] != "Z":
            parents[int(stat.parent.name)] = int(after_name[1])
    below: set[int] = set()
    while found := {process for process, parent in parents.items() if parent in {os.getpid(), *below}} - below:
        below |= found
    return below


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def simulator(request):
    made = point_with(**{"processes": True} | getattr(request, "param", {})).make_simulator(2)
    yield made
    made.close()


def workers(simulator) -> set[int]:
    """Return the processes that step environments: not the one that has forked them."""
    return children() - {simulator.workers.child.pid}


def test_a_process_per_thread_however_many_episodes(simulator) -> None:
    for episodes in (1, 2, 40):
        observations = simulator.reset(TASKS, np.zeros((3, episodes), np.int64))
        assert observations.shape == (3, episodes, 2) and len(workers(simulator)) == 2
    simulator.close()
    assert simulator.reset(TASKS[:1], SEEDS[:1, :1]).shape == (1, 1, 2)


def test_episodes_are_those_of_one_process() -> None:
    outcomes = []
    for processes, threads in ((False, 1), (True, 1), (True, 2), (True, 7)):
        simulator = point_with(processes=processes).make_simulator(threads)
        first = simulator.reset(TASKS, SEEDS)
        rewards = simulator.step(ACTIONS).rewards
        simulator.close()
        assert rewards.tolist() == [[-1.0, -1.0], [-0.5, -0.5], [-1.0, -1.0]]
        outcomes.append(first)
    assert len(np.unique(outcomes[0].reshape(-1, 2), axis=0)) == 6
    for outcome in outcomes[1:]:
        np.testing.assert_array_equal(outcome, outcomes[0])


def after(time: int, act):
    """Return an answer of step that calls ``act`` at the given time in episodes of the task goal=1."""

    def answer(env, step):
        if env.time == time and env.goal == 1.0:
            act()
        return step

    return answer


# What is sent by value has a file's name or not, depending on cloudpickle's version.
SENT = "(.*test_workers.py|<dynamic-code>)"


def fail() -> None:
    raise RuntimeError("out of licences")


def diverge() -> None:
    raise FloatingPointError("diverged")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(5)


def stepped(answer, steps: int):
    simulator = point_with(answer, processes=True).make_simulator(2)
    simulator.reset(TASKS, SEEDS)
    for _ in range(steps):
        simulator.step(ACTIONS)
    return simulator


def test_an_error_ends_all_workers_with_its_file_and_line() -> None:
    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(UserCodeError, match=rf"step of point failed in {SENT}, line {line}: Run") as error:
        stepped(after(8, fail), 8)
    assert "In the worker process:\nTraceback" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (die, "a worker process with environments of point was ended by signal 9, SIGKILL: is there enough memory"),
        (leave, "a worker process with environments of point ended by itself with exit code 5"),
    ],
)
def test_a_worker_that_dies_is_told(act, sentence: str) -> None:
    with pytest.raises(UserCodeError, match=sentence):
        stepped(after(8, act), 8)


def test_a_fault_of_the_numbers_leaves_the_workers_running() -> None:
    simulator = stepped(after(8, diverge), 7)
    before = workers(simulator)
    with pytest.raises(NumericalFault, match="step of point failed in .*: FloatingPointError: diverged"):
        simulator.step(ACTIONS)
    simulator.reset(TASKS, SEEDS)
    assert simulator.step(ACTIONS).rewards.shape == (3, 2) and workers(simulator) == before
    simulator.close()


def test_an_environment_that_fails_in_workers_alone() -> None:
    """It is made in this process to learn its spaces, where it works."""
    here = os.getpid()

    def make(**kwargs):
        if os.getpid() != here:
            fail()
        return Point(**kwargs)

    simulator = task_family("point", make, GOAL, 10, set_goal, processes=True).make_simulator(2)
    with pytest.raises(UserCodeError, match="make_env of point failed in .*: RuntimeError: out of licences"):
        simulator.reset(TASKS, SEEDS)


def test_environments_that_a_script_has_registered() -> None:
    """A script is not imported by the workers."""
    gymnasium.register("scripts/Point-v0", entry_point=lambda **kwargs: Point(**kwargs))
    lock = threading.Lock()
    gymnasium.register("scripts/Locked-v0", entry_point=lambda **kwargs: lock)  # cannot be handed over
    try:
        make = partial(gymnasium.make, "scripts/Point-v0")
        simulator = task_family("point", make, GOAL, 10, set_goal, processes=True).make_simulator(1)
        assert simulator.reset(TASKS, SEEDS).shape == (3, 2, 2)
        simulator.close()
    finally:
        del gymnasium.registry["scripts/Point-v0"], gymnasium.registry["scripts/Locked-v0"]


def test_functions_that_cannot_be_handed_over() -> None:
    lock = threading.Lock()

    def make(**kwargs):
        with lock:
            return Point(**kwargs)

    simulator = task_family("point", make, GOAL, 10, set_goal, processes=True).make_simulator(1)
    with pytest.raises(
        Refusal, match="make_env and set_task of point cannot be handed to worker processes .*lock.*proce"
    ):
        simulator.reset(TASKS, SEEDS)


def test_too_few_open_files(simulator) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, hard))
    try:
        with pytest.raises(
            Refusal, match=rf"2 worker processes for point cannot be .* open {used + 2} files \(ulimit -n"
        ):
            simulator.reset(TASKS, SEEDS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == used


class Hangs(Point):
    def reset(self, **kwargs):
        while self.goal == 1.0:
            time.sleep(0.01)
        return super().reset(**kwargs)


def test_a_reset_that_hangs_is_told_with_its_task() -> None:
    family = task_family("point", lambda **kwargs: Hangs(**kwargs), GOAL, 10, set_goal, reset_seconds=0.3)
    sentence = "reset of point for the task goal=1 failed in .*line.*: TimeoutError: longer than 0.3 s"
    with pytest.raises(UserCodeError, match=sentence):
        family.make_simulator(1)  # in the trial, in this process
    drawn = replace(GOAL[0], high=0.0)
    family = task_family("point", lambda **kwargs: Hangs(**kwargs), (drawn,), 10, set_goal, reset_seconds=0.3)
    simulator = family.make_simulator(2)
    with pytest.raises(UserCodeError, match=sentence):
        simulator.reset(TASKS, SEEDS)


HANGING = """
import time
from own_environments import GOAL, Point, set_goal
from metarl.envs.from_gymnasium import task_family

class Hangs(Point):
    def step(self, action):
        if self.time == 7:
            print("hangs", flush=True)
            time.sleep(1000)
        return super().step(action)

family = task_family("point", lambda **kwargs: Hangs(**kwargs), GOAL, 10, set_goal, processes=True)
"""


@pytest.mark.slow
def test_signals_end_a_training_whose_environment_hangs(tmp_path) -> None:
    """The first signal is to end it after the phase, which never comes; the second one ends it."""
    (tmp_path / "mine.py").write_text(HANGING)
    words = "train mine:family --iterations 1 --meta-batch-size 2 --episodes-per-task 1 --hidden-sizes 4 --threads 1"
    command = [sys.executable, "-m", "metarl.experiments.cli", *words.split()]
    path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": path}
    training = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert training.stdout.readline() == b"hangs\n"
    training.send_signal(signal.SIGTERM)
    assert b"once more" in training.stderr.readline() + training.stderr.readline()
    training.send_signal(signal.SIGTERM)
    assert training.wait(60) == 143
    training.communicate()


def test_slow_steps_are_taken_in_processes_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(env, step):
        time.sleep(0.001)
        return step

    monkeypatch.setattr(definition, "available_threads", lambda: 2)
    assert point_with(slow).make_simulator(3).processes == 3
    assert point_with(slow, processes=False).make_simulator(3).processes == 0
    monkeypatch.setattr(definition, "SLOW_STEP", 1.0)
    assert point_with(slow).make_simulator(3).processes == 0
    monkeypatch.undo()
    lock = threading.Lock()
    assert point_with(lambda env, step: [time.sleep(0.001), lock.locked(), step][2]).make_simulator(3).processes == 0
