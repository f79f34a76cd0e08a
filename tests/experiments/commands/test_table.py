"""The table: numbers in their cells, runs filed where they belong, and what is missing trained once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import FAMILY, fails, metarl, rejects, succeeds
from rich.console import Console
from run_folders import write_run

from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.analysis import costs, sweep
from metarl.experiments.commands import table as command
from metarl.experiments.console import sheets
from metarl.experiments.console.sheets import Row, Sheet, sheet
from metarl.experiments.paper import policy_filing, policy_table
from metarl.experiments.paper import results as filed
from metarl.experiments.paper.policy_rows import SeedResults, seed_of
from metarl.experiments.paper.policy_table import CAPTION, COLUMNS
from metarl.experiments.paper.published import METHODS, TABLE_3
from metarl.experiments.paper.results import PolicyResult, Score
from metarl.policies import methods
from metarl.policies.files.pretrained import pretrained_files
from metarl.policies.loading import load_controller
from metarl.rl.settings import TrainSettings, preset, read_config

ROOT = Path(__file__).resolve().parents[3]
RECORD: dict[str, Any] = {
    "tasks": 400,
    "returns": [{"steps": 0, "mean": -90.0, "ci95": 9.0}, {"steps": 1, "mean": -63.96, "ci95": 1.25}],
    "seed": 1,
    "iterations": 500,
    "layers": ["layer1", "layer3"],
    "peak_adaptation_bytes": 105_500,
    "adaptation_macs": 110_800_000,
    "measured_peak_adaptation_bytes": 106_499,
}
RESULT = PolicyResult(
    400, (Score(0, -90.0, 9.0), Score(1, -63.96, 1.25)), 1, 500, ("layer1", "layer3"), 105_500, 110_800_000, 106_499
)


ROWS = [f"{method}{gate}" for method in METHODS for gate in ("", "-gate")]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of filed results in which there is one."""
    write(tmp_path / "results" / "half-cheetah-velocity" / "p-meta" / "evaluation.json", RECORD)
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_filing, "TASKS", 3)
    monkeypatch.setattr(command, "TASKS", 3)


def write(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_the_papers_rows_are_families_and_methods_of_metarl() -> None:
    assert set(TABLE_3) <= set(FAMILIES) and set(METHODS) <= set(methods.METHODS)
    assert all(tuple(rows) == METHODS and len(rows) == 6 for rows in TABLE_3.values())
    # By the paper's own words, p-Meta takes less than half of MAML's memory on HalfCheetah, and no more operations.
    cheetah = TABLE_3["half-cheetah-velocity"]
    assert cheetah["p-meta"].megabytes < cheetah["maml"].megabytes / 2 and cheetah["p-meta"].gmac < cheetah["maml"].gmac


def rows_of(sheet: Sheet) -> list[dict[str, str]]:
    return [dict(zip(sheet.headings, row, strict=True)) for row in sheet.rows]


def test_a_result_is_read_and_stands_beside_the_papers(results: Path) -> None:
    assert filed.read_result(results / "half-cheetah-velocity" / "p-meta", PolicyResult) == RESULT
    cheetah, reach, navigation, _ = policy_table.sheets(results)
    assert [cheetah.title, navigation.title] == list(TABLE_3)
    assert [row["method"] for row in rows_of(navigation)] == ROWS
    assert rows_of(cheetah)[-2] == {
        "method": "p-meta",
        "layers": "1 3",
        "return: paper": "-64.0",
        "return: ours": "-64.0 ± 1.2",
        "MB: paper": "0.11",
        "MB: model": "0.105",
        "MB: measured": "0.106",
        "GMAC: paper": "0.11",
        "GMAC: model": "0.111",
    }
    assert list(navigation.rows[2]) == ["anil", "-", "-13.8", "-", "0.08", "-", "-", "0.04", "-"]
    assert list(navigation.rows[3]) == ["anil-gate", *"--------"]
    assert list(reach.rows[-2]) == ["p-meta", "1", "500", "-", "-90.0 ± 9.0", "-64.0 ± 1.2", "-", "-"]
    assert list(reach.rows[0]) == ["no-adaptation", *"-------"]


def test_seeds_and_references_by_hand(results: Path) -> None:
    """Means -60, -63 and -66: S = 3, and t(2) = 4.30265 over the root of 3; the way from -150 to -34 is 116."""

    def returns(mean: float) -> list[dict[str, float]]:
        return [{"steps": 0, "mean": -90.0, "ci95": 9.0}, {"steps": 1, "mean": mean, "ci95": 1.25}]

    family = results / "half-cheetah-velocity"
    for seed, mean in enumerate((-60.0, -63.0, -66.0)):
        name = "maml-gate" + (f"-seed{seed}" if seed else "")
        record = RECORD | {"returns": returns(mean), "iterations": 100 + seed, "worse": 0.02 * seed, "horizon": 200}
        write(family / name / "evaluation.json", record)
    for name, mean in (("no-adaptation", -150.0), ("oracle", -34.0)):
        write(family / name / "evaluation.json", RECORD | {"returns": returns(mean), "layers": []})
    _, reach, *_ = policy_table.sheets(results)
    rows = {row["method"]: row for row in rows_of(reach)}
    assert rows["maml-gate"] == {
        "method": "maml-gate",
        "seeds": "3",
        "iterations": "100-102",
        "horizon": "200",
        "before": f"-90.0 ± {4.30265 * 9 / 1.965927 / 3**0.5:.1f}",  # alike, so the intervals over tasks decide
        "after": f"-63.0 ± {4.30265 * 3 / 3**0.5:.1f}",
        "to oracle": "75 %",
        "worse": "2 %",
    }
    assert (rows["oracle"]["to oracle"], rows["no-adaptation"]["to oracle"]) == ("100 %", "0 %")
    assert rows["p-meta"]["worse"] == "-" and rows["maml"]["seeds"] == "-"


def test_a_method_that_the_paper_lacks_follows_once_it_is_filed(results: Path) -> None:
    write(results / "navigation-2d" / "cavia" / "evaluation.json", RECORD | {"layers": ["layer1"]})
    cheetah, _, navigation, _ = policy_table.sheets(results)
    assert [row["method"] for row in rows_of(navigation)] == [*ROWS, "cavia"]
    assert [row["method"] for row in rows_of(cheetah)] == ROWS
    last = rows_of(navigation)[-1]
    assert (last["layers"], last["return: paper"], last["return: ours"]) == ("1", "-", "-64.0 ± 1.2")


def test_no_layer_at_all() -> None:
    assert policy_table.layers_shown(replace(RESULT, layers=())) == "none"


def test_it_fits_80_columns() -> None:
    result = replace(RESULT, returns=(Score(1, -135.64, 13.71),), layers=("layer1", "layer2", "layer3"))
    published = TABLE_3["half-cheetah-velocity"]
    full = sheet(
        "half-cheetah-velocity",
        COLUMNS,
        [Row(name, published.get(name), SeedResults((result,))) for name in ROWS],
        words=2,
    )
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(sheets.printed(full))
    lines = console.export_text().splitlines()
    for row in full.rows:
        assert sum(line.split() == " ".join(row).split() for line in lines) == 1


def test_the_table_is_printed_and_written_and_written_again(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "table.md"
    for _ in range(2):
        out = succeeds("table", "rl", "--results", results, "--markdown", page)
    assert "-64.0 ± 1.2" in out and out.count("p-meta-layers-gate") == 4
    text = page.read_text()
    assert "| p-meta | 1 3 | -64.0 | -64.0 ± 1.2 | 0.11 | 0.105 | 0.106 | 0.11 | 0.111 |" in text
    assert text.count("\n| ") == 2 * (2 + 12 + 2 + 14) and CAPTION in text
    page.write_text("my notes")
    assert "table.md" in fails("table", "rl", "--results", results, "--markdown", page)
    assert page.read_text() == "my notes"
    assert "no folder" in fails("table", "rl", "--results", results, "--markdown", tmp_path / "no" / "table.md")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", ""),
        ("[]", ""),
        ("null", ""),
        (json.dumps({**RECORD, "returns": []}), ""),
        (json.dumps({**RECORD, "returns": [{"mean": None, "ci95": 1}]}), ""),
        (json.dumps({key: value for key, value in RECORD.items() if key != "adaptation_macs"}), "adaptation_macs"),
    ],
)
def test_a_damaged_result_is_named(results: Path, content: str, says: str) -> None:
    path = results / "navigation-2d" / "boil" / "evaluation.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    sentence = fails("table", "rl", "--results", results)
    assert f"{path} is not a filed evaluation" in sentence and says in sentence


def test_bad_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, named, allowed in (
        (["pictures"], "'pictures'", "'rl', 'images'"),
        (["rl", "--methods", "nonsense"], "'nonsense'", "maml, anil"),
        (["rl", "--families", "half-cheetah-direction"], "'half-cheetah-direction'", "navigation-2d"),
        (["rl", "--iterations", "0"], "--iterations", "at least 1"),
        (["rl", "--seeds", "0", "-1"], "--seeds", "at least 0"),
        (["rl", "--threads", "0"], "--threads", "at least 1"),
        (["rl", "--results", "nowhere"], "nowhere", "no folder"),
        (["rl", "--results", "r", "--file", "nowhere"], "nowhere", "not the folder of a run"),
    ):
        sentence = rejects("table", *words)
        assert named in sentence and allowed in sentence, sentence
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_evaluated_measured_and_filed(run: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    out = succeeds("table", "rl", "--file", run, "--results", results)
    folder = results / FAMILY / "maml"
    names = ["config.json", "controller.md", "controller.safetensors", "evaluation.json", "learning_curve.png"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "progress.csv", "timings.csv"]
    for name in ("config.json", "controller.safetensors", "progress.csv"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    record = json.loads((folder / "evaluation.json").read_text())
    succeeds("evaluate", run / "controller.safetensors", "--tasks", 3, "--seed", 1, "--json", tmp_path / "returns.json")
    assert record["returns"] == json.loads((tmp_path / "returns.json").read_text())["returns"]
    # The layers 2-4-2 on 10 observations: 16 weights forward, and for the gradients of inputs and of weights.
    assert record["adaptation_macs"] == 16 * 10 * 3
    # 4 bytes each for 24 parameters, 5 x 2 inputs and 5 x 4 hidden units kept, 5 x 2 output gradients, and 20 bits.
    assert record["peak_adaptation_bytes"] == 4 * (24 + 10 + 20 + 10) + 3
    assert record["measured_peak_adaptation_bytes"] >= record["peak_adaptation_bytes"]
    assert (record["iterations"], record["seed"], record["layers"]) == (2, 1, ["layer1", "layer2"])
    assert f"{record['returns'][1]['mean']:.1f} ± " in out


def test_the_evaluations_seed_is_not_the_trainings(run: Path) -> None:
    opened = policy_filing.open_run(run)
    seeds = [
        policy_filing.evaluate_run(replace(opened, settings=replace(opened.settings, seed=seed)), 1, lambda done: None)
        for seed in (0, 1)
    ]
    assert [record.seed for record in seeds] == [1, 2] and seeds[0].returns != seeds[1].returns


def test_what_is_filed_is_replaced_only_when_asked_for(run: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    path = results / FAMILY / "maml" / "evaluation.json"
    write(path, RECORD)
    assert "--replace" in fails("table", "rl", "--file", run, "--results", results)
    assert json.loads(path.read_text()) == RECORD and len(list(path.parent.iterdir())) == 1
    succeeds("table", "rl", "--file", run, "--results", results, "--replace")
    assert json.loads(path.read_text())["iterations"] == 2


def test_a_run_that_cannot_be_read_whole_is_refused(run: Path, tmp_path: Path) -> None:
    broken, results = tmp_path / "broken", tmp_path / "results"
    shutil.copytree(run, broken)
    (broken / "timings.csv").unlink()
    assert str(broken / "timings.csv") in fails("table", "rl", "--file", broken, "--results", results)
    assert not results.exists()


def test_a_result_is_one_only_when_all_of_it_is_there(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results" / FAMILY / "maml"
    write(folder / "evaluation.json", RECORD)
    (folder / "timings.csv").mkdir()
    outcome = metarl("table", "rl", "--file", run, "--results", tmp_path / "results", "--replace")
    assert outcome.code == 2 and str(folder / "timings.csv") in outcome.err
    assert not filed.is_filed(tmp_path / "results", FAMILY, "maml")


def test_in_a_checkout_the_controller_goes_where_it_ships(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("experiments/results", "policies/pretrained"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "not for writing" in fails("table", "rl", "--file", run)
    (tmp_path / "pyproject.toml").touch()
    succeeds("table", "rl", "--file", run)
    assert set(pretrained_files(tmp_path / "policies" / "pretrained")) == {f"{FAMILY}/maml"}
    assert not list((tmp_path / "experiments").rglob("*.safetensors"))


def test_what_the_table_has_no_place_for(run: Path, tmp_path: Path) -> None:
    for family, name in (("half-cheetah-direction", "other"), ("my_module:mine", "own")):
        write_run(tmp_path / name, family=family)
        assert family in fails("table", "rl", "--results", tmp_path / "r", "--file", tmp_path / name)
    untrained = write_run(tmp_path / "untrained", after=())
    assert "no such file" in fails("table", "rl", "--results", tmp_path / "r", "--file", untrained)
    costs.untrained(get_family(FAMILY), "maml").save(untrained / "controller.safetensors")
    assert "nothing was trained" in fails("table", "rl", "--results", tmp_path / "r", "--file", untrained)


def tiny(family: str, **asked: Any) -> TrainSettings:
    return preset(family, **asked, meta_batch_size=2, episodes_per_task=2, horizon=5, hidden_sizes=(4,))


def test_what_is_missing_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "preset", tiny)
    results, out = tmp_path / "results", tmp_path / "out"
    write(results / FAMILY / "maml" / "evaluation.json", RECORD)
    words = ("table", "rl", "--train", "--families", FAMILY, "--methods", "maml", "p-meta", "--iterations", 2)
    words = (*words, "--out", out, "--results", results, "--threads", 1, "--seeds", 0, "--gates", "none")
    assert "p-meta: done" in succeeds(*words)
    assert json.loads((results / FAMILY / "maml" / "evaluation.json").read_text()) == RECORD
    family, settings = read_config(results / FAMILY / "p-meta")
    assert (family, settings) == (FAMILY, tiny(FAMILY, method="p-meta", gate="none", iterations=2, threads=1, seed=0))
    record = json.loads((results / FAMILY / "p-meta" / "evaluation.json").read_text())
    assert (record["iterations"], record["seed"]) == (2, 1)
    assert load_controller(results / FAMILY / "p-meta" / "controller.safetensors").metadata.method == "p-meta"

    monkeypatch.setattr(sweep, "start", None)  # nothing is left to train
    succeeds(*words)
    # An evaluation that was interrupted is made up for, without another training.
    (results / FAMILY / "p-meta" / "evaluation.json").unlink()
    succeeds(*words)
    assert json.loads((results / FAMILY / "p-meta" / "evaluation.json").read_text()) == record


def test_one_failure_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "preset", tiny)
    real = sweep.command
    monkeypatch.setattr(sweep, "command", lambda job: ["false"] if job.name == "anil" else real(job))
    words = ("--train", "--families", FAMILY, "--methods", "anil", "boil", "--iterations", 1, "--threads", 1)
    words = (*words, "--seeds", 0, "--gates", "none")
    outcome = metarl("table", "rl", *words, "--out", tmp_path / "out", "--results", tmp_path / "results")
    assert outcome.code == 2 and f"{FAMILY}/anil failed" in outcome.err and outcome.err.count("\n") == 1
    assert filed.is_filed(tmp_path / "results", FAMILY, "boil") and "p-meta-layers" in outcome.out


def test_a_result_is_named_after_what_differs_from_the_row() -> None:
    def name(**options: Any) -> str:
        return policy_filing.result_name(preset(FAMILY, method="anil", **options))

    assert name(gate="none", baseline="full") == "anil"
    assert name(gate="return", baseline="time") == "anil-gate-time"
    assert name(gate="none", baseline="time", seed=2) == "anil-time-seed2"
    assert seed_of("anil-gate-time", "anil-gate") is None


def test_the_repositorys_results_are_whole() -> None:
    results = ROOT / "experiments" / "results"
    folders = [folder for family in TABLE_3 for folder in (results / family).iterdir()]
    filed = [folder for folder in folders if (folder / "evaluation.json").is_file()]
    assert filed == [folder for folder in folders if (folder / "config.json").is_file()] and filed
    shipped = {f"{folder.parent.name}/{folder.name}" for folder in filed if "-seed" not in folder.name}
    assert shipped == set(pretrained_files())
    for folder in filed:
        family, settings = read_config(folder)
        assert (family, policy_filing.result_name(settings)) == (folder.parent.name, folder.name)
        record = json.loads((folder / "evaluation.json").read_text())
        assert record["tasks"] == 400 and record["seed"] != settings.seed
        beside = folder / "controller.safetensors"
        controller = beside if beside.is_file() else f"{family}/{folder.name}"
        training = load_controller(controller).metadata.training
        assert (training["iterations"], training["seed"]) == (record["iterations"], settings.seed)
        assert (folder / "progress.csv").read_bytes().count(b"\n") > training["best_iteration"]
    assert (results / "TABLE.md").read_text() == sheets.page("rl", policy_table.sheets(results), CAPTION)
