"""The name under which metarl is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from metarl.core.distribution import clash, install_command

ROOT = Path(__file__).resolve().parents[3]


def test_extras_are_those_of_our_package() -> None:
    assert install_command("onnx") == "pip install 'metarl-adapt[onnx]'"


def test_the_other_package_of_this_name_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clash() is None
    metadata = tmp_path / "metarl-9.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: metarl\nVersion: 9.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    sentence = clash()
    assert sentence is not None and "another package named metarl (9.1)" in sentence and "\n" not in sentence
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from metarl.experiments.cli import main; "
    code += "main(['--version'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("metarl ")
    assert done.stderr == f"metarl: warning: {sentence}\n"
