"""Shell completion: bash itself is asked what it would complete."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import fails, succeeds

from metarl.experiments.cli import COMMANDS


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "metarl.bash"
    path.write_text(succeeds("--print-completion", "bash"))
    return path


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers after ``metarl WORDS`` when the last of the words is being typed."""
    line = shlex.join(["metarl", *words])
    asked = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; COMP_LINE='{line}'; COMP_POINT={len(line)}"
    code = f"{asked}; _tyro_metarl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_commands_and_options_are_completed(script: Path) -> None:
    assert completed(script, "ev") == ["evaluate"]
    assert set(completed(script, "")) >= set(COMMANDS)
    assert completed(script, "adapt", "--ta") == ["--task"]
    assert "--meta-batch-size" in completed(script, "train", "--meta")
    assert completed(script, "evaluate", "--det") == ["--deterministic"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    text = succeeds("--print-completion", shell)
    assert "metarl" in text and "deterministic" in text


def test_an_unknown_shell_is_refused() -> None:
    assert fails("--print-completion", "csh") == "--print-completion takes one of bash, zsh, fish, got 'csh'"
