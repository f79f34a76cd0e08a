"""``metarl table images``: runs filed where they belong, and what is missing trained once."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from coloured_images import write_images
from command_line import fails, metarl, rejects
from image_results import RECORD, table, trial, write

from metarl.experiments.analysis import sweep
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.paper import image_filing
from metarl.experiments.paper.cells import Cell, Scale
from metarl.experiments.paper.published import TABLE_2
from metarl.images.evaluation import evaluate_images
from metarl.images.run import read_image_config
from metarl.policies import methods
from metarl.policies.loading import load_classifier
from metarl.runs import folder as run_folder
from metarl.runs.recorder import CheckpointSettings

EMOJI = Path(__file__).parents[2] / "fixtures" / "emoji"
TINY = Scale(side=16, epochs=1, tasks_per_epoch=4, validation_tasks=2, test_tasks=3, seed=4)
TINY_WORDS = (
    *("--side", 16, "--epochs", 1, "--tasks-per-epoch", 4, "--validation-tasks", 2, "--test-tasks", 3),
    *("--seed", 4, "--threads", 1),
)


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the fixture, beside which the decoded images may be kept."""
    return Path(shutil.copytree(EMOJI, tmp_path_factory.mktemp("data") / "emoji"))


def test_a_log_that_is_large_keeps_the_ends_of_epochs() -> None:
    header = "iteration,validation_accuracy,learning_rate\n"
    rows = [f"{number},{0.5 if number % 3 == 0 else ''},0.001\n" for number in range(1, 13)]
    log = "".join([header, *rows]).encode()
    assert image_filing.by_epoch(log, len(log)) == log
    ends = [rows[2], rows[5], rows[8], rows[11]]
    assert image_filing.by_epoch(log, len(log) - 1) == "".join([header, *ends]).encode()
    some = "".join([header, rows[5], rows[11]])
    assert image_filing.by_epoch(log, len(some)) == some.encode()
    assert image_filing.by_epoch(log, 1) == (header + rows[11]).encode()


def test_bad_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train = ("--results", "r", "--train")
    for words, named, allowed in (
        (["--only", "maml"], "'maml'", "maml-1shot"),
        (["--train"], "--train", "--data"),
        ([*train, "--data", "nowhere"], "nowhere", "no folder"),
        ([*train, "--data", "nowhere", "--tasks-per-epoch", "5"], "tasks_per_epoch", "multiple"),
        ([*train, "--data", "nowhere", "--side", "8"], "side", "at least 16"),
        (["--test-tasks", "1"], "--test-tasks", "at least 2"),
        (["--threads", "0"], "--threads", "at least 1"),
        (["--results", "nowhere"], "nowhere", "no folder"),
        (["--results", "r", "--file", "nowhere"], "nowhere", "not the folder of a run"),
    ):
        sentence = rejects("table", "images", *words)
        assert named in sentence and allowed in sentence, sentence
    assert "first word" in rejects("table", "--train", "images")
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_do_are_refused_before_any_training(tmp_path: Path, emoji: Path) -> None:
    few = write_images(tmp_path / "few", classes=4)
    words = ("--train", *TINY_WORDS, "--out", tmp_path / "out", "--results", tmp_path / "results")
    for data, cross, only, says in (
        (few, emoji, "maml-1shot", "few (train) has 4 classes"),
        (emoji, few, "maml-1shot", "few (test) has 4 classes"),
        (emoji, emoji, "maml-5shot", "5-shot episodes need at least 6"),
    ):
        outcome = metarl("table", "images", *words, "--data", data, "--cross", cross, "--only", only)
        assert outcome.code == 2 and says in outcome.err, outcome
    assert not (tmp_path / "out").exists() and not (tmp_path / "results").exists()


def test_what_is_missing_is_trained_once(tmp_path: Path, emoji: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    write(results, "anil-1shot", {**RECORD, "trials": {"in-domain": trial(0.5, 0.1), "cross-domain": trial(0.4, 0.1)}})
    anil = (results / "images" / "anil-1shot" / "evaluation.json").read_bytes()
    names = ("p-meta-1shot", "maml-1shot-batch-average", "anil-1shot")
    words = ("--train", "--data", emoji, "--only", *names, *TINY_WORDS, "--out", out, "--results", results)
    assert "p-meta-1shot: done" in table(*words).out

    main, ablation = (results / "images" / name for name in names[:2])
    kept = {"config.json", "evaluation.json", "progress.csv"}
    assert {path.name for path in main.iterdir()} == kept | {"controller.safetensors"}
    assert {path.name for path in ablation.iterdir()} == kept
    for folder, cell in ((main, Cell("p-meta")), (ablation, Cell("maml", 1, "batch", "average"))):
        assert read_image_config(folder) == TINY.settings(cell, Path("emoji"), 1)
        assert str(tmp_path) not in (folder / "config.json").read_text() + (folder / "evaluation.json").read_text()
    record = json.loads((main / "evaluation.json").read_text())
    assert (record["data"], record["iterations"], record["best_epoch"]) == ("emoji", 1, 1)
    assert Scale(**record["scale"]) == TINY
    assert {name: each["images_at_once"] for name, each in record["trials"].items()} == {
        "in-domain": 1,
        "2 at once": 2,
        "5 at once": 5,
    }
    options = ("--data", emoji, "--tasks", 3, "--seed", 5, "--threads", 1)
    for name, size in (("in-domain", 1), ("2 at once", 2)):
        written = tmp_path / f"{size}.json"
        words_again = (main / "controller.safetensors", *options, "--images-at-once", size, "--json", written)
        assert metarl("evaluate", *words_again).code == 0
        assert record["trials"][name]["accuracies"] == json.loads(written.read_text())["accuracies"]
    cost, classifier = record["cost"], load_classifier(main / "controller.safetensors")
    assert set(cost["trained"]["layers"]) <= set(classifier.network.layer_names)
    # 84 / 16 is 5.25: memory grows by up to its square, less what does not depend on the images.
    assert 1 < cost["paper_bytes"] / cost["trained"]["peak_adaptation_bytes"] < 5.25**2
    assert cost["trained"]["measured_peak_adaptation_bytes"] > 0.9 * cost["trained"]["peak_adaptation_bytes"]
    assert json.loads((ablation / "evaluation.json").read_text())["cost"] is None

    monkeypatch.setattr(sweep, "start", None)  # nothing is left to train
    table(*words)
    # An evaluation that was interrupted is made up for, without another training.
    before = (main / "evaluation.json").read_bytes()
    (main / "evaluation.json").unlink()
    table(*words)
    assert (main / "evaluation.json").read_bytes() == before
    # So are tests on other images, from the filed network alone.
    shutil.rmtree(out)
    table(*words, "--cross", emoji)
    after = json.loads((main / "evaluation.json").read_text())
    assert after["trials"].pop("cross-domain") == record["trials"]["in-domain"] and after == record
    assert (results / "images" / "anil-1shot" / "evaluation.json").read_bytes() == anil


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, emoji: Path) -> Path:
    """A finished training that the table has a place for."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = sweep.command(Job(folder, "images", TINY.settings(Cell("anil"), emoji, 1), CheckpointSettings()))
    assert metarl(*words[3:]).code == 0
    return folder


def test_a_trial_takes_so_many_images_at_once(run: Path, emoji: Path) -> None:
    # With batch norm that makes a difference, and the more so the longer the steps are.
    opened = image_filing.open_image_run(run, test_tasks=4)
    classifier = opened.classifier
    parameters = {**classifier.parameters, methods.STEP_SIZES: 100 * classifier.parameters[methods.STEP_SIZES]}
    network = replace(classifier.network, norm="batch")
    opened = replace(opened, classifier=replace(classifier, parameters=parameters, network=network))
    with pytest.warns(UserWarning, match="4 instead of 15 queries"):
        (test,) = image_filing.load_tests(opened.cell, opened.settings, emoji, None)
    method, source, means = methods.get_method("anil"), test.source, []
    for size in (1, 5):
        with ThreadPoolExecutor(1) as executor:
            expected = evaluate_images(
                executor, network, parameters, method, source.images, source.shape, 4, 5, images_at_once=size
            )
        record = image_filing.run_test(opened, replace(test, images_at_once=size), 1, lambda done: None)
        means.append(record.accuracies[-1].mean)
        assert (means[-1], record.images_at_once) == (expected.accuracies()[-1].mean, size)
    assert means[0] != means[1]


def test_a_run_is_filed_by_hand(run: Path, emoji: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ("--file", run, "--results", results, "--test-tasks", 4, "--threads", 1)
    table(*words, "--cross", emoji)
    folder = results / "images" / "anil-1shot"
    record = json.loads((folder / "evaluation.json").read_text())
    assert Scale(**record["scale"]) == replace(TINY, test_tasks=4)
    assert set(record["trials"]) == {"in-domain", "cross-domain"}
    assert record["cost"]["trained"]["layers"] == ["fc"]
    # The last layer at 84: five outputs of 32 x 5 x 5 features. Each image goes through the whole network once.
    assert f"{record['cost']['paper_macs'] / 1e9:.2f}" == f"{TABLE_2['conv4'][1]['anil'].gmac:.2f}"
    assert f"{record['cost']['paper_bytes'] / 1e6:.2f}" == f"{TABLE_2['conv4'][1]['anil'].megabytes:.2f}"
    assert (folder / "controller.safetensors").read_bytes() == (run / "controller.safetensors").read_bytes()
    assert (folder / "progress.csv").read_bytes() == (run / "progress.csv").read_bytes()

    before = (folder / "evaluation.json").read_bytes()
    assert "--replace" in fails("table", "images", *words)
    assert (folder / "evaluation.json").read_bytes() == before
    table(*words, "--replace")
    assert set(json.loads((folder / "evaluation.json").read_text())["trials"]) == {"in-domain"}
    other = write_images(tmp_path / "other")
    assert "trained on emoji" in fails("table", "images", *words, "--replace", "--data", other)


def test_a_run_that_the_table_has_no_place_for_is_refused(run: Path, tmp_path: Path) -> None:
    for name, value, says in (("ways", 4, "ways 5"), ("shots", 3, "anil-3shot")):
        broken = Path(shutil.copytree(run, tmp_path / name))
        config = json.loads((broken / "config.json").read_text())
        config["settings"][name] = value
        (broken / "config.json").write_text(json.dumps(config))
        sentence = fails("table", "images", "--results", tmp_path / "r", "--file", broken)
        assert str(broken) in sentence and says in sentence
    broken = Path(shutil.copytree(run, tmp_path / "log"))
    (broken / "progress.csv").unlink()
    sentence = fails("table", "images", "--results", tmp_path / "r", "--file", broken)
    assert str(broken / "progress.csv") in sentence and not (tmp_path / "r").exists()


def test_a_sweep_knows_the_runs_of_images(run: Path, emoji: Path) -> None:
    settings = TINY.settings(Cell("anil"), emoji, 3)
    job = Job(run, "images", settings, CheckpointSettings())
    sweep.check_folder(job)
    assert sweep.is_finished(job) and not sweep.is_finished(replace(job, settings=replace(settings, epochs=2)))
    last, best = sweep.scores(job)
    assert last == best == load_classifier(run / run_folder.CONTROLLER).metadata.training["best_validation_accuracy"]
    with pytest.raises(ValueError, match="with seed 4, .* for 5"):
        sweep.check_folder(replace(job, settings=replace(settings, seed=5)))
    with pytest.raises(ValueError, match="with family images, .* for navigation-2d"):
        sweep.check_folder(replace(job, family="navigation-2d"))
