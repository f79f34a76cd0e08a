"""Files that earlier versions of the format wrote: they must load for ever, and mean what they meant."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import metarl
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import FieldRecord

FOLDER = Path(__file__).parents[2] / "fixtures" / "controllers"
# The mean actions, or the logits, that each network gave for INPUTS when the files were written.
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
OBSERVATIONS = [[0.1, -0.2, 0.3], [-1.0, 0.5, 2.0]]
IMAGES = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16).flip(3)
IMAGES[1] = IMAGES[1].sin()


def frozen() -> list[Path]:
    return sorted(FOLDER.glob("version-*/*.safetensors"), key=lambda path: (path.parent, path.stem))


def test_every_version_has_a_file_of_each_kind():
    later = {"categorical", "pruned"}  # there were none in version 1
    names = {1: EXPECTED.keys() - later, 2: EXPECTED.keys(), 3: {"pruned"}}
    assert [(path.parent.name, path.stem) for path in frozen()] == [
        (f"version-{version}", name) for version in names for name in sorted(names[version])
    ]


@pytest.mark.parametrize("path", frozen(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_loads_and_computes_what_it_did(path):
    loaded = metarl.load(path)
    if isinstance(loaded, Controller) and loaded.network.choices is None:
        outputs = loaded.predict(OBSERVATIONS)[0]
    elif isinstance(loaded, Controller):
        outputs = loaded.network(loaded.parameters, torch.tensor(OBSERVATIONS))[0].numpy()
        assert loaded.predict(OBSERVATIONS)[0].tolist() == outputs.argmax(axis=1).tolist()
    else:
        outputs = loaded.network(loaded.parameters, IMAGES)[0].numpy()
    np.testing.assert_allclose(outputs, EXPECTED[path.stem], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", [2, 3])
def test_the_weights_of_a_pruned_policy(version):
    """Every third number is kept, and holds its place; both versions hold the same."""
    loaded = metarl.load(FOLDER / f"version-{version}" / "pruned.safetensors")
    for name in ("layer1.weight", "layer2.weight"):
        weight, places = loaded.parameters[name].flatten(), torch.arange(loaded.parameters[name].numel())
        assert torch.equal(weight, torch.where(places % 3 == 0, (places + 1) / 16, 0.0))
        assert torch.equal(loaded.parameters[f"{name}.mask"].flatten(), (places % 3 == 0).float())


@pytest.mark.parametrize("version", [1, 2])
def test_the_metadata_of_a_policy(version):
    loaded = metarl.load(FOLDER / f"version-{version}" / "adapted.safetensors")
    assert isinstance(loaded, Controller)
    metadata = loaded.metadata
    assert (metadata.method, metadata.family, metadata.horizon) == ("anil", "navigation-2d", 20)
    assert metadata.task_fields == (
        FieldRecord("goal_x", -0.5, 0.5, "m"),
        FieldRecord("side", -1.0, 1.0, "", (-1.0, 1.0)),
    )
    assert metadata.observation_low == (-math.inf, -1.0, 0.0) and metadata.action_high == (0.1, math.inf)
    assert metadata.adapted_to == {"goal_x": 0.25, "side": -1.0}
    assert metadata.training["kl"] == "nan" and metadata.training["settings"] == {"hidden_sizes": [5, 4]}
    assert loaded.network.hidden_sizes == (5, 4)


@pytest.mark.parametrize("version", [1, 2])
def test_the_metadata_of_an_image_network(version):
    loaded = metarl.load(FOLDER / f"version-{version}" / "resnet12.safetensors")
    assert isinstance(loaded, Classifier)
    metadata = loaded.metadata
    assert (metadata.method, metadata.inner_steps, metadata.shots, metadata.queries) == ("maml++", 1, 1, 2)
    assert (metadata.data, metadata.training) == ("emoji", {"seed": 6})
    assert (loaded.network.side, loaded.network.ways, loaded.network.norm) == (16, 2, "batch")


def test_the_examples_of_the_page_on_files_work(tmp_path, monkeypatch, capsys):
    page = (FOLDER.parents[2] / "docs" / "controller-files.md").read_text()
    first, second, third = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(first.replace("runs/cheetah", "half-cheetah-velocity/maml"), {})
    names: dict[str, object] = {}
    exec(second, names)
    shutil.copy(FOLDER / "version-3" / "pruned.safetensors", tmp_path)
    exec(third, names)
    assert capsys.readouterr().out == "gaussian-mlp half-cheetah-velocity (100, 20)\ngaussian-mlp (5,)\n"
