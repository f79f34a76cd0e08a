"""Bad input gets one sentence and exit code 2, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import FAMILY, TINY, Outcome, fails, metarl, rejects, succeeds

from metarl.core.errors import NumericalFault, Refusal
from metarl.experiments import cli
from metarl.experiments.commands import bench
from metarl.rl import training as meta_training


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ("nonsense", "'nonsense'", "train, evaluate, adapt"),
        ("train nonsense", "'nonsense'", FAMILY),
        ("train no_such_module:family", "no_such_module", ""),
        ("train metarl.api:nonsense", "'nonsense'", "metarl.api"),
        ("train metarl:__version__", "metarl:__version__", "TaskFamily"),
        (f"train {FAMILY} --method nonsense", "'nonsense'", "maml, anil, boil"),
        (f"train {FAMILY} --meta-batch-size 0", "'meta_batch_size'", "at least 1"),
        (f"train {FAMILY} --step-size -0.1", "'step_size'", "above 0"),
        (f"train {FAMILY} --step-size nan", "'step_size'", "finite"),
        (f"train {FAMILY} --method cavia --context-size 0", "'context_size'", "at least 1"),
        (f"train {FAMILY} --method reptile --inner-steps 1", "'inner_steps'", "at least 2 with reptile"),
        (f"train {FAMILY} --weight-clustering 5e-5", "'weight_clustering'", "must be 0 with maml"),
        (f"train {FAMILY} --seed -1", "'seed'", "at least 0"),
        ("bench sampling --threads 0", "--threads", "at least 1"),
        ("demo --iterations 0", "--iterations", "at least 1"),
        ("evaluate nonsense.safetensors", "nonsense.safetensors", "no such file"),
        ("evaluate {controller} --tasks 0", "--tasks", "at least 1"),
        ("evaluate {controller} --horizon 0", "--horizon", "at least 1"),
        ("evaluate {controller} --seed -1", "--seed", "at least 0"),
        ("evaluate {controller} --threads 0", "--threads", "at least 1"),
        ("evaluate {controller} --family half-cheetah-velocity", "other spaces", "half-cheetah-velocity"),
        ("adapt {controller} --task", "goal_x", "goal_x, goal_y"),
        ("adapt {controller} --task goal_x", "'goal_x'", "NAME=VALUE"),
        ("adapt {controller} --task goal_x=here goal_y=0", "'here'", "a number"),
        ("adapt {controller} --task goal_x=0 goal_x=0", "'goal_x'", "twice"),
        ("adapt {controller} --task goal_x=0", "goal_y", "goal_x, goal_y"),
        ("adapt {controller} --task goal_x=0 goal_y=0 goal_z=0", "goal_z", "goal_x, goal_y"),
        ("adapt {controller} --task goal_x=9 goal_y=0", "got 9", "[-0.5, 0.5]"),
        ("adapt {controller} --task goal_x=nan goal_y=0", "got nan", "[-0.5, 0.5]"),
        ("render {controller} --out x.gif --task goal_x=9 goal_y=0", "got 9", "[-0.5, 0.5]"),
        ("render {controller} --out x.gif", "goal_x", "goal_x, goal_y"),
        ("render {controller} --out x.avi --task goal_x=0 goal_y=0", "x.avi", ".gif or .mp4"),
        ("render {controller} --out x.gif --task goal_x=0 goal_y=0 --compare --no-adapt", "--compare", "--no-adapt"),
    ],
)
def test_one_sentence(
    words: str, named: str, allowed: str, controller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(controller.parent.iterdir())
    sentence = fails(*(word.format(controller=controller) for word in words.split()))
    assert named in sentence and allowed in sentence, sentence
    assert list(tmp_path.iterdir()) == [] and sorted(controller.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ("train", "FAMILY", "train --help"),
        (f"train {FAMILY} --iterations many", "--iterations", "a whole number"),
        (f"train {FAMILY} --iterations 1.5", "--iterations", "a whole number"),
        (f"train {FAMILY} --discount x", "--discount", "a number"),
        (f"train {FAMILY} --horizon x", "--horizon", "a whole number"),
        (f"train {FAMILY} --iteration 3", "--iteration", "--iterations"),
        ("bench nonsense", "'nonsense'", "sampling"),
        ("evaluate", "CONTROLLER", "evaluate --help"),
        ("adapt x", "--task", "NAME=VALUE"),
        (f"train {FAMILY} --hidden-sizes 100,100", "'100,100'", "whole numbers with spaces between them, e.g. 100 100"),
        (f"sweep {FAMILY}", "--out", "sweep --help"),
        (f"sweep {FAMILY} --method anil --out x", "--method", "--methods"),
        (f"sweep {FAMILY} --seeds 0-4 --out run", "'0-4'", "whole numbers with spaces between them"),
    ],
)
def test_words_that_do_not_fit(
    words: str, named: str, allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = rejects(*words.split())
    assert named in text and allowed in text, text
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_controller(controller: Path, tmp_path: Path) -> None:
    foreign, truncated = tmp_path / "foreign", tmp_path / "truncated"
    foreign.write_text("not a controller")
    truncated.write_bytes(controller.read_bytes()[:-100])
    for path in (foreign, truncated):
        for words in (("evaluate", path), ("adapt", path, "--task", "goal_x=0", "goal_y=0", "--out", tmp_path / "o")):
            assert str(path) in fails(*words)
    assert sorted(tmp_path.iterdir()) == [foreign, truncated]


def test_nothing_is_overwritten(run: Path, controller: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.gif"
    kept.write_text("precious")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    task = ("--task", "goal_x=0", "goal_y=0")
    for words in (
        ("train", FAMILY, *TINY, "--max-kl", 0.5, "--out", run),
        ("train", FAMILY, *TINY, "--out", kept),
        ("evaluate", controller, "--tasks", 1, "--json", kept),
        ("adapt", controller, *task, "--out", kept),
        ("adapt", controller, *task, "--out", controller),
        ("render", controller, *task, "--out", kept),
        ("bench", "sampling", "--json", kept),
        ("demo", "--out", tmp_path),
    ):
        assert "already" in fails(*words)
    assert kept.read_text() == "precious" and list(tmp_path.iterdir()) == [kept]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_places_that_cannot_be_written(controller: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    below = file / "below.gif"
    task = ("--task", "goal_x=0", "goal_y=0")
    for words in (
        ("train", FAMILY, *TINY, "--out", below),
        ("evaluate", controller, "--tasks", 1, "--json", below),
        ("adapt", controller, *task, "--out", below),
        ("render", controller, *task, "--out", below),
        ("bench", "sampling", "--json", below),
        ("demo", "--iterations", 1, "--out", below),
    ):
        sentence = fails(*words)
        assert "cannot write" in sentence and str(file) in sentence, sentence


def test_a_simulation_that_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object) -> None:
        raise NumericalFault("the reward is not finite")

    monkeypatch.setattr(meta_training, "meta_iteration", diverge)
    outcome = metarl("train", FAMILY, *TINY, "--iterations", 10, "--out", tmp_path / "run")
    *_, sentence = outcome.err.splitlines()
    assert outcome.code == 2
    assert sentence.startswith("metarl: the reward is not finite; it was the 5th such iteration in a row")
    assert f"the controller is untrained; metarl train --resume {tmp_path / 'run'} goes on" in sentence
    outcome = metarl("train", FAMILY, *TINY, "--iterations", 2, "--out", tmp_path / "short")
    assert outcome.code == 2 and "Meta-trained" not in outcome.out
    assert outcome.err == "metarl: no iteration succeeded; the controller is untrained\n"


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a bug"),
        ValueError("not enough values to unpack"),
        FloatingPointError("overflow"),
        BrokenPipeError(32, "the simulator closed the connection"),
        FileNotFoundError(2, "no mesh"),
    ],
)
def test_an_error_that_is_not_metarls_keeps_its_place(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    with pytest.raises(type(error)) as caught:
        metarl("train")
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Refusal("there is no such task"), "there is no such task"),
        (NumericalFault("the rewards are not finite"), "the rewards are not finite"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_what_metarl_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str) -> None:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert metarl("train") == Outcome(2, "", f"metarl: {sentence}\n")


def test_a_file_that_metarl_cannot_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    sentence = fails("evaluate", f"{FAMILY}/maml", "--tasks", 1, "--json", path)
    assert sentence == f"{path}: File name too long"


def test_a_benchmark_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'nonsense' is not part of this installation"):
        bench.bench_module("nonsense")


def test_warnings_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    monkeypatch.setattr(cli, "run", lambda words: warnings.warn("\x1b[33mthe disk is full\x1b[0m", stacklevel=1))
    outcome = metarl()
    assert (outcome.code, outcome.err) == (0, "metarl: warning: the disk is full\n")


def test_succeeds_would_notice_a_failure() -> None:
    with pytest.raises(AssertionError):
        succeeds("nonsense")
