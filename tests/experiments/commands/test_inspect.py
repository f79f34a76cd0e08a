"""``metarl inspect``: what it tells of controllers whose every number is known."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import rejects, succeeds

from metarl.envs.registry import get_family
from metarl.experiments.analysis import costs
from metarl.policies.attention import ATTENTION_BOUND
from metarl.policies.controller import Controller
from metarl.policies.gate import GATE, GATE_STATISTICS
from metarl.policies.loading import load_controller
from metarl.policies.networks.network import Parameters


def navigation(path: Path, method: str, parameters: Parameters | None = None, **metadata: Any) -> Path:
    """The file of an untrained controller for 2D navigation with some parameters and metadata changed."""
    untrained = costs.untrained(get_family("navigation-2d"), method)
    described = replace(untrained.metadata, **{"episodes_per_step": 3, "horizon": 20, **metadata})
    left_out = (ATTENTION_BOUND, GATE, GATE_STATISTICS)
    plain = {name: each for name, each in untrained.parameters.items() if name not in left_out}
    Controller(plain | (parameters or {}), untrained.network, described).save(path)
    return path


def attended(path: Path, **metadata: Any) -> Path:
    """Layer 1 keeps one of its two inputs; of layer 2's, the two that share everything; layer 3 is frozen in the
    second step.
    """
    first, second = torch.tensor([0.0, 100.0]), torch.zeros(100)
    second[:2] = 100.0
    parameters = {
        "attention.layer1.forward.fc2.bias": first,
        "attention.layer2.forward.fc2.bias": second,
        "step_sizes": torch.tensor([[0.25, 0.5, 0.125], [0.25, 0.5, 0.0]]),
        "layer3.log_std": torch.tensor([0.5, 0.25]).log(),
    }
    return navigation(path, "p-meta", parameters, inner_steps=2, **metadata)


def record(path: Path, *words: object) -> dict[str, Any]:
    """What ``--json`` writes, which must be JSON as other languages read it."""
    out = path.parent / f"{path.name}.json"
    succeeds("inspect", path, "--json", out, *words)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    written: dict[str, Any] = json.loads(out.read_text(), parse_constant=refuse)
    return written


def test_every_layer_by_hand(tmp_path: Path) -> None:
    written = record(attended(tmp_path / "c"))
    first, second, last = written["layers"]
    assert first == {
        "name": "layer1",
        "inputs": 2,
        "outputs": 100,
        "adapts": [True, True],
        "step_sizes": [0.25, 0.25],
        "kept_inputs": [0.5, 0.5],
        "kept_outputs": [1.0, 1.0],
        "context": 0,
        "bits": None,
    }
    assert second["kept_inputs"] == pytest.approx([0.02, 0.02]) and second["kept_outputs"] == [1.0, 1.0]
    assert (last["adapts"], last["step_sizes"]) == ([True, False], [0.125, 0.0])
    assert (last["kept_inputs"], last["kept_outputs"]) == ([1.0, None], [1.0, None])
    assert written["action_std"] == pytest.approx([0.5, 0.25])
    assert written["parameters"] == 2 * 100 + 100 + 100 * 100 + 100 + 100 * 2 + 2 + 2
    assert written["attention_parameters"] == (2 * 2 * 2 + 2 + 2) + 3 * (2 * 8 * 100 + 8 + 100)
    assert (written["method"], written["family"], written["inner_steps"]) == ("p-meta", "navigation-2d", 2)
    assert written["observation_low"] == ["-inf", "-inf"] and written["notes"] == []


def test_what_is_printed(tmp_path: Path) -> None:
    out = succeeds("inspect", attended(tmp_path / "c", adapted_to={"goal_x": 0.25, "goal_y": -0.5}))
    rows = {line.split()[1]: " ".join(line.replace("│", " ").split()[1:]) for line in out.splitlines() if "│" in line}
    assert rows["layer1"] == "2 100 0.25 0.25 yes 50 % 50 % 100 % 100 %"
    assert rows["layer2"] == "100 100 0.5 0.5 yes 2 % 2 % 100 % 100 %"
    assert rows["layer3"] == "100 2 0.125 0 step 1 100 % - 100 % -"
    text = " ".join(out.split())
    for fact in (
        "method p-meta (Qu et al., KDD 2022",
        "family navigation-2d",
        "goal_x in [-0.5, 0.5], goal_y in [-0.5, 0.5]",
        "adapted to goal_x=0.25 goal_y=-0.5",
        "observations 2 numbers without bounds",
        "actions 2 numbers in [-0.1, 0.1], the policy's own times 0.1",
        "action std 0.5 0.25",
        "horizon 20 time steps",
        "2 steps, each on 3 episodes, discount 0.99, lambda 1",
        "parameters 10604 and 5136 of attention",
        "iterations 0",
        "fisher_fraction=0.5",
        "MB at the peak of a step",
    ):
        assert fact in text, fact
    assert max(map(len, out.splitlines())) <= 80


def test_the_cost_is_that_of_the_other_command(tmp_path: Path) -> None:
    path = attended(tmp_path / "c")
    succeeds("cost", path, "--json", tmp_path / "cost.json", "--chunk", 20)
    cost, inspected = json.loads((tmp_path / "cost.json").read_text()), record(path)
    assert inspected["device"] == cost.pop("device")
    assert inspected["cost"] == cost


def test_shares_are_averaged_over_tasks_and_episodes() -> None:
    """Of layer 2's hundred inputs, two share the scores while the first of them is on, else a single one has all."""
    untrained = costs.untrained(get_family("navigation-2d"), "p-meta")
    name = "attention.layer2.forward"
    parameters = {name: each for name, each in untrained.parameters.items() if name != ATTENTION_BOUND}
    # Layer 1's first output is the first observation, the others are zero.
    parameters["layer1.weight"] = torch.zeros(100, 2)
    parameters["layer1.weight"][0, 0] = 1.0
    parameters[f"{name}.fc1.weight"] = torch.eye(8, 100)
    parameters[f"{name}.fc2.weight"] = torch.zeros(100, 8)
    parameters[f"{name}.fc2.weight"][:2, 0] = 200.0
    parameters[f"{name}.fc2.bias"] = torch.zeros(100)
    parameters[f"{name}.fc2.bias"][50] = 100.0
    controller = replace(untrained, parameters=parameters)

    def episode(first: float) -> Any:
        observations = torch.tensor([[first, 0.0]] * 3).numpy()
        return {"observations": observations, "actions": torch.randn(3, 2).numpy(), "rewards": [1.0, 0.0, 2.0]}

    # On: logits 200 for two channels, which are kept. Off: one channel has everything.
    on, off = episode(1.0), episode(-1.0)
    taken = costs.take_steps(controller, lambda adapted: [[on, off, off], [on, on]], tasks=2)
    expected = ((0.02 + 0.01 + 0.01) / 3 + 0.02) / 2
    assert taken[0].shares["layer2"].forward == pytest.approx(expected)
    # The scores at the outputs are never clipped, and the last layer has none.
    assert taken[0].shares["layer2"].backward == 1.0 and set(taken[0].shares) == {"layer1", "layer2"}


def test_every_step_is_taken_by_the_controllers_of_the_step_before(tmp_path: Path) -> None:
    controller = load_controller(attended(tmp_path / "c"))
    episodes = costs.random_episodes(controller, seed=0)([controller] * 2)
    acting: list[Sequence[Controller]] = []

    def record_and_look(adapted: Sequence[Controller]) -> Any:
        acting.append(adapted)
        return episodes

    costs.take_steps(controller, record_and_look, tasks=2)
    expected = [controller.adapt(each) for each in episodes]
    assert [each is controller for each in acting[0]] == [True, True]
    for adapted, other in zip(acting[1], expected, strict=True):
        assert all(torch.equal(adapted.parameters[name], tensor) for name, tensor in other.parameters.items())
    assert len(acting) == 2


def test_a_method_without_attention_shows_no_shares(tmp_path: Path) -> None:
    path = navigation(tmp_path / "c", "anil")
    out = succeeds("inspect", path)
    assert "kept" not in out and "0.1" in out
    layers = record(path)["layers"]
    assert [layer["kept_inputs"] for layer in layers] == [[None], [None], [1.0]]


def test_a_trained_controller_shows_its_training_record(controller: Path) -> None:
    text = " ".join(succeeds("inspect", controller).split())
    assert "iterations 2" in text and "hidden_sizes=[4]" in text and "meta_batch_size=2" in text


def test_a_family_of_ones_own_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inspected_module.py").write_text(
        "from metarl.envs.registry import get_family\ndef mine(): return get_family('navigation-2d')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = attended(tmp_path / "c", family="inspected_module:mine")
    text = " ".join(succeeds("inspect", path).split())
    assert "say --family inspected_module:mine" in text and "2 %" not in text
    assert "inspected_module" not in sys.modules
    assert "2 % 2 %" in succeeds("inspect", path, "--family", "inspected_module:mine")
    assert [layer["kept_inputs"] for layer in record(path)["layers"]] == [[None, None]] * 3


def test_controllers_that_cannot_be_adapted_are_described_all_the_same(tmp_path: Path) -> None:
    untrained = costs.untrained(get_family("navigation-2d"), "p-meta")
    for missing, sentence in (
        ("step_sizes", "it acts, but cannot be adapted"),
        ("attention.layer1.forward.fc2.bias", "p-meta needs its 'attention.layer1.forward.fc2.bias'"),
    ):
        parameters = {name: tensor for name, tensor in untrained.parameters.items() if name != missing}
        path = tmp_path / missing
        replace(untrained, parameters=parameters).save(path)
        text = " ".join(succeeds("inspect", path).split())
        assert sentence in text and "layer3" in text
        written = record(path)
        assert (written["cost"] is None) == (missing == "step_sizes") and len(written["notes"]) == 1


def test_nothing_in_a_strangers_file_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    nested: Any = "deep"
    for _ in range(20):
        nested = [nested]
    training = {"\x1b[2J": "\x1b]0;title\x07", "[bold]": "[/red]", "method": {"a": nested, "nan": math.nan}}
    path = navigation(tmp_path / "c", "maml", training=training, family="\x1b[31mred")
    out = succeeds("inspect", path)
    assert "\x1b" not in out and "\x07" not in out
    assert "[bold] [/red]" in out and "training method" in out and "[..." in out


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ("", "CONTROLLER", "inspect --help"),
        ("nonsense.safetensors", "nonsense.safetensors", ""),
        ("{controller} --seed -1", "--seed", "at least 0"),
        ("{controller} --family nonsense", "'nonsense'", "navigation-2d"),
        ("{controller} --family half-cheetah-velocity", "other spaces", "half-cheetah-velocity"),
        ("{controller} --json {folder}/missing/x.json", "cannot write", "no folder"),
        ("{controller} --json {folder}/kept.json", "kept.json", "already"),
    ],
)
def test_one_sentence(words: str, named: str, allowed: str, controller: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("precious")
    sentence = rejects("inspect", *shlex.split(words.format(controller=controller, folder=tmp_path)))
    assert named in sentence and allowed in sentence, sentence
    assert kept.read_text() == "precious" and list(tmp_path.iterdir()) == [kept]


def test_help() -> None:
    assert "usage: metarl inspect" in succeeds("inspect", "--help") and "  inspect " in succeeds("--help")
