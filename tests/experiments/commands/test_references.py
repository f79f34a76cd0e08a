"""Training the reference policies from the command line."""

from pathlib import Path

from command_line import FAMILY, TINY, fails, rejects, succeeds

from metarl.policies.loading import load_controller

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "tests/fixtures/emoji"


def test_the_oracle_is_trained_evaluated_and_not_adapted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    out = succeeds("train", FAMILY, "--method", "oracle", *TINY, "--out", run)
    assert "metarl evaluate" in out and "metarl adapt" not in out and "--no-adapt" in out
    assert load_controller(run).network.observation_size == 4
    assert "3 unseen tasks" in succeeds("evaluate", run, "--tasks", 3)
    task = ("--task", "goal_x=0.3", "goal_y=-0.2")
    assert "oracle is a reference that updates no layer" in fails("adapt", run, *task)
    assert "oracle is a reference" in fails("render", run, *task, "--out", tmp_path / "a.gif")
    assert "not adapted" in succeeds("render", run, *task, "--no-adapt", "--out", tmp_path / "a.gif")
    assert "oracle" in succeeds("inspect", run)


def test_a_family_without_task_fields_has_no_oracle(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "needs a task field" in fails("train", "gym:Pendulum-v1", "--method", "oracle", "--out", run)
    assert not run.exists()


def test_image_networks_have_no_oracle(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "a reference for policies" in rejects(
        "train", "images", "--data", IMAGES, "--method", "oracle", "--out", run
    )
    assert not run.exists()
