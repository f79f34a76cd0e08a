"""Sweeps: every training once, no more at a time than asked for, and going on after an interruption."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import FAMILY
from rich.console import Console
from run_folders import write_run

from metarl import api
from metarl.envs.registry import get_family
from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep import Job, Status
from metarl.experiments.analysis.sweep_status import status_table
from metarl.experiments.commands import sweep as command
from metarl.experiments.commands.train import parse_train
from metarl.experiments.console.interrupts import Interrupted
from metarl.rl.settings import TrainSettings, preset, read_config
from metarl.rl.training import PolicyTraining
from metarl.runs.folder import write_config
from metarl.runs.recorder import CheckpointSettings

SMALL = preset(FAMILY, iterations=40, meta_batch_size=2, episodes_per_task=2, horizon=5, hidden_sizes=(4,), threads=2)
WORDS = shlex.split("--meta-batch-size 2 --episodes-per-task 2 --horizon 5 --hidden-sizes 4 --threads 2")
OFTEN = CheckpointSettings(checkpoint_iterations=1)


def make_jobs(out: Path, methods: tuple[str, ...], seeds: tuple[int, ...], processes: int = 1) -> list[Job]:
    return sweep.jobs(out, FAMILY, methods, seeds, SMALL, OFTEN, processes)


def begin(folder: Path, settings: TrainSettings) -> None:
    """Leave what a run has that was killed before its first iteration."""
    folder.mkdir()
    write_config(folder, PolicyTraining(get_family(FAMILY), settings))


def pretend(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Has trainings run a script, with the run folder as its argument, which need leave nothing to count as done."""
    monkeypatch.setattr(sweep, "command", lambda job: [sys.executable, "-c", script, str(job.folder)])
    monkeypatch.setattr(sweep, "is_finished", lambda job: (job.folder / "done").exists())


WORK = "import pathlib, sys, time; time.sleep(0.3); f = pathlib.Path(sys.argv[1]); f.mkdir(); (f / 'done').touch()"


def test_one_training_for_each_method_and_seed(tmp_path: Path) -> None:
    todo = make_jobs(tmp_path, ("maml", "anil", "maml"), (3, 5), processes=2)
    assert [job.name for job in todo] == ["maml-seed3", "maml-seed5", "anil-seed3", "anil-seed5"]
    assert todo[3].folder == tmp_path / "anil-seed5"
    assert todo[3].settings == replace(SMALL, method="anil", seed=5, threads=1)


@pytest.mark.parametrize(("threads", "processes", "each"), [(8, 1, 8), (8, 3, 2), (7, 2, 3), (2, 2, 1)])
def test_the_threads_are_shared(threads: int, processes: int, each: int, tmp_path: Path) -> None:
    settings = replace(SMALL, threads=threads)
    (job,) = sweep.jobs(tmp_path, FAMILY, ["maml"], [0], settings, OFTEN, processes)
    assert job.settings.threads == each


@pytest.mark.parametrize("settings", [SMALL, preset(FAMILY, first_order=True, horizon=None, damping=1.25e-5)])
def test_the_command_line_of_a_training_gives_its_settings(settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(settings, method="maml++", seed=7)
    words = sweep.command(Job(tmp_path / "run", FAMILY, settings, OFTEN))
    assert words[:4] == [sys.executable, "-m", "metarl.experiments.cli", "train"]
    parsed = parse_train(words[4:])
    assert (parsed.family, parsed.settings, parsed.checkpoints) == (FAMILY, settings, OFTEN)
    assert parsed.out == tmp_path / "run"


def test_a_training_that_has_begun_is_resumed(tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path, ("maml",), (0,))
    begin(job.folder, job.settings)
    assert sweep.command(job)[4:6] == ["--resume", str(job.folder)]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "maml-seed0", replace(SMALL, threads=1))
    make_jobs(tmp_path, ("maml",), (0,))
    for other, says in (
        (replace(SMALL, iterations=6), r"iterations 40, this sweep asks for 6"),
        (replace(SMALL, hidden_sizes=(8,)), r"hidden_sizes \(4,\), this sweep asks for \(8,\)"),
    ):
        with pytest.raises(ValueError, match=f"maml-seed0 holds a run with {says}: choose another"):
            sweep.jobs(tmp_path, FAMILY, ["anil", "maml"], [0], other, OFTEN, 1)
    with pytest.raises(ValueError, match="family navigation-2d, this sweep asks for half-cheetah-velocity"):
        sweep.jobs(tmp_path, "half-cheetah-velocity", ["maml"], [0], SMALL, OFTEN, 1)


def test_finished_means_that_log_and_controller_both_are(run: Path, tmp_path: Path) -> None:
    _, settings = read_config(run)
    job = Job(run, FAMILY, settings, OFTEN)
    assert sweep.is_finished(job)
    assert not sweep.is_finished(replace(job, settings=replace(settings, iterations=3)))
    assert not sweep.is_finished(replace(job, folder=tmp_path / "none"))
    only_log = Job(write_run(tmp_path / "log"), FAMILY, replace(settings, iterations=3), OFTEN)
    assert sweep.iterations_done(only_log) == 3 and not sweep.is_finished(only_log)
    (only_log.folder / "controller.safetensors").write_bytes((run / "controller.safetensors").read_bytes())
    assert not sweep.is_finished(only_log)


def test_last_and_best_return(tmp_path: Path) -> None:
    job = Job(write_run(tmp_path / "run", after=(-3.0, -1.0, -5.0)), FAMILY, SMALL, OFTEN)
    assert sweep.scores(job) == (-5, -2)
    (job.folder / "progress.csv").unlink()
    assert all(value != value for value in sweep.scores(job)) and sweep.iterations_done(job) == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_no_more_trainings_at_a_time_than_asked_for(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, WORK)
    monkeypatch.setattr(sweep, "SECONDS_BETWEEN_LOOKS", 0.02)
    seen: list[list[str]] = []
    todo = make_jobs(tmp_path, ("maml", "anil"), (0, 1), processes)
    (todo[1].folder).mkdir()
    (todo[1].folder / "done").touch()
    statuses = sweep.run(todo, processes, lambda each: seen.append([status.state for status in each.values()]))
    assert [status.state for status in statuses.values()] == ["done"] * 4
    assert max(states.count("training") for states in seen) == processes
    assert not todo[1].log.exists() and all(states[1] == "done" for states in seen)
    assert seen[0].count("waiting") == 3 - processes


def test_a_training_that_fails_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import sys; 'anil' in sys.argv[1] and sys.exit('metarl: no [luck]')\n" + WORK)
    todo = make_jobs(tmp_path, ("anil", "maml"), (0,))
    statuses = sweep.run(todo, 1)
    assert list(statuses.values()) == [Status("failed", "no [luck]"), Status("done")]
    console = Console(record=True, width=100)
    console.print(status_table(statuses))
    assert "anil-seed0: failed: no [luck]" in console.export_text()
    with pytest.raises(ValueError, match=r"1 of 2 trainings failed \(anil-seed0\)"):
        command.main([FAMILY, *WORDS, "--methods", "anil", "maml", "--out", str(tmp_path / "again")])


def test_a_training_that_is_killed_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    (status,) = sweep.run(make_jobs(tmp_path, ("maml",), (0,)), 1).values()
    assert status == Status("failed", "it ended with code -9")


SAVES = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: (folder / f"signal-{number}").touch())
(folder / "ready").touch()
while len(list(folder.glob("signal-*"))) < int(sys.argv[2] if len(sys.argv) > 2 else 1):
    time.sleep(0.02)
(folder / "saved").touch()
sys.exit(130)
"""


@pytest.mark.parametrize(
    ("number", "passed_on"), [(signal.SIGINT, "signal-2"), (signal.SIGTERM, "signal-15"), (signal.SIGHUP, "signal-15")]
)
def test_a_signal_stops_every_training_and_waits_until_they_have_saved(
    number: signal.Signals, passed_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, SAVES)
    todo = make_jobs(tmp_path, ("maml", "anil"), (0, 1), processes=2)
    before = signal.getsignal(number)
    last: dict[Job, Status] = {}
    sent: list[int] = []

    def show(statuses: dict[Job, Status]) -> None:
        last.update(statuses)
        if not sent and all((job.folder / "ready").exists() for job in todo[:2]):
            sent.append(number)
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as caught:
        sweep.run(todo, 2, show)
    assert caught.value.number == number and signal.getsignal(number) is before
    assert [status.state for status in last.values()] == ["stopped", "stopped", "waiting", "waiting"]
    for job in todo[:2]:
        assert sorted(path.name for path in job.folder.iterdir()) == ["ready", "saved", passed_on]
    assert not todo[2].folder.exists()


def test_the_second_signal_is_passed_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, SAVES.replace("else 1", "else 2"))
    (job,) = make_jobs(tmp_path, ("maml",), (0,))
    seen: list[str] = []

    def show(statuses: dict[Job, Status]) -> None:
        seen.append(statuses[job].state)
        if (job.folder / "ready").exists() and seen[-1] == "training":
            signal.raise_signal(signal.SIGINT)
        elif (job.folder / "signal-2").exists() and seen[-1] == "stopping":
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        sweep.run([job], 1, show)
    assert (job.folder / "saved").exists() and "stopping" in seen


def test_a_failure_of_the_display_leaves_no_training_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, SAVES)
    (job,) = make_jobs(tmp_path, ("maml",), (0,))

    def show(statuses: dict[Job, Status]) -> None:
        if (job.folder / "ready").exists():
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        sweep.run([job], 1, show)
    assert (job.folder / "saved").exists()


def test_an_interrupted_sweep_goes_on_to_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "sweep"
    todo = make_jobs(out, ("maml", "anil"), (0,), processes=2)

    def interrupt(statuses: dict[Job, Status]) -> None:
        while statuses[todo[0]].state == "training":
            if sweep.iterations_done(todo[0]):
                signal.raise_signal(signal.SIGINT)
                break
            time.sleep(0.001)

    with pytest.raises(Interrupted):
        sweep.run(todo, 2, interrupt)
    assert 0 < sweep.iterations_done(todo[0]) < 40
    words = [FAMILY, *WORDS, "--iterations", "40", "--methods", "maml", "anil", "--processes", "2", "--out", str(out)]
    words += ["--checkpoint-iterations", "1"]
    command.main(words)
    text = capsys.readouterr().out
    assert re.search(r"anil-seed0 +│ done +│ +40/40", text) and f"metarl report {out}" in text
    for job in todo:
        api.train(FAMILY, settings=job.settings, out=tmp_path / job.name)
        for name in ("progress.csv", "controller.safetensors"):
            assert (job.folder / name).read_bytes() == (tmp_path / job.name / name).read_bytes()
        assert job.log.stat().st_size

    monkeypatch.setattr(sweep, "start", lambda job: pytest.fail(f"{job.name} was computed again"))
    command.main(words)
    assert json.loads((out / "maml-seed0" / "config.json").read_text())["settings"]["threads"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("nonsense --out x", "'nonsense'"),
        (f"{FAMILY} --methods nonsense --out x", "unknown method 'nonsense'"),
        (f"{FAMILY} --seeds -1 --out x", "'seed'"),
        (f"{FAMILY} --seeds --out x", "at least one method and one seed"),
        (f"{FAMILY} --threads 2 --processes 3 --out x", "--processes must be at least 1 and at most 2"),
        (f"{FAMILY} --processes 0 --out x", "--processes must be at least 1"),
        (f"{FAMILY} --meta-batch-size 0 --out x", "'meta_batch_size'"),
    ],
)
def test_bad_input(words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        command.main(words.split())
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        sweep.run(make_jobs(tmp_path / "file", ("maml",), (0,)), 1)
