"""Trained controllers that come with the package, by name."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metarl.policies.files import pretrained as module
from metarl.policies.files.pretrained import TRAINED, pretrained_files
from metarl.policies.gate import GATE
from metarl.policies.loading import load_controller

ROOT = Path(__file__).resolve().parents[3]
NAME, OTHER = "half-cheetah-velocity/maml", "navigation-2d/maml"


def test_every_pretrained_controller_is_what_its_name_says():
    files = pretrained_files()
    assert NAME in files and len(files) == len(list(TRAINED.rglob("*.safetensors")))
    for name, file in files.items():
        controller = load_controller(name)
        metadata = controller.metadata
        ending = "-gate" * (GATE in controller.parameters) + "-time" * (metadata.baseline == "time")
        assert f"{metadata.family}/{metadata.method}{ending}" == name and metadata.adapted_to is None
        assert load_controller(file).metadata == metadata
        action, _ = controller.predict(np.zeros(controller.network.observation_size))
        assert action.shape == (controller.network.action_size,)


def test_names_are_what_is_in_the_folder(tmp_path):
    for name in ("walker/p-meta-layers", "walker/maml++", "ant/maml"):
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "walker" / "README.md").touch()
    assert list(pretrained_files(tmp_path)) == ["ant/maml", "walker/maml++", "walker/p-meta-layers"]
    assert pretrained_files(tmp_path)["walker/maml++"] == tmp_path / "walker" / "maml++.safetensors"


def test_a_file_of_that_path_wins_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir(parents=True)
    assert load_controller(Path(NAME)).metadata.training["iterations"] > 0
    Path(NAME).rmdir()
    other = load_controller(OTHER)
    replace(other, metadata=replace(other.metadata, family="mine")).save(NAME)
    assert load_controller(NAME).metadata.family == "mine" and load_controller(OTHER).metadata == other.metadata


def test_an_unknown_name_gets_the_list(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRAINED", tmp_path)
    monkeypatch.setattr(
        module, "pretrained_files", lambda: {"ant/maml": tmp_path / "a", "walker/p-meta": tmp_path / "b"}
    )
    for name in ("ant/p-meta", "ant", "../ant/maml", "/ant/maml"):
        with pytest.raises(
            ValueError, match=r"no such file, nor a pretrained controller .* are ant/maml, walker/p-meta$"
        ):
            load_controller(name)
    with pytest.raises(ValueError, match=r"^ant/maml\.safetensors: there is no such file$"):
        load_controller("ant/maml.safetensors")


def test_a_device_without_simulators_loads_them():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules |= dict.fromkeys(['mujoco', 'gymnasium']);"
        f"from metarl.policies.loading import load; load({NAME!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
