"""Train several methods x seeds, each in a process of its own; what is finished is never computed again."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import FrameType

import numpy as np

from metarl.core.errors import Refusal
from metarl.experiments.analysis.logs import read_log
from metarl.experiments.console.interrupts import Interrupted
from metarl.images.run import is_image_run, read_image_config
from metarl.images.settings import ImageSettings
from metarl.images.training import FAMILY as IMAGES
from metarl.policies.loading import load_classifier, load_controller
from metarl.rl.settings import TrainSettings, read_config
from metarl.rl.training import selection_scores
from metarl.runs.folder import CONTROLLER, PROGRESS
from metarl.runs.recorder import CheckpointSettings

SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Job:
    """One training of a sweep, and its folder."""

    folder: Path
    family: str
    settings: TrainSettings | ImageSettings
    checkpoints: CheckpointSettings
    workers: tuple[str, ...] = ()  # words of the command line on where the tasks are

    @property
    def is_on_images(self) -> bool:
        """Whether the training is on few-shot images."""
        return self.family == IMAGES

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """The file with the output of the training."""
        return self.folder.with_name(f"{self.name}.log")


@dataclass(frozen=True)
class Status:
    """The state of a training of a sweep, waiting, training, stopping, stopped, done or failed, and a remark on it."""

    state: str
    remark: str = ""


STOPPING = Status("stopping", "after this phase; once more stops it at once")


def jobs(
    out: Path,
    family: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    settings: TrainSettings,
    checkpoints: CheckpointSettings,
    processes: int,
) -> list[Job]:
    """Return the trainings of a sweep, one folder METHOD-seedS each.

    Args:
        out: The folder of the sweep.
        family: The name of the task family.
        methods: Meta-learning methods.
        seeds: Seeds of the trainings.
        settings: The settings that all share; the processes share its threads.
        checkpoints: How often each run is saved.
        processes: Trainings at a time.

    Returns:
        The trainings. Refusal says what is impossible, or which folder holds a run with other settings.
    """
    if not methods or not seeds:
        raise Refusal("a sweep needs at least one method and one seed")
    if not 1 <= processes <= settings.threads:
        raise Refusal(f"--processes must be at least 1 and at most {settings.threads} (--threads), got {processes}")
    each = replace(settings, threads=settings.threads // processes)
    found = [
        Job(out / f"{method}-seed{seed}", family, replace(each, method=method, seed=seed), checkpoints)
        for method in dict.fromkeys(methods)
        for seed in dict.fromkeys(seeds)
    ]
    for job in found:
        check_folder(job)
    return found


def check_folder(job: Job) -> None:
    """Raise Refusal if the folder holds a run with other settings; the threads may differ."""
    if not is_begun(job):
        return
    found = (IMAGES, read_image_config(job.folder)) if is_image_run(job.folder) else read_config(job.folder)
    there, wanted = ({"family": name} | asdict(each) for name, each in (found, (job.family, job.settings)))
    for name in there:
        if name != "threads" and there[name] != wanted[name]:
            raise Refusal(
                f"{job.folder} holds a run with {name} {there[name]}, this sweep asks for {wanted[name]}: "
                "choose another folder with --out"
            )


def is_begun(job: Job) -> bool:
    """Return whether there is a run to go on with."""
    return job.folder.is_dir() and any(job.folder.iterdir())


def is_finished(job: Job) -> bool:
    """Return whether the log and the controller both are those of the last iteration."""
    if not is_begun(job) or iterations_done(job) < job.settings.iterations:
        return False
    path = job.folder / CONTROLLER
    try:
        metadata = load_classifier(path).metadata if job.is_on_images else load_controller(path).metadata
    except ValueError:
        return False
    return metadata.training.get("iterations") == job.settings.iterations


def iterations_done(job: Job) -> int:
    """Return the number of iterations in the log."""
    path = job.folder / PROGRESS
    return max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0


def scores(job: Job) -> tuple[float, float]:
    """Return the last and the best score in the log, nan where there is none.

    The score is the return after adaptation, the best one a selection score of the training; on images it is the
    accuracy of the validation.
    """
    name = "validation_accuracy" if job.is_on_images else f"return_{job.settings.inner_steps}"
    column = read_log(job.folder / PROGRESS).columns.get(name)
    finite = [] if column is None else column[np.isfinite(column)].tolist()
    selection = finite if job.is_on_images else selection_scores(finite)
    return (finite[-1], max(selection)) if finite else (math.nan, math.nan)


def command(job: Job) -> list[str]:
    """Return the command line that starts the training, or goes on with it."""
    words = [sys.executable, "-m", "metarl.experiments.cli", "train"]
    if is_begun(job):
        return [*words, "--resume", str(job.folder), *options(job.checkpoints), *job.workers]
    settings = options(job.settings)
    return [*words, job.family, "--out", str(job.folder), *settings, *options(job.checkpoints), *job.workers]


def options(settings: TrainSettings | ImageSettings | CheckpointSettings) -> list[str]:
    """Return every setting as words of a command line."""
    words: list[str] = []
    for field in fields(settings):
        value, name = getattr(settings, field.name), field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, tuple):
            words += [f"--{name}", *map(str, value)]
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words


def run(
    todo: Sequence[Job], processes: int, show: Callable[[dict[Job, Status]], None] = lambda statuses: None
) -> dict[Job, Status]:
    """Train until every job is done or has failed, and return how each ended.

    ``show`` is called again and again with the states. SIGINT, SIGTERM and SIGHUP are passed on to the trainings, which
    save themselves; then Interrupted is raised.
    """
    statuses = {job: Status("done" if is_finished(job) else "waiting") for job in todo}
    waiting = deque(job for job in todo if statuses[job].state == "waiting")
    running: dict[Job, subprocess.Popen[bytes]] = {}
    with noted_signals() as arrived:
        passed_on = 0
        try:
            while running or (waiting and not arrived):
                while waiting and not arrived and len(running) < processes:
                    job = waiting.popleft()
                    running[job] = start(job)
                    statuses[job] = Status("training")
                for number in arrived[passed_on:]:
                    passed_on += 1
                    for job, process in running.items():
                        process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
                        statuses[job] = STOPPING
                show(statuses)
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for job in [job for job, process in running.items() if process.poll() is not None]:
                    statuses[job] = outcome(job, running.pop(job).returncode, bool(arrived))
        finally:
            stop(running.values())
        show(statuses)
    if arrived:
        raise Interrupted(arrived[0], "interrupted; the same command goes on")
    return statuses


def stop(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """End trainings that nobody watches any more; they save themselves."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def start(job: Job) -> subprocess.Popen[bytes]:
    """Start the training's process, in a group of its own: a Ctrl-C reaches it once, passed on by ``run``."""
    words = command(job)
    # One thread in every BLAS and OpenMP pool: the training's own threads fill the cores that it was given.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, process_group=0
            )
    except OSError as error:
        raise Refusal(f"cannot write {job.log}: {error.strerror or error}") from None


def outcome(job: Job, code: int, interrupted: bool) -> Status:
    """Return the state of a training whose process has ended."""
    if code == 0 and is_finished(job):
        return Status("done")
    if interrupted:
        return Status("stopped")
    lines = job.log.read_text(errors="replace").strip().splitlines()
    why = lines[-1].removeprefix("metarl: ") if lines and code > 0 else f"it ended with code {code}"
    return Status("failed", why)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Yield a list to which SIGINT, SIGTERM and SIGHUP are appended, unless they are ignored; they do nothing else."""
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield arrived
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
