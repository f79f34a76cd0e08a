"""Env-steps per second of the sampler over those of the physics alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco import rollout
from numpy.typing import NDArray

from metarl.core.threads import available_threads, single_threaded_torch
from metarl.envs.family import Array, Transition
from metarl.envs.mujoco.half_cheetah import FRAME_SKIP, HalfCheetahSimulator
from metarl.experiments.bench.measure import (
    FULL_SCALE,
    SamplingJob,
    Scale,
    print_table,
    rate_cells,
    rates_in_turn,
    ratio_of,
    ratio_text,
    sampling_job,
    spread,
)

TARGET = 0.85
# The physics is chaotic, and one long rollout starts its solver from its own last solution: after some steps the
# states part. Up to here they must agree.
STEPS_THAT_AGREE = 5


def run(threads: int | None = None) -> dict[str, Any]:
    """Measures at the paper's scale with ``threads`` (default: all cores), in about a minute."""
    return measure(FULL_SCALE, threads or available_threads(), repetitions=7)


def show(result: dict[str, Any]) -> None:
    """Prints the ratio and its parts."""
    labels = {
        "sampler": "sampler, with the policy",
        "ceiling": "mujoco.rollout, 1 call",
        "calls": "mujoco.rollout, a call per step",
    }
    parts = result["parts"]
    print_table(
        f"Sampling: {result['episodes']} episodes of {result['horizon']} steps, {result['threads']} threads",
        ["env-steps/s", "median", "min", "max"],
        [[label, *rate_cells(parts[name])] for name, label in labels.items()],
        f"sampler / physics alone in 1 call: {ratio_text(result)}, target at least {TARGET}",
        f"sampler / physics alone in {result['horizon']} calls: {ratio_text(result['over_calls'])}",
        f"The replayed states differ by {result['difference']:.0e} at most in the first {STEPS_THAT_AGREE} steps.",
    )


def measure(scale: Scale, threads: int, repetitions: int) -> dict[str, Any]:
    """The sampler against the physics alone: the same initial states and controls, and the same number of threads.

    The ceiling is all steps in one call of ``mujoco.rollout``; ``calls`` is a call per control step, as anything needs
    that closes the loop. RuntimeError if the replay is not the sampler's physics.
    """
    job = sampling_job(scale, threads)
    with single_threaded_torch():
        recorder = record(job)
        with job.sampler() as sampler, rollout.Rollout(nthread=0 if threads == 1 else threads) as pool:
            replay = Replay(recorder, threads, pool)
            difference = replay.difference(recorder)
            if not difference < 1e-9:
                raise RuntimeError(f"the replayed states are not those of the sampler: they differ by {difference:g}")
            rates = rates_in_turn(
                {
                    "sampler": lambda: job.sample(sampler).steps(),
                    "ceiling": replay.in_one_call,
                    "calls": replay.in_many_calls,
                },
                repetitions,
            )
            torch_threads = torch.get_num_threads()
    return {
        **ratio_of(rates["sampler"], rates["ceiling"]),
        "over_calls": ratio_of(rates["sampler"], rates["calls"]),
        "parts": {name: spread(values) for name, values in rates.items()},
        "difference": difference,
        "episodes": scale.tasks * scale.episodes,
        "horizon": scale.horizon,
        "threads": threads,
        "torch_threads": torch_threads,
        "repetitions": repetitions,
    }


class Recorder:
    """A simulator that keeps the states and controls of all episodes."""

    def __init__(self, simulator: HalfCheetahSimulator) -> None:
        self.simulator = simulator
        self.states: list[Array] = []  # [episode, state], one more than controls
        self.controls: list[Array] = []  # [episode, action], clipped

    def reset(self, tasks: Array, seeds: NDArray[np.int64]) -> Array:
        observations = self.simulator.reset(tasks, seeds)
        self.states.append(self.simulator.states.copy())
        return observations

    def step(self, actions: Array) -> Transition:
        transition = self.simulator.step(actions)
        self.states.append(self.simulator.states.copy())
        self.controls.append(self.simulator.controls[:, 0].copy())
        return transition

    def draw(self) -> NDArray[np.uint8]:
        return self.simulator.draw()

    def close(self) -> None:
        self.simulator.close()


def record(job: SamplingJob) -> Recorder:
    """The job's episodes; one thread makes it one simulator, and the episodes do not depend on that."""
    simulator = job.family.make_simulator(1)
    assert isinstance(simulator, HalfCheetahSimulator)
    recorder = Recorder(simulator)
    recording = replace(job.family, make_simulator=lambda threads: recorder)
    job = replace(job, family=recording, settings=replace(job.settings, threads=1))
    with job.sampler() as sampler:
        job.sample(sampler)
    return recorder


class Replay:
    """The recorded controls, applied to the recorded initial states through ``mujoco.rollout`` and nothing else."""

    def __init__(self, recorder: Recorder, threads: int, pool: rollout.Rollout) -> None:
        self.pool, self.start = pool, recorder.states[0]
        model = recorder.simulator.model
        count, horizon, state_size = len(self.start), len(recorder.controls), self.start.shape[1]
        self.models = [model] * count
        self.data = [mujoco.MjData(model) for _ in range(threads)]
        self.controls = [np.repeat(control[:, np.newaxis], FRAME_SKIP, axis=1) for control in recorder.controls]
        self.all_controls = np.concatenate(self.controls, axis=1)
        self.states = np.zeros((count, horizon * FRAME_SKIP, state_size))
        self.short_states = np.zeros((count, FRAME_SKIP, state_size))

    def in_one_call(self) -> int:
        """All control steps in one open-loop rollout; returns their number."""
        self._roll_out(self.start, self.all_controls, self.states)
        return len(self.start) * len(self.controls)

    def in_many_calls(self) -> int:
        """A rollout per control step; returns their number."""
        start = self.start
        for controls in self.controls:
            self._roll_out(start, controls, self.short_states)
            start = np.ascontiguousarray(self.short_states[:, -1])
        return len(self.start) * len(self.controls)

    def difference(self, recorder: Recorder) -> float:
        """The largest between the replayed and the recorded states after each of the first control steps."""
        self.in_one_call()
        recorded = np.stack(recorder.states[1 : STEPS_THAT_AGREE + 1], axis=1)
        replayed = self.states[:, FRAME_SKIP - 1 :: FRAME_SKIP][:, :STEPS_THAT_AGREE]
        return float(np.abs(replayed - recorded).max())

    def _roll_out(self, start: Array, controls: Array, states: Array) -> None:
        sensors = np.empty((*states.shape[:2], self.models[0].nsensordata))
        self.pool.rollout(
            self.models,
            self.data,
            start,
            controls,
            state=states,
            sensordata=sensors,
            nstep=states.shape[1],
            skip_checks=True,
        )
