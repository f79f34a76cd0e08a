"""Callbacks: what they see, how they stop a training, and that loggers of other programs get its numbers."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from coloured_images import small_settings, write_images
from point_family import TINY, point_family
from rich.console import Console
from stable_baselines3.common.logger import CSVOutputFormat, JSONOutputFormat
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from watching import Steps, Stop, StopAfter

import metarl
from metarl import callbacks
from metarl.callbacks import Callback, Evaluate, Log, StopOnScore, TensorBoard
from metarl.core.errors import Refusal
from metarl.images.run import train_images
from metarl.images.start import load_data
from metarl.rl.evaluation import Evaluation
from metarl.runs.state import Step, TrainingState

SHORT = replace(TINY, iterations=4)


class Noting(Callback):
    """Keeps the names of its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_start(self, training, state: TrainingState) -> None:
        self.calls.append(f"start {training.family_name} {state.iteration}")

    def on_phase(self) -> None:
        self.calls.append("phase")

    def on_iteration(self, step: Step) -> None:
        self.calls.append(f"iteration {step.state.iteration}")

    def on_end(self, state: TrainingState) -> None:
        self.calls.append(f"end {state.iteration}")


def test_the_order_of_the_calls() -> None:
    noting = Noting()
    metarl.train(point_family(), settings=replace(SHORT, iterations=1), callbacks=[noting])
    first, *phases, iteration, last = noting.calls
    assert (first, iteration, last) == ("start point 0", "iteration 1", "end 1")
    # Two samplings with advantages, one inner step between them, then gradient, conjugate gradient and line search.
    assert phases == ["phase"] * 8


def test_progress_is_shown_in_python_too() -> None:
    file = io.StringIO()
    shown = callbacks.Progress(Console(file=file, width=80))
    metarl.train(point_family(), settings=SHORT, callbacks=[shown])
    first, *_, last = file.getvalue().splitlines()
    assert first.startswith("1/4 meta-iterations  best score -")
    assert last.startswith("4/4 meta-iterations  best score -") and last.endswith("in all")


def test_the_end_is_told_whatever_ends_the_training(tmp_path: Path) -> None:
    noting = Noting()
    with pytest.raises(Stop):
        metarl.train(point_family(), settings=SHORT, callbacks=[noting, StopAfter(2)], out=tmp_path / "run")
    assert noting.calls[-2:] == ["iteration 2", "end 2"]
    again = Noting()
    metarl.resume(tmp_path / "run", family=point_family(), callbacks=[again])
    assert again.calls[0] == "start point 2" and again.calls[-1] == "end 4"


def test_false_stops_after_the_iteration_and_the_run_can_go_on(tmp_path: Path) -> None:
    class Enough(Callback):
        def on_iteration(self, step: Step) -> bool:
            return step.state.iteration < 2

    steps = Steps()
    stopped = metarl.train(point_family(), settings=SHORT, callbacks=[Enough(), steps], out=tmp_path / "run")
    assert len(steps) == 2 and stopped.metadata.training["iterations"] == 2
    resumed = metarl.resume(tmp_path / "run", family=point_family())
    whole = metarl.train(point_family(), settings=SHORT)
    assert all(torch.equal(resumed.parameters[name], whole.parameters[name]) for name in whole.parameters)


def test_a_score_that_is_good_enough() -> None:
    steps = Steps()
    metarl.train(point_family(), settings=SHORT, callbacks=[steps])
    scores = [step.state.best_score for step in steps]
    reached = max(scores)
    short = Steps()
    metarl.train(point_family(), settings=SHORT, callbacks=[short, StopOnScore(reached)])
    assert len(short) == scores.index(reached) + 1
    never = Steps()
    metarl.train(point_family(), settings=SHORT, callbacks=[never, StopOnScore(reached + 1)])
    assert len(never) == 4


def test_evaluations_are_those_of_the_best_controller_so_far() -> None:
    seen: list[tuple[int, Evaluation]] = []
    evaluate = Evaluate(every=2, tasks=5, seed=3, on_evaluation=lambda *of: seen.append(of))
    controller = metarl.train(point_family(), settings=SHORT, callbacks=[evaluate])
    assert [iteration for iteration, _ in seen] == [2, 4] and evaluate.evaluations == dict(seen)
    expected = metarl.evaluate(controller, tasks=5, seed=3, family=point_family())
    assert torch.equal(seen[-1][1].returns, expected.returns)
    untouched = metarl.train(point_family(), settings=SHORT)
    assert all(torch.equal(untouched.parameters[name], tensor) for name, tensor in controller.parameters.items())
    with pytest.raises(Refusal, match="every and tasks must be at least 1, got 2 and 0"):
        Evaluate(every=2, tasks=0)


def test_images_have_a_validation_of_their_own(tmp_path: Path) -> None:
    settings = small_settings(write_images(tmp_path / "images"))
    with pytest.raises(Refusal, match="for policies"):
        train_images(tmp_path / "run", settings, load_data(settings), callbacks=[Evaluate()])
    assert not (tmp_path / "run").exists()
    noting = Noting()
    train_images(None, settings, load_data(settings), callbacks=[noting, StopOnScore(0.0)])
    assert noting.calls[0] == "start images 0" and noting.calls[-1] == "end 3"  # of the first epoch's validation


def test_stable_baselines3s_formats_get_every_iteration(tmp_path: Path) -> None:
    steps = Steps()
    formats = JSONOutputFormat(str(tmp_path / "log.json")), CSVOutputFormat(str(tmp_path / "log.csv"))
    metarl.train(point_family(), settings=SHORT, callbacks=[steps, Log(*formats)])
    rows = [json.loads(line) for line in (tmp_path / "log.json").read_text().splitlines()]
    assert [row["return_1"] for row in rows] == [pytest.approx(step.scalars["return_1"]) for step in steps]
    assert all("sampling_seconds" in row and "iteration" not in row for row in rows)
    assert (tmp_path / "log.csv").read_text().count("\n") == 1 + SHORT.iterations


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    steps = Steps()
    metarl.train(point_family(), settings=SHORT, callbacks=[steps, TensorBoard(tmp_path / "events")])
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    read = events.Scalars("return_1")
    assert [event.step for event in read] == [1, 2, 3, 4]
    assert [event.value for event in read] == [pytest.approx(step.scalars["return_1"]) for step in steps]
    assert "sampling_seconds" in events.Tags()["scalars"]


def test_tensorboard_hides_what_an_interrupted_run_had_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        metarl.train(point_family(), settings=SHORT, callbacks=[StopAfter(3)], out=tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.unlink()  # so that it goes on from the start
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        assert path.name == "iteration-00000000.safetensors"
    metarl.resume(tmp_path / "run", family=point_family())
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("kl")
    assert [event.step for event in read][-4:] == [1, 2, 3, 4]


def test_a_full_disk_ends_the_events_and_not_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metarl.runs.tensorboard.RecordWriter.flush", fail)
    with pytest.warns(UserWarning, match="no TensorBoard events in .*: No space left on device") as caught:
        controller = metarl.train(point_family(), settings=SHORT, out=tmp_path / "run")
    assert len(caught) == 1 and controller.metadata.training["iterations"] == SHORT.iterations


@pytest.mark.parametrize("name", ["WeightsAndBiases", "MLflow"])
def test_a_logger_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> None:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(callbacks.importlib, "import_module", missing)
    with pytest.raises(Refusal, match=r"needs (wandb|mlflow): pip install"):
        getattr(callbacks, name)()


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    logger = callbacks.WeightsAndBiases(project="metarl", mode="offline", dir=tmp_path)
    logged: dict[str, float] = {}

    class Summary(Callback):
        """Ends before the logger, for it comes after it."""

        def on_end(self, state: TrainingState) -> None:
            logged.update(dict(logger.run.summary) | dict(logger.run.config))

    steps = Steps()
    metarl.train(point_family(), settings=SHORT, callbacks=[steps, logger, Summary()])
    assert wandb.run is None  # it is finished
    assert logged["return_1"] == pytest.approx(steps[-2].scalars["return_1"])  # the last one is on its way
    assert logged["meta_batch_size"] == SHORT.meta_batch_size


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    steps = Steps()
    logger = callbacks.MLflow(tracking_uri=f"file:{tmp_path / 'runs'}", run_name="first")
    metarl.train(point_family(), settings=SHORT, callbacks=[steps, logger])
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.params["family"] == "point" and run.data.params["method"] == "maml"
    history = mlflow.MlflowClient(f"file:{tmp_path / 'runs'}").get_metric_history(run.info.run_id, "return_1")
    assert [metric.value for metric in history] == [pytest.approx(step.scalars["return_1"]) for step in steps]
