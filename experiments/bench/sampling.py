"""Env-steps per second of the sampler over those of the physics alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from mujoco.batch import Batch
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads, single_threaded_torch
from metarl.envs.family import Array, Transition
from metarl.envs.mujoco.simulator import RobotSimulator
from metarl.experiments.bench.measure import (
    FAMILY,
    SamplingJob,
    Scale,
    print_table,
    rate_cells,
    rates_in_turn,
    ratio_of,
    ratio_text,
    sampling_job,
    scale_of,
    spread,
)

TARGET = 0.85
TARGET_OF_OTHERS = 0.8  # for families other than HalfCheetah at a target velocity
LABELS = {
    "sampler": "sampler, with the policy",
    "ceiling": "physics alone, few calls",
    "calls": "physics alone, a call per step",
    "one model": "physics alone, one model",
    "models": "physics alone, a model per task",
}


def run(threads: int | None = None, family: str | None = None) -> dict[str, Any]:
    """Measure a family with ``threads`` (default: all cores), HalfCheetah at the paper's scale."""
    return measure(scale_of(family or FAMILY), threads or available_threads(), repetitions=7)


def show(result: dict[str, Any]) -> None:
    """Print the ratios and their parts."""
    target = TARGET if result["family"] == FAMILY else TARGET_OF_OTHERS
    remarks = [
        f"sampler / physics alone in few calls: {ratio_text(result)}, target at least {target}",
        f"sampler / physics alone in {result['horizon']} calls: {ratio_text(result['over_calls'])}",
        f"Steps after an episode's end do not count; {result['simulated']:.0%} of the episodes' steps were simulated.",
    ]
    if "over_one_model" in result:
        remarks.append(f"a model per task / one model: {ratio_text(result['over_one_model'])}, target at least 0.9")
    print_table(
        f"Sampling {result['family']}: {result['episodes']} episodes of {result['horizon']} steps, "
        f"{result['threads']} threads",
        ["env-steps/s", "median", "min", "max"],
        [[LABELS[name], *rate_cells(part)] for name, part in result["parts"].items()],
        *remarks,
    )


def measure(scale: Scale, threads: int, repetitions: int) -> dict[str, Any]:
    """Compare the sampler with the physics alone: the same initial states and controls, and as many threads.

    The ceiling takes as few calls as the ends of episodes allow, one if none ends; ``calls`` is a call per control
    step, as anything needs that closes the loop. Where tasks change the model, one shared model is compared with a copy
    per task. Raise RuntimeError if the replay is not the sampler's physics.
    """
    job = sampling_job(scale, threads)
    with single_threaded_torch():
        recorder = record(job)
        replay = Replay(recorder, threads)
        replay.check(recorder)
        with job.sampler() as sampler:
            works: dict[str, Callable[[], int]] = {
                "sampler": lambda: int(job.sample(sampler).valid.sum()),
                "ceiling": replay.in_few_calls,
                "calls": replay.in_many_calls,
            }
            if recorder.simulator.tasks.vary is not None:
                works["one model"] = partial(replay.in_many_calls, replay.one_model)
                works["models"] = partial(replay.in_many_calls, replay.model_per_task)
            rates = rates_in_turn(works, repetitions)
            torch_threads = torch.get_num_threads()
    return {
        **ratio_of(rates["sampler"], rates["ceiling"]),
        "over_calls": ratio_of(rates["sampler"], rates["calls"]),
        **({"over_one_model": ratio_of(rates["models"], rates["one model"])} if "models" in rates else {}),
        "parts": {name: spread(values) for name, values in rates.items()},
        "family": scale.name,
        "episodes": scale.tasks * scale.episodes,
        "horizon": scale.horizon,
        "simulated": replay.steps() / (scale.tasks * scale.episodes * scale.horizon),
        "threads": threads,
        "torch_threads": torch_threads,
        "repetitions": repetitions,
    }


class Recorder:
    """A simulator that keeps what its physics starts from, what it is driven by, and where it ends."""

    def __init__(self, simulator: RobotSimulator) -> None:
        self.simulator = simulator
        self.controls: list[Array] = []  # [episode, action] at each control step
        self.running: list[NDArray[np.bool_]] = []  # [episode], whether it has not ended before the control step

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        """Start the episodes and keep their initial states."""
        self.tasks, self.seeds = tasks, seeds
        observations = self.simulator.reset(tasks, seeds)
        self.start = self.batch.state.copy()
        return observations

    def step(self, actions: Array) -> Transition:
        """Take a control step and keep the controls and the states after it."""
        self.running.append(self.simulator.alive.copy())
        transition = self.simulator.step(actions)
        self.controls.append(self.batch.ctrl.copy())
        self.end = positions_and_velocities(self.batch)
        return transition

    def close(self) -> None:
        """Close the recorded simulator."""
        self.simulator.close()

    @property
    def batch(self) -> Batch:
        """The MuJoCo batch of the recorded simulator."""
        assert self.simulator.batch is not None
        return self.simulator.batch


def record(job: SamplingJob) -> Recorder:
    """Record the job's episodes in one simulator: they do not depend on the number of threads."""
    simulator = job.family.make_simulator(1)
    if not isinstance(simulator, RobotSimulator):
        raise Refusal(f"{job.family.name} has no MuJoCo physics to replay: choose the family of a robot")
    recorder = Recorder(simulator)
    recording = replace(job.family, make_simulator=lambda threads: recorder)
    job = replace(job, family=recording, settings=replace(job.settings, threads=1))
    with job.sampler() as sampler:
        job.sample(sampler)
    return recorder


@dataclass(frozen=True)
class Segment:
    """Control steps between which no episode ends."""

    episodes: NDArray[np.int32]  # those that run
    controls: Array  # [episode, physics step, action]


class Replay:
    """The recorded controls, applied to the recorded initial states and nothing else."""

    def __init__(self, recorder: Recorder, threads: int) -> None:
        simulator = RobotSimulator(recorder.simulator.tasks, threads)
        simulator.reset(recorder.tasks, recorder.seeds)
        assert simulator.batch is not None
        self.batch, self.skip, self.start = simulator.batch, simulator.robot.frame_skip, recorder.start
        self.controls, self.running = recorder.controls, recorder.running
        self.segments = list(segments(recorder.controls, recorder.running, self.skip))
        model, episodes = simulator.model, recorder.seeds.shape[1]
        self.one_model = Batch(model, self.batch.nsim, threads)
        self.model_per_task = Batch(model, self.batch.nsim, threads)
        models = [copy.copy(model) for _ in recorder.tasks]
        self.model_per_task.set_models([model for model in models for _ in range(episodes)])

    def steps(self) -> int:
        """Return the number of control steps."""
        return int(np.sum(self.running))

    def in_few_calls(self) -> int:
        """Replay all control steps between two ends of episodes in one open-loop call; return their number."""
        self.batch.state[:] = self.start
        for segment in self.segments:
            self.batch.rollout(segment.controls.shape[1], segment.controls, record=(), ids=segment.episodes)
        return self.steps()

    def in_many_calls(self, batch: Batch | None = None) -> int:
        """Replay each control step in a call; return their number."""
        batch = batch or self.batch
        batch.state[:] = self.start
        for controls, running in zip(self.controls, self.running, strict=True):
            batch.ctrl = controls
            batch.step(None if running.all() else running, nstep=self.skip)
        return self.steps()

    def check(self, recorder: Recorder) -> None:
        """Raise RuntimeError unless both replays end exactly where the recorded episodes did."""
        replays: tuple[Callable[[], int], ...] = (self.in_few_calls, self.in_many_calls)
        for replay in replays:
            replay()
            difference = np.abs(positions_and_velocities(self.batch) - recorder.end).max()
            if not difference == 0:
                raise RuntimeError(f"the replayed states are not those of the sampler: they differ by {difference:g}")


def positions_and_velocities(batch: Batch) -> Array:
    """Return a copy of all episodes' positions and velocities [episode, number]."""
    return np.concatenate([batch.qpos, batch.qvel], axis=1)


def segments(controls: list[Array], running: list[NDArray[np.bool_]], skip: int) -> list[Segment]:
    """Return the segments of recorded episodes whose controls are held for ``skip`` physics steps."""
    ends = [time for time in range(1, len(running)) if (running[time] != running[time - 1]).any()]
    found = []
    for start, stop in zip([0, *ends], [*ends, len(running)], strict=True):
        episodes = np.flatnonzero(running[start]).astype(np.int32)
        if len(episodes):
            held = np.stack([control[episodes] for control in controls[start:stop]], axis=1)
            found.append(Segment(episodes, np.repeat(held, skip, axis=1)))
    return found
