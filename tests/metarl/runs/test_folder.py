"""Which folder a run takes, what it leaves there when it fails, and with what it goes on."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from point_family import TINY, PointSimulator, point_family
from watching import Steps, Stop, StopAfter

from metarl.api import resume, train
from metarl.core.atomic import CannotWrite
from metarl.core.errors import NumericalFault, Refusal
from metarl.envs.family import TaskField
from metarl.policies.loading import load_controller
from metarl.rl.settings import read_config
from metarl.runs import folder as run_folder
from metarl.runs import logs, recorder
from metarl.runs.callbacks import Callback
from metarl.runs.checkpoint import checkpoint_files, read_checkpoint
from metarl.runs.run import Untrained

SHORT = replace(TINY, iterations=3)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class BrokenSimulator(PointSimulator):
    def step(self, actions):
        raise RuntimeError("no power")


def test_settings_of_numpy_are_recorded_as_plain_numbers(tmp_path: Path) -> None:
    settings = {
        "seed": np.int64(4),
        "meta_batch_size": np.int32(3),
        "step_size": np.float32(0.5),
        "horizon": np.int64(5),
    }
    train(point_family(), settings=SHORT, out=tmp_path / "run", **settings)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert [recorded[name] for name in settings] == [4, 3, 0.5, 5]
    controller = load_controller(tmp_path / "run")
    assert controller.metadata.training["seed"] == 4 and controller.metadata.horizon == 5
    resume(tmp_path / "run", family=point_family())


@pytest.mark.parametrize(
    ("make_simulator", "error"),
    [
        (lambda threads: BrokenSimulator(), RuntimeError),
        (lambda threads: 1 / 0, ZeroDivisionError),
    ],
)
def test_a_start_that_fails_leaves_nothing(tmp_path: Path, make_simulator, error: type[Exception]) -> None:
    with pytest.raises((error, Refusal)):
        train(point_family(make_simulator=make_simulator), settings=SHORT, out=tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises((error, Refusal)):
        train(point_family(make_simulator=make_simulator), settings=SHORT, out=tmp_path / "mine")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"] and not any((tmp_path / "mine").iterdir())


def test_a_start_on_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise CannotWrite("cannot write config.json: No space left on device")

    monkeypatch.setattr(run_folder, "write_atomically", fail)
    with pytest.raises(CannotWrite, match="No space left"):
        train(point_family(), settings=SHORT, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_refused_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = everything_below(tmp_path)
    for place in (tmp_path, tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(Refusal):
            train(point_family(), settings=SHORT, out=place)
    assert everything_below(tmp_path) == before


def test_of_two_runs_at_one_moment_the_config_is_that_of_the_one_that_trains(tmp_path: Path) -> None:
    """The second one begins when the first one has made the folder and holds the lock, but has written nothing."""
    sentences: list[str] = []

    class SecondRun(Callback):
        def on_start(self, training, state) -> None:
            def begin() -> None:
                try:
                    train(point_family(), settings=replace(SHORT, seed=7), out=tmp_path / "run")
                except Refusal as refusal:
                    sentences.append(str(refusal))

            thread = threading.Thread(target=begin)
            thread.start()
            thread.join()

    train(point_family(), settings=SHORT, out=tmp_path / "run", callbacks=[SecondRun()])
    assert "exists already" in sentences[0] or "is in use" in sentences[0]
    assert read_config(tmp_path / "run")[1].seed == SHORT.seed


def test_a_folder_that_another_process_has_just_locked_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    sentences: list[str] = []

    def begin() -> None:
        with pytest.raises(Refusal) as refused:
            train(point_family(), settings=SHORT, out=tmp_path / "run")
        sentences.append(str(refused.value))

    with run_folder.exclusive(tmp_path / "run"):
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        assert not (tmp_path / "run" / "config.json").exists()
    assert f"is in use: process {os.getpid()}" in sentences[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"horizon": 25}, "horizon was 7 and is 25"),
        ({"fields": (TaskField("target", 50.0, 60.0),)}, r"field target range was \[-1.0, 1.0\] and is \[50.0, "),
        ({"fields": (TaskField("target", -1, 1, choices=(-1, 1)),)}, r"choices was \[\] and is \[-1.0, 1.0\]"),
    ],
)
def test_another_family_of_the_same_name_does_not_go_on(tmp_path: Path, change: dict, sentence: str) -> None:
    with pytest.raises(Stop):
        train(point_family(), settings=SHORT, out=tmp_path / "run", callbacks=[StopAfter(1)])
    before = everything_below(tmp_path)
    with pytest.raises(Refusal, match=f"run was begun on another point: .*{sentence}"):
        resume(tmp_path / "run", family=replace(point_family(), **change))
    assert everything_below(tmp_path).keys() - before.keys() <= {"run/.lock-holder"}
    assert all(before[name] == everything_below(tmp_path)[name] for name in before if ".lock" not in name)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"first_order": false', '"first_order": "no"', "setting 'first_order' must be true or false, got 'no'"),
        ('"seed": 0', '"seed": 1.5', "setting 'seed' must be a whole number, got 1.5"),
        ('"seed": 0', '"sead": 0', "unknown setting 'sead'"),
        ('"seed": 0', '"seed": 1', "written with other settings than the run has now"),
        ('"max_kl": 0.01', '"max_kl": 0.02', "written with other settings than the run has now"),
        ("8\n", "9\n", "written with other settings than the run has now"),
        ("{", "", "is not the configuration of a run"),
    ],
)
def test_a_config_that_was_altered(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(Stop):
        train(point_family(), settings=SHORT, out=tmp_path / "run", callbacks=[StopAfter(1)])
    config = tmp_path / "run" / "config.json"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))
    before = everything_below(tmp_path)
    with pytest.raises(Refusal, match=sentence):
        resume(tmp_path / "run", family=point_family())
    after = everything_below(tmp_path)
    assert all(before[name] == after[name] for name in before if ".lock" not in name)


@pytest.mark.parametrize("interrupted_by", [KeyboardInterrupt, CannotWrite])
def test_a_row_is_written_once_whatever_ends_the_logging_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_by: type[BaseException]
) -> None:
    """The training is ended between the two logs of its second iteration."""
    append, rows = logs.append_row, 0

    def append_and_stop(path: Path, columns: list[str], row: logs.Row) -> None:
        nonlocal rows
        if path.name == "timings.csv" and rows == 1:
            raise interrupted_by("now")
        rows += path.name == "timings.csv"
        append(path, columns, row)

    with monkeypatch.context() as patch:
        patch.setattr(logs, "append_row", append_and_stop)
        with pytest.raises(interrupted_by):
            train(point_family(), settings=SHORT, out=tmp_path / "run")
    state = read_checkpoint(checkpoint_files(tmp_path / "run")[0]).state
    assert state.iteration == 1
    resume(tmp_path / "run", family=point_family())
    train(point_family(), settings=SHORT, out=tmp_path / "whole")
    for name in ("progress.csv", "controller.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "run" / "timings.csv").read_text().count("\n") == 1 + SHORT.iterations


def test_a_disk_that_fills_tells_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, writes = recorder.write_checkpoint, 0

    def write_once(*of: object) -> None:
        nonlocal writes
        writes += 1
        if writes > 1:
            raise CannotWrite("cannot write a checkpoint to here: No space left on device")
        write(*of)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "write_checkpoint", write_once)
        with pytest.raises(CannotWrite, match=r"No space left on device; .* metarl train --resume .*run goes on$"):
            train(point_family(), settings=SHORT, out=tmp_path / "run")
    assert resume(tmp_path / "run", family=point_family()).metadata.training["iterations"] == SHORT.iterations


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(point_family(), settings=SHORT, out=tmp_path / "run", callbacks=[StopAfter(1)])
    stale = [tmp_path / "run" / name / ".metarl-0123456789abcdef.tmp" for name in (".", "checkpoints")]
    for path in stale:
        path.write_bytes(b"half")
    resume(tmp_path / "run", family=point_family())
    assert not any(path.exists() for path in stale)


def test_a_finished_run_gets_more_iterations(tmp_path: Path) -> None:
    train(point_family(), settings=SHORT, out=tmp_path / "run")
    controller = resume(tmp_path / "run", iterations=5, family=point_family())
    assert controller.metadata.training["iterations"] == 5 and read_config(tmp_path / "run")[1].iterations == 5
    train(point_family(), settings=replace(SHORT, iterations=5), out=tmp_path / "whole")
    for name in ("progress.csv", "controller.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(Refusal, match="has done 5 iterations, more than the 4 asked for"):
        resume(tmp_path / "run", iterations=4, family=point_family())


def test_nothing_is_told_as_a_result_that_was_not_trained(tmp_path: Path) -> None:
    broken = point_family(make_simulator=lambda threads: PointSimulator(frozenset(range(1000))))
    with pytest.raises(Untrained, match="no iteration succeeded; the controller is untrained"):
        train(broken, settings=SHORT, out=tmp_path / "run")
    with pytest.raises(Untrained):
        train(broken, settings=SHORT)
    with pytest.raises(NumericalFault, match="5th such iteration in a row"):
        train(broken, settings=replace(SHORT, iterations=9), out=tmp_path / "longer")
    steps = Steps()
    assert resume(tmp_path / "longer", family=point_family(), callbacks=[steps]).metadata.training["iterations"] == 9
    assert [step.state.iteration for step in steps] == [6, 7, 8, 9]
