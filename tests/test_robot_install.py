"""A robot installs what runs controllers and nothing of what trains them."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
REQUIREMENTS = CHECKOUT / "requirements-robot.txt"
ROBOT = """
import importlib.metadata, sys
import numpy as np
import metarl

controller = metarl.load("navigation-2d/p-meta")
recorder, goal = metarl.Recorder(controller, np.random.default_rng(0)), np.array([0.3, -0.2])
for _ in range(controller.metadata.episodes_per_step):
    position = np.zeros(2)
    for _ in range(controller.metadata.horizon):
        position = position + recorder.act(position)
        recorder.reward(-float(((position - goal) ** 2).sum()))
    recorder.end_episode()
adapted = controller.adapt(recorder.episodes)
adapted.save("adapted.safetensors")
before, after = (each.predict(np.zeros(2))[0] for each in (controller, metarl.load("adapted.safetensors")))
assert np.isfinite(after).all() and after @ goal > before @ goal
print(*(distribution.name.lower() for distribution in importlib.metadata.distributions()))
"""


def test_the_robot_needs_what_the_package_needs_and_no_other_versions():
    wanted = {line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert wanted <= set(project["dependencies"]) and len(wanted) == 4


@pytest.mark.slow
def test_a_fresh_environment_loads_records_and_adapts(tmp_path):
    source = tmp_path / "checkout"
    for room in ("metarl", "envs", "policies", "experiments"):
        shutil.copytree(CHECKOUT / room, source / room, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / file, source)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "robot"], check=True)
    python = tmp_path / "robot" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", CHECKOUT / "constraints.txt"]
    subprocess.run([*pip, "-r", REQUIREMENTS, "setuptools"], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", source], check=True)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}  # no PYTHONPATH to this checkout
    done = subprocess.run(
        [python, "-c", ROBOT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    installed = set(done.stdout.split())
    assert {"metarl-adapt", "numpy", "pydantic", "safetensors", "torch"} <= installed
    assert not installed & {"mujoco", "gymnasium", "matplotlib", "tyro", "stable-baselines3", "rich", "tensorboard"}
