"""The settings of a meta-training: presets, limits, and what config.json gives back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from metarl.core.errors import Refusal
from metarl.envs.registry import FAMILIES
from metarl.rl.settings import PRESETS, TrainSettings, preset, read_config


def test_presets_are_of_families_that_exist_and_change_what_they_name() -> None:
    assert PRESETS.keys() <= FAMILIES.keys()
    for family, changes in PRESETS.items():
        settings = asdict(preset(family))
        assert {name: settings[name] for name in changes} == changes
        assert {name: value for name, value in settings.items() if name not in changes}.items() <= asdict(
            TrainSettings()
        ).items()
    assert preset("somebody:else") == TrainSettings()
    assert preset("navigation-2d", action_scale=3).action_scale == 3.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"meta_batch_size": 0}, "setting 'meta_batch_size' must be at least 1, got 0"),
        ({"iterations": 2.0}, "setting 'iterations' must be a whole number, got 2.0"),
        ({"discount": 0.0}, "setting 'discount' must be above 0, got 0.0"),
        ({"line_search_ratio": 1.0}, "setting 'line_search_ratio' must be below 1, got 1.0"),
        ({"seed": -1}, "setting 'seed' must be at least 0, got -1"),
        ({"baseline": "space"}, "setting 'baseline' must be 'full' or 'time', got 'space'"),
        ({"gate": "open"}, "setting 'gate' must be 'none' or 'return', got 'open'"),
        ({"method": "sgd"}, "unknown method 'sgd'"),
    ],
)
def test_settings_that_are_impossible(change: dict, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        TrainSettings(**change)


def test_a_config_gives_back_its_settings(tmp_path: Path) -> None:
    settings = TrainSettings(hidden_sizes=(3, 4), horizon=7, max_kl=1, threads=2)
    (tmp_path / "config.json").write_text(json.dumps({"family": "mine:own", "settings": asdict(settings)}))
    assert read_config(tmp_path) == ("mine:own", settings)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is not the configuration of a run"),
        ("[]", "is not the configuration of a run"),
        ("{}", "is not the configuration of a run"),
        ('{"family": "x", "settings": 3}', "is not the configuration of a run"),
        ('{"family": "x", "settings": {"hidden_sizes": 8}}', "setting 'hidden_sizes' must be a list, got 8"),
        ('{"family": "x", "settings": {"horizon": "7"}}', "setting 'horizon' must be a whole number, got '7'"),
        ('{"family": "x", "settings": {"tasks": 7}}', "unknown setting 'tasks'"),
    ],
)
def test_a_config_that_is_none(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(Refusal, match=sentence):
        read_config(tmp_path)
