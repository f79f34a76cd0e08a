"""``metarl inspect --features``: what it measures, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, succeeds
from small_classifiers import small_classifier

from metarl.policies.networks.conv4 import Conv4

EMOJI = Path(__file__).parents[2] / "fixtures" / "emoji"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because the decoded images are kept beside them."""
    return Path(shutil.copytree(EMOJI, tmp_path_factory.mktemp("images") / "emoji"))


def saved(folder: Path, name: str, method: str = "maml", side: int = 16) -> Path:
    small_classifier(method, Conv4(side=side, ways=5, width=8)).save(folder / name)
    return folder / name


def measured(path: Path, *words: object) -> dict[str, Any]:
    path.with_suffix(".json").unlink(missing_ok=True)
    succeeds("inspect", path, "--features", "--json", path.with_suffix(".json"), *words)
    features: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())["features"]
    return features


def test_features_of_an_untrained_network_hardly_depend_on_the_class(data: Path, tmp_path: Path) -> None:
    maml = saved(tmp_path, "maml.safetensors")
    features = measured(maml, "--data", data, "--other", maml)
    assert features["clustering"]["mean"] > 1 and 1 < features["hyperplane_variation"]["mean"] <= 4
    assert features["cka"] == pytest.approx(1, abs=1e-4)
    assert features["travelled"]["mean"] > 0
    assert features == measured(maml, "--data", data, "--other", maml)
    assert features["clustering"] != measured(maml, "--data", data, "--seed", 2)["clustering"]


def test_a_network_whose_last_layer_adapts_travels_less_far(data: Path, tmp_path: Path) -> None:
    maml, anil = (measured(saved(tmp_path, f"{name}.safetensors", name), "--data", data) for name in ("maml", "anil"))
    assert 0 < anil["travelled"]["mean"] < maml["travelled"]["mean"]
    assert anil["clustering"] == maml["clustering"] and anil["cka"] is None


def test_one_sentence(data: Path, tmp_path: Path) -> None:
    maml, larger = saved(tmp_path, "maml.safetensors"), saved(tmp_path, "larger.safetensors", side=32)
    assert "--features needs a folder of images" in fails("inspect", maml, "--features")
    assert "give both" in fails("inspect", maml, "--data", data, "--other", larger)
    assert "takes images of 32 x 32" in fails("inspect", maml, "--data", data, "--features", "--other", larger)
    policy = "half-cheetah-velocity/maml"
    assert "a policy" in fails("inspect", maml, "--data", data, "--features", "--other", policy)
    assert "about image networks" in fails("inspect", policy, "--features", "--data", data)
