"""``metarl federate`` from its words to a controller that other commands take, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest
from coloured_images import write_images
from command_line import metarl, succeeds

import metarl as package
from metarl.core.errors import Refusal
from metarl.experiments.analysis.fleet_federate import (
    FOLDER,
    filed_federations,
    sheets,
)
from metarl.experiments.analysis.fleet_federate_plot import federation_figure
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.loading import load

QUICK = "--clients 4 --per-round 2 --rounds 2"
ROBOTS = ("navigation-2d", *f"{QUICK} --episodes 2 --horizon 5 --score-tasks 2 --threads 1".split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), classes=3, images=12)


def test_robots_federate_and_the_controller_goes_the_way_of_all_controllers(tmp_path: Path) -> None:
    out, record = tmp_path / "run", tmp_path / "r.json"
    words = (*ROBOTS, "--bits", 4, "--relay", "--skew", 0.3, "--out", out)
    told = succeeds("federate", *words, "--json", record)
    assert "round 2 of 2" in told
    assert "as clients hold it" in told
    filed = json.loads(record.read_text())
    assert filed["command"].startswith("metarl federate navigation-2d --clients 4")
    assert filed["dropped"] == dict.fromkeys(("silent", "damaged", "wrong round", "wrong shape", "not finite"), 0)
    assert filed["payload_down"] < filed["bytes_down"] < filed["payload_down"] + 350
    assert filed["client_peak_bytes"] > filed["payload_down"]
    with (out / "progress.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["round"] for row in rows] == ["1", "2"]
    assert float(rows[0]["bytes_down"]) == 2 * filed["bytes_down"]
    controller = load(out / "controller.safetensors")
    assert isinstance(controller, Controller)
    succeeds("evaluate", out / "controller.safetensors", "--tasks", 2, "--threads", 1)
    succeeds("inspect", out / "controller.safetensors")
    succeeds("cost", out / "controller.safetensors", "--measure")
    adapted = tmp_path / "adapted.safetensors"
    succeeds("adapt", out / "controller.safetensors", "--task", "goal_x=0.1", "goal_y=0.2", "--out", adapted)
    again = metarl("federate", *words)  # nothing is left to do
    assert (again.code, again.err) == (0, "")


def test_images_federate_and_the_classifier_goes_the_way_of_all_classifiers(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (*QUICK.split(), "--bits", 8, "--start-steps", 2)
    told = succeeds("federate", "images", "--data", folder, *words, "--out", out)
    assert "controller:" in told
    assert isinstance(load(out / "controller.safetensors"), Classifier)
    on = ("--data", folder, "--split", "train", "--tasks", 2, "--queries", 2, "--threads", 1)
    succeeds("evaluate", out / "controller.safetensors", *on)
    succeeds("inspect", out / "controller.safetensors")
    succeeds("cost", out / "controller.safetensors", "--measure")


def test_a_federation_goes_on_from_the_same_start(folder: Path, tmp_path: Path) -> None:
    settings = {"data": folder, "clients": 4, "per_round": 2, "rounds": 1, "start_steps": 2, "bits": 8}
    first = package.federate("images", out=tmp_path / "a", **settings)
    second = package.federate("images", init=tmp_path / "a" / "controller.safetensors", **settings)
    assert isinstance(first.controller, Classifier)
    assert second.rows[0]["answers"] == 2


@pytest.mark.parametrize(("words", "sentence"), [
    ("--per-round 9 --clients 4", "at most all 4 clients, got 9"),
    ("--bits 5", "bits"),
    ("--relay --bits 32", "the relay is about quantized weights"),
    ("--relay --mode fedavg", "the relay is for fedsgd"),
    ("--method p-meta", "robots federate with maml"),
    ("--method nonsense", "unknown method"),
    ("--init navigation-2d/p-meta", "robots federate with maml"),
    ("--init navigation-2d/maml --method anil", "leave them out"),
    ("--init half-cheetah-velocity/maml", "other spaces"),
    ("--timeout 0", "--timeout"),
])  # fmt: skip
def test_words_that_are_refused_before_anything_is_trained(words: str, sentence: str, tmp_path: Path) -> None:
    outcome = metarl("federate", *ROBOTS, *words.split(), "--out", tmp_path / "run")
    assert outcome.code == 2
    assert sentence in outcome.err + outcome.out
    assert not (tmp_path / "run").exists()


def test_families_and_folders_that_are_refused(folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    for words, sentence in (
        (("gym:Pendulum-v1", *out), "field"),
        (("nonsense", *out), "nonsense"),
        (("--bits", 8), "comes first"),
        (("images", "--data", tmp_path / "none", *out), "no folder"),
        (("images", "--data", folder, "--clients", 500, *out), "too few for 500"),
        (("images", "--data", folder, "--init", "navigation-2d/maml", *out), "this is a policy"),
        (("join", "127.0.0.1:1", "--client", 0, "--patience", 0.3), "does not serve client 0"),
    ):
        outcome = metarl("federate", *words)
        assert outcome.code == 2, words
        assert sentence in outcome.err + outcome.out, outcome
    assert not (tmp_path / "run").exists()


def test_python_refuses_what_the_command_refuses(folder: Path) -> None:
    with pytest.raises(Refusal, match="did you mean 'rounds'"):
        package.federate("navigation-2d", round=3)
    with pytest.raises(Refusal, match="needs their folder"):
        package.federate("images")


def filed(results: Path, bits: int, seed: int, score: float, skew: float = 0.0, relay: bool = False) -> None:
    settings = {
        "clients": 9, "per_round": 3, "rounds": 4, "bits": bits, "relay": relay, "mode": "fedsgd", "local_steps": 1,
        "rounding": "nearest", "optimizer": "sgd", "learning_rate": 0.1, "skew": skew, "seed": seed, "score_every": 2,
    }  # fmt: skip
    record = {
        "settings": settings,
        "clients": {"family": "navigation-2d"},
        "score": score,
        "ci95": 2.0,
        "scored": 40,
        "curve": [[2, score - 1], [4, score]],
        "bytes_down": 100.0 * bits,
        "bytes_up": 4000.0,
        "client_peak_bytes": 9000 + seed,
    }
    path = results / FOLDER / f"{bits}-{relay}-{skew}-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_the_table_puts_seeds_together(tmp_path: Path) -> None:
    for seed, (exact, coarse) in enumerate([(-10.0, -11.0), (-12.0, -13.5), (-14.0, -14.5)]):
        filed(tmp_path, 32, seed, exact)
        filed(tmp_path, 4, seed, coarse, relay=True)
    filed(tmp_path, 8, 0, -9.0, skew=0.3)
    sheet, sizes = sheets(filed_federations(tmp_path))
    assert sheet.headings == ["weights", "alike", "alike: minus float", "skew 0.3", "skew 0.3: minus float"]
    assert sizes.headings == ["weights", "bytes down", "bytes up", "client's peak, bytes"]
    assert [row[0] for row in sheet.rows] == ["float", "int8", "int4, relay"]
    # Means -12 and -13; the tasks' 2.0 and t_2 S / sqrt(3) = 4.303 * 2 / sqrt(3) = 4.97 add up in squares.
    assert sheet.rows[0][1:3] == ["-12.0 ± 5.4 [3]", "-"]
    assert sheet.rows[1][1:5] == ["-", "-", "-9.0 ± 2.0 [1]", "-"]
    # Likewise with S = 1.803, which is 4.48 and 4.9 in all.
    # Differences -1, -1.5, -0.5: mean -1, S = 0.5, t_2 S / sqrt(3) = 1.24.
    assert sheet.rows[2][1:3] == ["-13.0 ± 4.9 [3]", "-1.0 ± 1.2"]
    assert sizes.rows[2] == ["int4, relay", "400", "4,000", "9,002"]
    assert len(federation_figure(filed_federations(tmp_path)).axes) == 1


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "x.json").write_text("{}")
    with pytest.raises(Refusal, match=r"x\.json is no record of a federation"):
        filed_federations(tmp_path)
