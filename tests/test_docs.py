"""The README and the pages say what is there, and their examples run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import TINY, succeeds
from PIL import Image

import metarl
from metarl.api import compare
from metarl.experiments.cli import COMMANDS, SUBCOMMANDS
from metarl.experiments.console.parsing import parse_task
from metarl.policies.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
MADE = ROOT / "docs" / "reference" / "commands"  # by the site
FILES = (ROOT / "README.md", *sorted(path for path in ROOT.glob("docs/**/*.md") if MADE not in path.parents))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
README = PAGES["README.md"]
TWO_WORDS = [[command, kind] for command, kinds in SUBCOMMANDS.items() for kind in kinds]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


def example(page: str, call: str) -> str:
    """Return the page's Python block with a call in it."""
    return next(block for block in blocks(page, "python") if call in block)


def shortened(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def command_lines() -> list[tuple[str, list[str]]]:
    """Return the words of every line of a page that calls metarl, in blocks and in the README's table of commands."""
    found = []
    for page in PAGES:
        lines = "".join(blocks(page, "bash")).splitlines() + re.findall(r"`(metarl [^`]+)`", PAGES[page])
        words = (shlex.split(line, comments=True) for line in lines if line.startswith("metarl "))
        found += [(page, each) for each in words]
    return found


def test_every_method_has_its_row() -> None:
    page = PAGES["docs/methods.md"]
    for method in METHODS.values():
        assert re.search(rf"^\| `{re.escape(method.name)}` \|.*\| {re.escape(method.source)} \|$", page, re.MULTILINE)


def test_every_command_is_in_the_readme() -> None:
    assert all(f"metarl {command}" in README or f"make {command}" in README for command in COMMANDS)


def test_options_exist() -> None:
    helps: dict[tuple[str, ...], str] = {}
    assert len(command_lines()) > 20
    for page, words in command_lines():
        if "--resume" in words or words[1] not in COMMANDS:
            continue
        command = tuple(words[1:3] if words[1:3] in TWO_WORDS else words[1:2])
        described = helps.setdefault(command, "") or succeeds(*command, "--help")
        helps[command] = described
        for word in words:
            assert not word.startswith("--") or word in described, f"{page}: metarl {' '.join(command)} has no {word}"


def test_pictures_and_links_are_there() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            path = (ROOT / page).parent / target
            assert "://" in target or path.exists(), f"{page} names {target}, which is not there"
            if path.suffix == ".png":
                with Image.open(path) as picture:
                    assert 600 <= picture.width <= 1300, target
                assert path.stat().st_size < 500_000, target


def linked_pages(text: str) -> list[str]:
    """Return the pages that a page links to, or lists in a table of contents, a glob aside."""
    listed = "\n".join(re.findall(r"```{toctree}\n(.*?)```", text, flags=re.DOTALL))
    entries = [line for line in listed.splitlines() if line and not line.startswith(":") and "*" not in line]
    return re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", text) + [f"{entry}.md" for entry in entries]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for target in linked_pages(PAGES[page]):
            name = ((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix()
            if name in PAGES and name not in reached:
                waiting.append(name)
    assert set(PAGES) == reached


@pytest.mark.slow
def test_the_first_tutorial_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands follow from each other, with a smaller meta-batch, and adaptation helps at its goal."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(blocks("docs/tutorials/first-controller.md", "bash"))
    lines = shortened(lines, "--iterations 30", "--iterations 20 --meta-batch-size 8 --threads 1")
    printed = [succeeds(*shlex.split(line)[1:]) for line in lines.splitlines()]
    assert any("so the controller after adaptation is kept" in text for text in printed)
    assert all(Path(made).is_file() for made in ("goal.safetensors", "goal.gif", "runs/first/report.html"))


def test_the_environment_of_ones_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(example("docs/own-environments.md", "pendulum = task_family("))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    succeeds("train", "mine:pendulum", "--action-scale", 2, *TINY, "--out", "run")
    succeeds("evaluate", "run/controller.safetensors", "--tasks", 2, "--family", "mine:pendulum")


def test_the_environment_of_the_page_on_ones_own_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(example("docs/own-environments.md", "\nslope = task_family("))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert "mine:slope can be trained on.\n" in succeeds("check", "mine:slope")


def test_the_python_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = "iterations=1, meta_batch_size=2, episodes_per_task=2, horizon=5"
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(shortened(example("README.md", "metarl.train("), "iterations=60", tiny), names)
    assert names["action"].shape == (2,)


def test_the_classifier_adapts_to_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ("--ways", 3, "--side", 16, "--queries", 2, "--epochs", 1, "--tasks-per-epoch", 4, "--validation-tasks", 1)
    succeeds("train", "images", "--data", ROOT / "tests/fixtures/emoji", *tiny, "--out", "runs/emoji")
    generator = np.random.default_rng(0)
    photos, new_photos = (generator.integers(256, size=(count, 16, 16, 3), dtype=np.uint8) for count in (3, 5))
    names: dict[str, Any] = {
        "metarl": metarl,
        "photos": photos,
        "new_photos": new_photos,
        "their_labels": np.arange(3),
    }
    exec(example("docs/images.md", "classifier.adapt("), names)
    assert names["labels"].shape == (5,)


def test_the_robot_loop_works() -> None:
    names: dict[str, Any] = {}
    exec(shortened(example("docs/robot.md", "metarl.Recorder("), "range(20)", "range(2)"), names)
    assert names["action"].shape == (6,) and names["kept"] in (names["controller"], names["adapted"])
    before, after = names["controller"].parameters, names["adapted"].parameters
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_adaptation_helps_in_the_robot_loop() -> None:
    """The task of the example is one for which the inner step raises the return by a clear margin."""
    names: dict[str, Any] = {}
    exec(example("docs/robot.md", "metarl.Recorder("), names)
    assert names["kept"] is names["adapted"]
    assert names["mean_return"](names["adapted"]) > names["mean_return"](names["controller"]) + 30


def test_adaptation_helps_in_the_readme() -> None:
    """Fresh episodes of the README's task: adaptation raises the return by more than 50, interval included."""
    (words,) = (words for page, words in command_lines() if page == "README.md" and words[1] == "adapt")
    controller = metarl.load(words[2])
    adapted = metarl.adapt(controller, parse_task([words[4]]))
    gain = compare(controller, adapted, 20).gain
    assert gain.mean - gain.ci95 > 50
