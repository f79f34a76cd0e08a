"""``metarl export``: folders of C and files of ONNX, and sentences for what cannot be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import fails, succeeds
from small_classifiers import small_classifier

from metarl.experiments.commands.export import read_bytes
from metarl.policies.loading import load_controller
from metarl.policies.methods import STEP_SIZES

P_META = "half-cheetah-velocity/p-meta"
SMALL = "navigation-2d/anil"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler: install gcc or clang")


@needs_compiler
def test_a_folder_of_c_is_written_and_run(tmp_path: Path) -> None:
    out = succeeds("export", SMALL, "--out", tmp_path / "c", "--run", "host", "--json", tmp_path / "ran.json")
    assert "one pass over the episodes" in out and "largest difference to Python" in out
    ran = json.loads((tmp_path / "ran.json").read_text())
    assert ran["status"] == 0 and ran["max_difference"] < 1e-5
    assert ran["planned_ram_bytes"] > 0 and ran["flash_bytes"] == {}  # nothing is measured on this machine
    for name in ("anil_controller.h", "metarl.h", "README.md", "Makefile"):
        assert (tmp_path / "c" / name).is_file()
    assert "is there already and is not an empty folder" in fails("export", SMALL, "--out", tmp_path / "c")


def test_attention_has_room_for_more_channels_than_it_kept(tmp_path: Path) -> None:
    out = succeeds("export", P_META, "--out", tmp_path / "simulated", "--prefix", "cheetah", "--ram", "32K")
    assert "20 of layer1, " in out and "100 of layer2" not in out
    assert "20 of layer1, 30 of layer2" in succeeds("export", P_META, "--out", tmp_path / "asked", "--channels", 30)
    assert "#define CHEETAH_OBSERVATIONS 20" in (tmp_path / "simulated" / "cheetah_controller.h").read_text()


def test_packed_recordings_take_ranges_from_a_file(tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text('{"low": [-1, -1], "high": [1, 1]}')
    words = ("export", SMALL, "--storage", "packed", "--observation-range", ranges)
    succeeds(*words, "--out", tmp_path / "c")
    assert "observation_step[2] = {\n    0.00784313772" in (tmp_path / "c" / "anil_tables.c").read_text()
    for text, sentence in (
        ("nonsense", "must hold the ranges as JSON"),
        ('{"low": [1, 1], "high": [-1, 1]}', "low nowhere above high"),
        ('{"low": [1], "high": [1]}', "must have 2 numbers each"),
    ):
        ranges.write_text(text)
        assert sentence in fails(*words, "--out", tmp_path / "other")
    assert "cannot read" in fails(*words[:-1], tmp_path / "missing.json", "--out", tmp_path / "other")


def test_a_policy_alone_and_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    succeeds("export", SMALL, "--out", tmp_path / "c", "--policy-only")
    assert "the policy alone" in (tmp_path / "c" / "README.md").read_text()
    succeeds("export", SMALL, "--out", tmp_path / "policy.onnx", "--target", "onnx")
    assert (tmp_path / "policy.onnx").stat().st_size > 10_000
    assert "exists already" in fails("export", SMALL, "--out", tmp_path / "policy.onnx", "--target", "onnx")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ram", "1K"], "the robot does not fit into 1024 bytes of RAM"),
        (["--ram", "much"], "--ram takes a number of bytes such as 32768 or 32K, got 'much'"),
        (["--ram", "0"], "--ram takes a number of bytes"),
        (["--prefix", "two words"], "must be a C identifier"),
        (["--prefix", "int"], "must be a C identifier"),
        (["--prefix", "metarl"], "must be a C identifier"),
        (["--channels", "0"], "--channels must be at least 1, got 0"),
        (["--clock", "0"], "--clock must be a number of MHz above 0"),
        (["--json", "ran.json"], "--json belongs to --run"),
        (["--policy-only", "--run", "host"], "--policy-only goes without --run"),
        (["--observation-range", "ranges.json"], "belongs to --storage packed"),
        (["--policy-only", "--storage", "none"], "--policy-only goes without --run, --storage"),
        (["--target", "onnx", "--ram", "32K"], "--ram belongs to --target c"),
    ],
)
def test_what_cannot_be_exported(words: list[str], sentence: str, tmp_path: Path) -> None:
    assert sentence in fails("export", SMALL, "--out", tmp_path / "c", *words)
    assert not (tmp_path / "c").exists()


def test_an_image_network_goes_into_onnx_alone(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    small_classifier().save(tmp_path / "images.safetensors")
    succeeds("export", tmp_path / "images.safetensors", "--out", tmp_path / "images.onnx", "--target", "onnx")
    sentence = fails("export", tmp_path / "images.safetensors", "--out", tmp_path / "c")
    assert "this is an image network (conv4), and a policy is needed here" in sentence


def test_controllers_that_do_not_adapt_on_a_device(tmp_path: Path) -> None:
    controller = load_controller(SMALL)
    frozen = replace(controller, parameters=controller.parameters | {STEP_SIZES: controller.parameters[STEP_SIZES] * 0})
    frozen.save(tmp_path / "frozen.safetensors")
    assert "adapts no layer" in fails("export", tmp_path / "frozen.safetensors", "--out", tmp_path / "c")
    succeeds("export", tmp_path / "frozen.safetensors", "--out", tmp_path / "c", "--policy-only")
    comparison = replace(controller, metadata=replace(controller.metadata, method="p-meta-alpha-ch"))
    comparison.save(tmp_path / "comparison.safetensors")
    assert "is for comparison only" in fails("export", tmp_path / "comparison.safetensors", "--out", tmp_path / "d")


def test_numbers_of_bytes() -> None:
    assert [read_bytes(text) for text in ("32768", "32K", "32kb", "1M")] == [32768, 32768, 32768, 1048576]
