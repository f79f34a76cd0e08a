"""Searches: judged on tasks of their own, the same after a kill, shared by processes, and a preset at the end."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FAMILY, TINY, fails, metarl, succeeds

from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.commands.sweep import parse_sweep
from metarl.experiments.commands.train import parse_train
from metarl.experiments.commands.tune import parse_tune, search_of
from metarl.policies.loading import load_controller
from metarl.rl.evaluation import evaluate_tasks, family_of, unseen_tasks
from metarl.rl.preset_file import read_preset
from metarl.rl.settings import preset, read_config
from metarl.rl.training import selection_scores
from metarl.tuning.search import FIRST_SEED, validation_tasks
from metarl.tuning.space import parse_space

optuna = pytest.importorskip("optuna")

TRIALS, ITERATIONS, STARTUP = 10, 4, 5
SMALL = shlex.split(
    f"--iterations {ITERATIONS} --meta-batch-size 3 --episodes-per-task 3 --horizon 8 --hidden-sizes 4 --threads 1 "
    "--validation-tasks 4 --checkpoint-iterations 1 "
    "--search step_size=0.001:1:log max_kl=0.003:0.3:log gate=none/return"
)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").open()))


def returns(folder: Path, number: int) -> list[float]:
    with (folder / f"trials/{number}/progress.csv").open() as file:
        return [float(row["return_1"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing disturbed."""
    out = tmp_path_factory.mktemp("tune") / "search"
    text = succeeds("tune", FAMILY, *SMALL, "--trials", TRIALS, "--out", out)
    assert f"metarl train {FAMILY} --preset {out / 'preset.json'}" in text.replace("\n", "")
    return out


def test_the_best_trial_becomes_the_preset(search: Path) -> None:
    table = rows(search)
    assert [row["trial"] for row in table] == [str(number) for number in range(TRIALS)]
    best = max((row for row in table if row["state"] == "complete"), key=lambda row: float(row["return"]))
    content = json.loads((search / "preset.json").read_text())
    settings = content["settings"]
    assert settings["step_size"] == float(best["step_size"]) and settings["max_kl"] == float(best["max_kl"])
    assert settings["gate"] == best["gate"] and settings["method"] == "maml" and settings["horizon"] == 8
    assert not {"seed", "threads", "iterations"} & set(settings)
    assert content["found"]["trial"] == int(best["trial"]) and content["found"]["trials"] == TRIALS
    assert (search / "search.png").stat().st_size


def test_the_first_trial_has_the_usual_settings_and_all_lie_in_the_space(search: Path) -> None:
    usual, table = preset(FAMILY), rows(search)
    assert (float(table[0]["step_size"]), float(table[0]["max_kl"])) == (usual.step_size, usual.max_kl)
    assert table[0]["gate"] == usual.gate
    for row in table:
        assert 0.001 <= float(row["step_size"]) <= 1 and 0.003 <= float(row["max_kl"]) <= 0.3
    assert len({row["step_size"] for row in table}) == TRIALS


def test_the_value_is_the_return_after_adaptation_on_the_validation_tasks(search: Path) -> None:
    row = next(row for row in rows(search) if row["state"] == "complete")
    controller = load_controller(search / f"trials/{row['trial']}/controller.safetensors")
    family = family_of(controller, get_family(FAMILY))
    tasks = validation_tasks(family, 4, 0)
    evaluation = evaluate_tasks(controller, family, tasks, FIRST_SEED, 1)
    assert float(row["return"]) == pytest.approx(float(evaluation.returns[1].mean()), rel=1e-12)


def test_pruned_trials_are_those_below_the_median(search: Path) -> None:
    """Golovin et al. (KDD 2017): the best running return so far is below the median of complete trials at this step."""
    complete: list[int] = []
    table = rows(search)
    for row in table:
        scores = selection_scores(returns(search, int(row["trial"])))
        below = [
            step
            for step in range(2, len(scores) + 1)
            if len(complete) >= STARTUP
            and max(scores[:step])
            < statistics.median(selection_scores(returns(search, other))[step - 1] for other in complete)
        ]
        if row["state"] == "pruned":
            assert below == [int(row["iterations"])] == [len(scores)]
        else:
            assert below == [] and len(scores) == ITERATIONS
            complete.append(int(row["trial"]))
    assert sum(row["state"] == "pruned" for row in table) > 0


def test_seeds_and_tasks_are_apart_from_those_that_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def family() -> Any:
        plain = make()

        def sample(count: int, random: np.random.Generator) -> Any:
            drawn.append(plain.sample_tasks(count, random))
            return drawn[-1]

        return replace(plain, sample_tasks=sample)

    make = FAMILIES[FAMILY]
    monkeypatch.setitem(FAMILIES, FAMILY, family)

    def taken() -> set[tuple[float, ...]]:
        found = {tuple(task) for tasks in drawn for task in tasks.tolist()}
        drawn.clear()
        return found

    succeeds("tune", FAMILY, *SMALL, "--trials", 2, "--out", tmp_path / "search")
    searched = taken()
    judged = {tuple(task) for task in validation_tasks(make(), 4, 0).tolist()}
    assert judged < searched
    _, settings = read_config(tmp_path / "search/trials/0")
    assert settings.seed == FIRST_SEED
    for seed in range(3):
        succeeds("train", FAMILY, *TINY, "--seed", seed, "--out", tmp_path / f"run{seed}")
        succeeds("evaluate", tmp_path / f"run{seed}", "--tasks", 20, "--seed", seed)
    reported = taken() | {tuple(task) for task in unseen_tasks(make(), 1000, FIRST_SEED).tolist()}
    assert len(reported) > 1000 and not reported & searched


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_numbers(search: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    words = ["tune", FAMILY, *SMALL, "--trials", str(TRIALS), "--out", str(out)]
    log = out / f"trials/{STARTUP}/progress.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "metarl.experiments.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (log.is_file() and log.read_bytes().count(b"\n") > 2):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    with (out / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":7,"wor')  # as a power cut leaves it
    succeeds(*words)
    names = ["trials.csv", "preset.json", *(f"trials/{number}/progress.csv" for number in range(TRIALS))]
    assert [(out / name).read_bytes() for name in names] == [(search / name).read_bytes() for name in names]


def test_a_search_that_is_done_can_have_more_trials(search: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    succeeds("tune", FAMILY, *SMALL, "--trials", 1, "--out", out)
    before = (out / "trials/0/progress.csv").stat().st_mtime_ns
    succeeds("tune", FAMILY, *SMALL, "--trials", 2, "--out", out)
    assert (out / "trials/0/progress.csv").stat().st_mtime_ns == before
    assert (out / "trials.csv").read_text().splitlines() == (search / "trials.csv").read_text().splitlines()[:3]
    assert "holds another search: search max_kl was" in fails(
        "tune", FAMILY, *SMALL, "--search", "step_size=0.001:1:log", "--trials", 2, "--out", out
    )


def test_a_trial_that_someone_works_on_is_left_alone(tmp_path: Path) -> None:
    from metarl.tuning.search import open_folder
    from metarl.tuning.study import claimed_trial, open_study

    search = search_of(parse_tune([FAMILY, *SMALL, "--out", str(tmp_path)]))
    open_folder(tmp_path, search)
    one, other = open_study(tmp_path, search), open_study(tmp_path, search)
    with claimed_trial(tmp_path, one, search, 2) as mine, claimed_trial(tmp_path, other, search, 2) as theirs:
        assert mine is not None and theirs is not None and (mine.number, theirs.number) == (0, 1)
        with claimed_trial(tmp_path, one, search, 2) as nothing:
            assert nothing is None
    with claimed_trial(tmp_path, other, search, 2) as left:
        assert left is not None and left.number == 0 and left.params == mine.params


def test_settings_that_cannot_be_trained_count_as_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metarl.core.errors import NumericalFault
    from metarl.tuning import trial

    def diverge(*_: Any) -> float:
        raise NumericalFault("a return is not finite")

    with monkeypatch.context() as patched:
        patched.setattr(trial, "run", diverge)
        out = tmp_path / "search"
        assert "no trial came to its end" in diverged(out)
    assert rows(out)[0]["state"] == "pruned" and not (out / "preset.json").exists()
    succeeds("tune", FAMILY, *SMALL, "--trials", 2, "--out", out)
    assert json.loads((out / "preset.json").read_text())["found"]["trial"] == 1


def diverged(out: Path) -> str:
    outcome = metarl("tune", FAMILY, *SMALL, "--trials", 1, "--out", out)
    assert outcome.code == 2 and "pruned after 0 iterations, a return is not finite" in outcome.out.replace("\n", " ")
    return outcome.err


@pytest.mark.slow
def test_processes_share_the_trials(tmp_path: Path) -> None:
    words = ["tune", FAMILY, *SMALL, "--trials", "6", "--out", str(tmp_path / "search")]
    command = [sys.executable, "-m", "metarl.experiments.cli", *words]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ends = [
        line for text in texts for line in text.splitlines() if " on the validation tasks" in line or "pruned" in line
    ]
    assert len(rows(tmp_path / "search")) == 6
    assert {f"trial {number} of 6" for number in range(6)} <= {line.partition(":")[0] for line in ends}


def test_a_training_takes_the_preset(search: Path, tmp_path: Path) -> None:
    path, run = search / "preset.json", tmp_path / "run"
    found = read_preset(path)
    succeeds("train", FAMILY, "--preset", path, "--iterations", 1, "--threads", 1, "--out", run)
    _, settings = read_config(run)
    assert {name: getattr(settings, name) for name in found} == found | {"hidden_sizes": (4,)}
    assert parse_train([FAMILY, "--preset", str(path), "--max-kl", "0.5"]).settings.max_kl == 0.5
    assert f"preset {path} is for maml, not for anil" in fails("train", FAMILY, "--preset", path, "--method", "anil")


def test_a_sweep_takes_the_preset(search: Path, tmp_path: Path) -> None:
    words = [FAMILY, "--preset", str(search / "preset.json"), "--out", str(tmp_path)]
    command = parse_sweep(words)
    assert command.methods == ("maml",) and command.settings.step_size == read_preset(Path(words[2]))["step_size"]
    assert "is for maml alone" in fails("sweep", *words, "--methods", "maml", "anil")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the preset"),
        ("nonsense", "is no preset"),
        ("[]", "is no preset"),
        ("{}", "is no preset"),
        ('{"settings": {"max_kk": 1}}', "unknown setting 'max_kk': did you mean 'max_kl'?"),
        ('{"settings": {"max_kl": -1}}', "setting 'max_kl' must be above 0, got -1"),
    ],
)
def test_presets_that_cannot_be_used(content: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "preset.json"
    if content is not None:
        path.write_text(content)
    assert says in fails("train", FAMILY, "--preset", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("nonsense", "unknown task family 'nonsense'"),
        (f"{FAMILY} --search step_sise=0.1:1", "did you mean 'step_size'?"),
        (f"{FAMILY} --search step_size=1:0.1", "must be below the high one"),
        (f"{FAMILY} --search lasso=0:1:log", "a logarithmic range lies above 0"),
        (f"{FAMILY} --search discount=0.9:1.5", "'discount' must be at most 1"),
        (f"{FAMILY} --trials 0", "--trials must be at least 1, got 0"),
        (f"{FAMILY} --validation-tasks 0", "--validation-tasks must be at least 1, got 0"),
        (f"{FAMILY} --method nonsense", "unknown method 'nonsense'"),
        ("gym:CartPole-v1,length=0.3:1 --search initial_std=0.5:2", "initial_std is for actions that are vectors"),
    ],
)
def test_bad_input_writes_nothing(words: str, says: str, tmp_path: Path) -> None:
    assert says in fails("tune", *words.split(), "--out", tmp_path / "search")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists already and is no search" in fails("tune", FAMILY, *SMALL, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_optuna_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("study", "results", "trial"):
        monkeypatch.delitem(sys.modules, f"metarl.tuning.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    says = fails("tune", FAMILY, *SMALL, "--out", tmp_path / "search")
    assert says == "optuna is not installed: pip install 'metarl-adapt[tune]'" and list(tmp_path.iterdir()) == []


def test_a_space_is_typed_as_it_is_recorded(search: Path) -> None:
    recorded = json.loads((search / "search.json").read_text())["search"]
    assert parse_space([f"{name}={text}" for name, text in recorded.items()]) == parse_space(SMALL[-3:])
