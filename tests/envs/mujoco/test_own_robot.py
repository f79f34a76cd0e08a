"""The page on robots of one's own: its example runs, and what it says of bad input holds."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import metarl, succeeds
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

from metarl.envs.registry import get_family

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "own-robot.md").read_text()
MODEL, CODE, COMMANDS = (re.search(rf"```{word}\n(.*?)```", PAGE, re.DOTALL)[1] for word in ("xml", "python", "bash"))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Save the example under a name of its own, since Python keeps modules that were imported."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / "balancer.xml").write_text(MODEL)
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_the_example_is_short() -> None:
    code = [line for line in CODE.splitlines() if line.strip()]
    assert len(code) <= 20


def test_its_commands_run(mine) -> None:
    for line in COMMANDS.splitlines():
        succeeds(*line.replace("mine:", f"{mine}:").split()[1:])
    assert Path("balancer.safetensors").is_file()


def test_it_passes_the_checkers(mine) -> None:
    env = get_family(f"{mine}:balancer").make_env()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*A Box observation space (min|max)imum value is.*infinity")
        check_env(env.unwrapped)
        check_for_stable_baselines(env)
    env.close()


def test_the_cart_falls_and_its_cargo_matters(mine) -> None:
    family = get_family(f"{mine}:balancer")
    simulator = family.make_simulator(2)
    tasks = np.array([[0.0, 0.5], [0.0, 3.0]])
    first = simulator.reset(tasks, np.array([[0, 1], [0, 1]]))
    np.testing.assert_array_equal(first[0], first[1])
    outcomes = [simulator.step(np.full((2, 2, 2), 0.3)) for _ in range(100)]
    simulator.close()
    assert not np.allclose(outcomes[5].observations[0], outcomes[5].observations[1])
    assert outcomes[-1].terminated.all()
    assert not outcomes[5].terminated.any()


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("balancer.xml", "<freejoint/>", "<freejoint>", "must be an MJCF file, an MJCF text or an MjSpec: XML"),
        ("balancer.xml", 'ctrlrange="-1 1"', "", "actuator 'left' of balancer needs a ctrlrange"),
        ("mine", 'body("cargo")', 'body("load")', "failed in mine_"),
        ("mine", '"cargo", 0.5', '"cargo", -0.5', "(target_velocity=0 cargo=-0.5) has body_mass"),
        ("mine", '"xmat")', '"speed")', "the robot of balancer reads 'speed'"),
    ],
)
def test_bad_input_is_told_in_a_sentence(mine, file, old, new, sentence) -> None:
    path = Path(f"{mine}.py" if file == "mine" else file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    outcome = metarl("train", f"{mine}:balancer", "--iterations", "1", "--out", "run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("run").exists()
