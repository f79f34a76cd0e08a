"""Runs in folders: what they leave, and that an interrupted one ends with the numbers of an undisturbed one."""

import csv
import json
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from point_family import TINY, point_family
from watching import Steps, Stop, StopAfter

import metarl.core.atomic
import metarl.rl.logs
import metarl.runs.checkpoint
from metarl.api import resume, train
from metarl.core.errors import Refusal
from metarl.policies.loading import load_controller
from metarl.rl.settings import TrainSettings, read_config
from metarl.rl.training import PolicyTraining
from metarl.runs.checkpoint import checkpoint_files, read_checkpoint, write_checkpoint
from metarl.runs.folder import CONTROLLER, PROGRESS, digest, exclusive
from metarl.runs.recorder import CheckpointSettings

OFTEN = CheckpointSettings(checkpoint_iterations=2)
OUTPUTS = (PROGRESS, CONTROLLER)
ATTENDING = replace(TINY, method="p-meta-fw0.3-bw0.3")


def run(folder: Path, settings: TrainSettings = TINY, **kwargs) -> None:
    train(point_family(), settings=settings, out=folder, checkpoints=OFTEN, **kwargs)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return contents(folder)


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    run(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["family"] == "point" and config["versions"]["torch"] == torch.__version__
    assert read_config(tmp_path / "run") == ("point", TINY)
    assert len((tmp_path / "run" / PROGRESS).read_text().splitlines()) == 1 + TINY.iterations
    assert len((tmp_path / "run" / "timings.csv").read_text().splitlines()) == 1 + TINY.iterations
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert [path.name for path in checkpoint_files(tmp_path / "run")] == [
        "iteration-00000006.safetensors",
        "iteration-00000004.safetensors",
    ]
    assert load_controller(tmp_path / "run" / CONTROLLER).metadata.training["iterations"] == TINY.iterations


@pytest.mark.parametrize("threads", [1, 3])
def test_same_seed_same_numbers_whatever_the_threads(
    tmp_path: Path, uninterrupted: dict[str, bytes], threads: int
) -> None:
    train(point_family(), settings=replace(TINY, threads=threads), out=tmp_path / "run")
    assert contents(tmp_path / "run") == uninterrupted


def test_another_seed_gives_other_numbers(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    train(point_family(), settings=replace(TINY, seed=1), out=tmp_path / "run")
    assert contents(tmp_path / "run")[PROGRESS] != uninterrupted[PROGRESS]


@pytest.mark.parametrize("iteration", [1, 2, 5])
def test_resumed_after_an_exception(tmp_path: Path, uninterrupted: dict[str, bytes], iteration: int) -> None:
    with pytest.raises(Stop):
        run(tmp_path / "run", callbacks=[StopAfter(iteration)])
    assert load_controller(tmp_path / "run" / CONTROLLER).metadata.training["iterations"] == iteration
    resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    assert contents(tmp_path / "run") == uninterrupted


def test_resumed_from_an_older_checkpoint_when_the_newest_is_damaged(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Stop):
        run(tmp_path / "run", callbacks=[StopAfter(5)])
    newest = checkpoint_files(tmp_path / "run")[0]
    newest.write_bytes(newest.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=f"{newest.name}.*truncated.*going on from iteration-00000004"):
        resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    assert contents(tmp_path / "run") == uninterrupted


def test_resumed_from_the_checkpoint_before_the_first_iteration(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Stop):
        run(tmp_path / "run", callbacks=[StopAfter(1)])
    newest, oldest = checkpoint_files(tmp_path / "run")
    assert oldest.name == "iteration-00000000.safetensors"
    newest.unlink()
    resume(tmp_path / "run", family=point_family())
    assert contents(tmp_path / "run") == uninterrupted


def test_a_run_whose_checkpoints_are_gone_keeps_its_logs(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = contents(tmp_path / "run")
    for path in checkpoint_files(tmp_path / "run"):
        path.unlink()
    with pytest.raises(Refusal, match="has no checkpoint any more: the run cannot go on"):
        resume(tmp_path / "run", family=point_family())
    assert contents(tmp_path / "run") == before


def test_a_finished_run_stays_as_it_is(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    run(tmp_path / "run")
    resume(tmp_path / "run", family=point_family())
    assert contents(tmp_path / "run") == uninterrupted


def test_no_checkpoint_is_usable(tmp_path: Path) -> None:
    run(tmp_path / "run")
    for path in checkpoint_files(tmp_path / "run"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint of .* can be used"):
        resume(tmp_path / "run", family=point_family())


def test_a_checkpoint_of_other_settings(tmp_path: Path) -> None:
    run(tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"method": "maml"', '"method": "anil"'))
    with pytest.raises(Refusal, match="written with other settings than the run has now: config.json was altered"):
        resume(tmp_path / "run", family=point_family())


def test_a_checkpoint_of_a_newer_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replace(metarl.runs.checkpoint.KIND, version=3)
    with monkeypatch.context() as patch:
        patch.setattr(metarl.runs.checkpoint, "KIND", newer)
        run(tmp_path / "run")
    with pytest.raises(Refusal, match="format version 3, this metarl reads up to 2"):
        resume(tmp_path / "run", family=point_family())


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    run(tmp_path / "run")
    (tmp_path / "run" / PROGRESS).write_text("iteration\n")
    with pytest.raises(ValueError, match="shorter than at the checkpoint"):
        resume(tmp_path / "run", family=point_family())


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already and is not overwritten"):
        run(tmp_path)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        resume(tmp_path)
    with pytest.raises(ValueError, match="cannot write to"):
        run(tmp_path / "notes.txt" / "run")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_second_process_is_told_who_trains(tmp_path: Path) -> None:
    run(tmp_path / "run")
    sentences = []

    def second() -> None:
        with pytest.raises(ValueError) as caught:
            resume(tmp_path / "run", family=point_family())
        sentences.append(str(caught.value))

    with exclusive(tmp_path / "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "is in use: process" in sentences[0]


def test_a_full_disk_costs_no_more_than_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    write, failures = metarl.core.atomic.os.fsync, iter([False] * 8 + [True])

    def fsync(descriptor: int) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        write(descriptor)

    monkeypatch.setattr(metarl.core.atomic.os, "fsync", fsync)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tmp_path / "run")
    assert any("No space left on device; training goes on" in str(warning.message) for warning in caught)
    assert contents(tmp_path / "run") == uninterrupted
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_run_of_a_version_with_fewer_settings_goes_on(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    """A setting that came later has its default in an older run, whose checkpoints do not count it."""
    with pytest.raises(Stop):
        run(tmp_path / "run", callbacks=[StopAfter(3)])
    config = tmp_path / "run" / "config.json"
    content = json.loads(config.read_text())
    assert content["settings"].pop("outer_lr") == TrainSettings().outer_lr
    config.write_text(json.dumps(content))
    older = digest(PolicyTraining(point_family(), TINY), content["settings"].keys())
    for path in checkpoint_files(tmp_path / "run"):
        write_checkpoint(tmp_path / "run", replace(read_checkpoint(path), digest=older))
    content["settings"]["discount"] = 0.5
    config.write_text(json.dumps(content))
    with pytest.raises(Refusal, match="config.json was altered"):
        resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    content["settings"]["discount"] = TINY.discount
    config.write_text(json.dumps(content))
    resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    assert contents(tmp_path / "run") == uninterrupted


def test_a_checkpoint_says_all(tmp_path: Path) -> None:
    steps = Steps()
    run(tmp_path / "run", callbacks=[steps])
    checkpoint = read_checkpoint(checkpoint_files(tmp_path / "run")[0])
    last = steps[-1].state
    assert checkpoint.digest == digest(PolicyTraining(point_family(), TINY)) and checkpoint.state.iteration == 6
    assert checkpoint.state.best_score == last.best_score and checkpoint.state.best_iteration == last.best_iteration
    assert checkpoint.state.recent_returns == last.recent_returns and len(last.recent_returns) == 6
    for mine, theirs in (
        (checkpoint.state.parameters, last.parameters),
        (checkpoint.state.best_parameters, last.best_parameters),
    ):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture(scope="module")
def attending(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("runs") / "attending"
    run(folder, ATTENDING)
    return contents(folder)


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(content.decode().splitlines()))


def test_kept_channels_are_logged_in_every_iteration(attending: dict[str, bytes]) -> None:
    """Scores start equal, and equal ones are kept; a single input stays."""
    rows = list(csv.DictReader(attending[PROGRESS].decode().splitlines()))
    assert rows[0]["kept_input_layer1_1"] == rows[0]["kept_output_layer1_1"] == "1.0"
    assert rows[0]["largest_score_output_layer1_1"] == "1.0" and rows[0]["between_tasks_output_layer1_1"] == "0.0"
    assert all(row["kept_input_layer1_1"] == "1.0" for row in rows) and len(rows) == TINY.iterations
    last = {name: float(rows[-1][f"{name}_output_layer1_1"]) for name in ("kept", "largest_score", "between_tasks")}
    assert 0 < last["kept"] <= 1 < last["largest_score"] and 0 <= last["between_tasks"] <= 1


def test_resumed_to_the_same_kept_channels(tmp_path: Path, attending: dict[str, bytes]) -> None:
    with pytest.raises(Stop):
        run(tmp_path / "run", ATTENDING, callbacks=[StopAfter(3)])
    resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    assert contents(tmp_path / "run") == attending


def test_a_log_begun_without_kept_channels_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attending: dict[str, bytes]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(metarl.rl.logs, "kept_columns", lambda *of: [])
        patch.setattr(metarl.rl.logs, "kept_row", lambda kept: {})
        with pytest.raises(Stop):
            run(tmp_path / "run", ATTENDING, callbacks=[StopAfter(3)])
    resume(tmp_path / "run", family=point_family(), checkpoints=OFTEN)
    without = [
        {name: cell for name, cell in row.items() if not name.startswith("kept")}
        for row in csv.DictReader(attending[PROGRESS].decode().splitlines())
    ]
    assert list(csv.DictReader((tmp_path / "run" / PROGRESS).read_text().splitlines())) == without
    assert (tmp_path / "run" / CONTROLLER).read_bytes() == attending[CONTROLLER]


def test_a_log_with_columns_of_another_run(tmp_path: Path) -> None:
    """Also rows after the checkpoint, which would be cut off, stay."""
    run(tmp_path / "run")
    progress = tmp_path / "run" / PROGRESS
    text = progress.read_text()
    progress.write_text(text.replace("step_size_layer2_1", "step_size_layer3_1") + text.splitlines()[-1] + "\n")
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match=r"columns of .*progress.csv are not those of this run"):
        resume(tmp_path / "run", family=point_family())
    assert contents(tmp_path / "run") == before
