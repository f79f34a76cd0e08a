"""The name under which metarl is installed, and another package that takes its place."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from metarl.core.distribution import DISTRIBUTION, install_command

ROOT = Path(__file__).resolve().parents[3]


def start(*folders: Path) -> "subprocess.CompletedProcess[str]":
    """Start ``metarl --version`` as its script does, with folders before the checkout on the path."""
    path = [str(folder) for folder in (*folders, ROOT)]
    code = f"import sys; sys.path[:0] = {path!r}; sys.argv = ['metarl', '--version']; "
    code += "from metarl_adapt import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Return a folder in which another package named metarl is known as installed."""
    metadata = tmp_path / "metarl-9.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: metarl\nVersion: 9.1\n")
    return tmp_path


def test_one_name_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert install_command("onnx") == "pip install 'metarl-adapt[onnx]'"
    assert project["project"]["name"] == DISTRIBUTION
    assert project["project"]["scripts"] == {"metarl": f"{DISTRIBUTION.replace('-', '_')}:main"}
    assert project["tool"]["setuptools"]["py-modules"] == [DISTRIBUTION.replace("-", "_")]
    assert DISTRIBUTION in (ROOT / "metarl_adapt.py").read_text()


def test_alone_it_starts_in_silence(tmp_path: Path) -> None:
    (tmp_path / "metarl_adapt-0.1.0.dist-info").mkdir()
    done = start(tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("metarl ")


def test_beside_another_package_it_warns_and_goes_on(other: Path) -> None:
    done = start(other)
    assert done.returncode == 0 and done.stdout.startswith("metarl ")
    assert done.stderr.startswith("metarl: warning: a package named metarl (9.1) is installed beside metarl-adapt")
    assert done.stderr.count("\n") == 1


def test_replaced_by_another_package_it_says_so(other: Path) -> None:
    (other / "metarl").mkdir()
    (other / "metarl" / "__init__.py").write_text("from maml import MAMLRL\n")
    done = start(other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("metarl: a package named metarl (9.1) is installed") and done.stderr.count("\n") == 1


def test_an_error_of_its_own_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "metarl").mkdir()
    (tmp_path / "metarl" / "__init__.py").write_text("import nonsense_that_is_missing\n")
    assert "No module named 'nonsense_that_is_missing'" in start(tmp_path).stderr
