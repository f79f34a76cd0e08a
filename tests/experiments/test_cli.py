"""The command line from end to end: what each command prints and leaves behind."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import FAMILY, TINY, fails, succeeds
from PIL import Image

from metarl.experiments.cli import COMMANDS
from metarl.policies.loading import load_controller
from metarl.rl.settings import preset

ROOT = Path(__file__).resolve().parents[2]
TASK = ("goal_x=0.3", "goal_y=-0.2")


def test_train_leaves_a_run_folder_and_says_what_to_type_next(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    out = succeeds("train", FAMILY, *TINY, "--out", folder)
    assert "2/2 meta-iterations" in out and "KL" in out and "in all" in out
    assert f"metarl evaluate {folder / 'controller.safetensors'}" in out
    with (folder / "progress.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["1", "2"]
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings["hidden_sizes"] == [4] and settings["horizon"] == 5
    assert settings["action_scale"] == preset(FAMILY).action_scale
    with Image.open(folder / "learning_curve.png") as picture:
        assert min(picture.size) >= 400 and len(set(picture.convert("RGB").get_flattened_data())) > 50


@pytest.mark.parametrize(("command", "package"), [("report", "jinja2"), ("report", "matplotlib"), ("render", "PIL")])
def test_a_missing_package_is_named_with_what_installs_it(command: str, package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from metarl.experiments.cli import main; "
        f"sys.exit(main([{command!r}, '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        f"metarl: {package} is not installed: pip install 'metarl-adapt[report]'\n",
    )


def test_training_needs_no_matplotlib(tmp_path: Path) -> None:
    words = ["train", FAMILY, *map(str, TINY), "--out", str(tmp_path / "run")]
    code = (
        "import sys; sys.modules['matplotlib'] = None; from metarl.experiments.cli import main; "
        f"sys.exit(main({words!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: no learning curve is drawn: it needs pip install 'metarl-adapt[report]'" in done.stderr
    assert not (tmp_path / "run" / "learning_curve.png").exists()


def test_the_commands_that_training_recommends_work(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeeds("train", FAMILY, *TINY)
    assert (tmp_path / "runs" / f"{FAMILY}-maml-seed0" / "controller.safetensors").exists()
    recommended = [line.split()[1:] for line in out.splitlines() if line.startswith("  metarl ")]
    assert [words[0] for words in recommended] == ["evaluate", "adapt", "render"]
    for words in recommended:
        succeeds(*words)


def test_same_seed_same_numbers(run: Path, tmp_path: Path) -> None:
    words = ("train", FAMILY, "--gate", "none", *TINY)
    succeeds(*words, "--out", tmp_path / "same")
    succeeds(*words, "--seed", 1, "--out", tmp_path / "other")
    progress, same, other = (
        (folder / "progress.csv").read_bytes() for folder in (run, tmp_path / "same", tmp_path / "other")
    )
    assert progress == same != other


def test_settings_come_from_the_command_line_after_the_family(tmp_path: Path) -> None:
    succeeds("train", FAMILY, *TINY, "--method", "anil", "--inner-steps", 2, "--out", tmp_path / "run")
    assert "the task family comes first: metarl train FAMILY [OPTIONS]" in fails("train", *TINY, FAMILY)
    metadata = load_controller(tmp_path / "run" / "controller.safetensors").metadata
    assert (metadata.method, metadata.inner_steps, metadata.horizon) == ("anil", 2, 5)
    assert metadata.action_scale == preset(FAMILY).action_scale


def test_evaluate_prints_a_table_and_writes_the_numbers(controller: Path, tmp_path: Path) -> None:
    out = succeeds("evaluate", controller, "--tasks", 3, "--json", tmp_path / "returns.json")
    record = json.loads((tmp_path / "returns.json").read_text())
    settings = {"family": FAMILY, "method": "maml", "horizon": 5, "episodes": 2, "inner_steps": 1, "seed": 1}
    assert {name: record[name] for name in settings} == settings
    assert record["tasks"] == 3 and record["deterministic"] is False
    assert [set(entry) for entry in record["returns"]] == [{"steps", "mean", "ci95"}] * 2
    assert [entry["steps"] for entry in record["returns"]] == [0, 1]
    for entry in record["returns"]:
        assert entry["mean"] < 0 < entry["ci95"]
        assert f"{entry['mean']:.2f}" in out and f"± {entry['ci95']:.2f}" in out
    assert [set(each["task"]) for each in record["task_returns"]] == [{"goal_x", "goal_y"}] * 3
    by_step = np.array([each["returns"] for each in record["task_returns"]]).T
    assert by_step.mean(axis=1) == pytest.approx([entry["mean"] for entry in record["returns"]])


def test_evaluate_and_adapt_in_another_way_than_trained(controller: Path, tmp_path: Path) -> None:
    words = ("--horizon", 4, "--episodes", 3, "--inner-steps", 2)
    out = succeeds("evaluate", controller, "--tasks", 2, *words, "--deterministic", "--json", tmp_path / "r.json")
    record = json.loads((tmp_path / "r.json").read_text())
    assert [record[name] for name in ("horizon", "episodes", "inner_steps", "deterministic")] == [4, 3, 2, True]
    assert len(record["returns"]) == 3 and "2 unseen tasks, mean actions" in out
    out = succeeds("adapt", controller, "--task", *TASK, *words, "--out", tmp_path / "adapted.safetensors")
    metadata = load_controller(tmp_path / "adapted.safetensors").metadata
    assert (metadata.horizon, metadata.episodes_per_step, metadata.inner_steps) == (4, 3, 2)
    assert "after 2 inner steps" in out and "(3 episodes)" in out


def test_the_title_names_the_family_that_was_evaluated() -> None:
    words = ("half-cheetah-velocity/maml", "--family", "half-cheetah-direction", "--tasks", 2, "--horizon", 5)
    assert "half-cheetah-direction, 2 unseen tasks" in succeeds("evaluate", *words)


def test_a_run_folder_is_taken_for_its_controller(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    assert "1 unseen task" in succeeds("evaluate", copy, "--tasks", 1)
    succeeds("adapt", copy, "--task", *TASK)
    assert (copy / "controller-goal_x=0.3-goal_y=-0.2.safetensors").is_file()
    assert "method" in succeeds("inspect", copy)


def test_the_interval_of_a_single_task_is_null(controller: Path, tmp_path: Path) -> None:
    succeeds("evaluate", controller, "--tasks", 1, "--json", tmp_path / "returns.json")
    text = (tmp_path / "returns.json").read_text()
    assert "NaN" not in text
    assert [entry["ci95"] for entry in json.loads(text)["returns"]] == [None, None]


def test_evaluation_depends_on_its_seed_alone(controller: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        succeeds("evaluate", controller, "--tasks", 3, "--seed", seed, "--json", tmp_path / name)
    first, again, other = ((tmp_path / name).read_text() for name in "abc")
    assert first == again != other


def test_adapt_writes_the_adapted_controller(controller: Path, tmp_path: Path) -> None:
    out = succeeds("adapt", controller, "--task", *TASK, "--out", tmp_path / "adapted.safetensors")
    adapted = load_controller(tmp_path / "adapted.safetensors")
    assert adapted.metadata.adapted_to == {"goal_x": 0.3, "goal_y": -0.2}
    before = load_controller(controller).parameters
    assert any(not np.array_equal(before[name], adapted.parameters[name]) for name in before)
    assert "after 0 inner steps: -" in out and "after 1 inner step: -" in out


def test_adapt_keeps_the_better_controller_and_says_why(controller: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept.safetensors"
    out = succeeds("adapt", controller, "--task", *TASK, "--check", 3, "--out", file)
    found = re.search(r"3 fresh episodes each: .* a gain of (\S+) ± .* so the controller (\w+) adaptation is kept", out)
    assert found
    assert (float(found[1]) > 0) == (found[2] == "after") == (load_controller(file).metadata.adapted_to is not None)
    assert ("as it was before adaptation" in out) == (found[2] == "before")


def test_a_check_of_one_episode_is_refused_before_anything_is_written(controller: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.safetensors"
    assert "--check must be at least 2, got 1" in fails(
        "adapt", controller, "--task", *TASK, "--check", 1, "--out", out
    )
    assert not out.exists()


def test_adapt_names_its_file_after_the_task(controller: Path, tmp_path: Path) -> None:
    copy = tmp_path / "c.safetensors"
    copy.write_bytes(controller.read_bytes())
    succeeds("adapt", copy, "--task", *TASK)
    assert load_controller(tmp_path / "c-goal_x=0.3-goal_y=-0.2.safetensors").metadata.adapted_to is not None


def test_render_makes_a_small_moving_picture(controller: Path, tmp_path: Path) -> None:
    out = succeeds("render", controller, "--task", *TASK, "--out", tmp_path / "episode.gif")
    assert "return -" in out and "adapted first" in out
    with Image.open(tmp_path / "episode.gif") as picture:
        assert picture.n_frames > 1
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 2
    assert (tmp_path / "episode.gif").stat().st_size < 2_000_000


def test_render_adapts_only_where_it_should(controller: Path, tmp_path: Path) -> None:
    adapted = tmp_path / "adapted.safetensors"
    succeeds("adapt", controller, "--task", *TASK, "--out", adapted)
    commands = {
        "first": (controller, "--task", *TASK),
        "already": (adapted,),
        "not": (controller, "--task", *TASK, "--no-adapt"),
    }
    returns = {}
    for name, words in commands.items():
        out = succeeds("render", *words, "--out", tmp_path / f"{name}.gif")
        returns[name] = out.partition("return ")[2].split()[0]
    assert returns["first"] == returns["already"] != returns["not"]
    out = succeeds("render", controller, "--task", *TASK, "--compare", "--out", tmp_path / "both.gif")
    assert f"return {returns['not']} before and {returns['first']} after adaptation" in out
    with Image.open(tmp_path / "both.gif") as both, Image.open(tmp_path / "first.gif") as one:
        assert both.width == 2 * one.width and both.n_frames == one.n_frames
    assert "not adapted yet" in fails("render", adapted, "--compare", "--out", tmp_path / "c.gif")


@pytest.mark.parametrize("family", ["navigation-2d", "half-cheetah-velocity"])
def test_the_help_of_train_shows_the_presets_of_the_family(family: str) -> None:
    out = " ".join(succeeds("train", family, "--help").replace("│", " ").split())
    settings = preset(family)
    assert f"Tasks in a meta-batch. (default: {settings.meta_batch_size})" in out
    assert f"clipped to the action space. (default: {settings.action_scale:g})" in out
    assert "maml, anil, boil, maml++" in out and "half-cheetah-velocity" in out


@pytest.mark.parametrize("command", [*COMMANDS, "train images", "table images", "table families", "data npz"])
def test_every_command_has_help_for_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first, _, *lines = succeeds(*command.split(), "--help").splitlines()
    assert first.startswith(f"usage: metarl {command} [-h]")
    assert all(len(line) <= 80 for line in lines)
    assert not any(jargon in line for line in lines for jargon in ("None", "(default: )", "STR [STR"))
    assert f"  {command.split()[0]} " in succeeds("--help")


def test_version() -> None:
    import metarl as package

    assert succeeds("--version") == f"metarl {package.__version__}\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "metarl.experiments.cli", "evaluate", "--help"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141


def test_the_general_help_loads_no_heavy_module() -> None:
    code = (
        "import sys; from metarl.experiments.cli import main; main(['--help']); "
        "sys.exit(not {'torch', 'mujoco', 'gymnasium', 'matplotlib'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def test_a_task_family_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "my_family_module.py"
    module.write_text("from metarl.envs.registry import get_family\ndef mine(): return get_family('navigation-2d')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", os.getcwd())])
    out = succeeds("train", "my_family_module:mine", *TINY)
    path = Path("runs/my_family_module.mine-maml-seed0/controller.safetensors")
    assert load_controller(path).metadata.family == "my_family_module:mine"
    for line in out.splitlines():
        if line.startswith("  metarl "):
            succeeds(*line.split()[1:])


def test_an_environment_that_cannot_be_rendered(
    controller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blind_module.py").write_text(
        "from dataclasses import replace\n"
        "from gymnasium import Wrapper\n"
        "from metarl.envs.registry import get_family\n"
        "class Blind(Wrapper):\n"
        "    def render(self): return None\n"
        "family = get_family('navigation-2d')\n"
        "blind = replace(family, make_env=lambda **kwargs: Blind(family.make_env(**kwargs)))\n"
    )
    monkeypatch.chdir(tmp_path)
    sentence = fails("render", controller, "--family", "blind_module:blind", "--task", *TASK, "--out", "o.gif")
    assert "blind_module:blind cannot be rendered" in sentence and not (tmp_path / "o.gif").exists()


def test_a_controller_alone_does_not_decide_which_code_runs(controller: Path, tmp_path: Path) -> None:
    stranger = load_controller(controller)
    replace(stranger, metadata=replace(stranger.metadata, family="os:getcwd")).save(tmp_path / "stranger")
    for words in (("evaluate",), ("adapt", "--task", *TASK), ("render", "--task", *TASK, "--out", tmp_path / "o.gif")):
        sentence = fails(words[0], tmp_path / "stranger", *words[1:])
        assert "--family os:getcwd" in sentence and "'os:getcwd'" in sentence
