"""A trained run that the tests of the command line share; they must not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import FAMILY, TINY, succeeds


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeeds("train", FAMILY, "--gate", "none", *TINY, "--out", folder)
    return folder


@pytest.fixture(scope="session")
def controller(run: Path) -> Path:
    return run / "controller.safetensors"
