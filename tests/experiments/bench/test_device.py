"""``metarl bench device``: one small row of it."""

import os
import shutil

import pytest

from metarl.experiments.bench import device
from metarl.policies.export.emulation import ARM, QEMU


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which(QEMU)) and "METARL_REQUIRE_QEMU" not in os.environ,
    reason=f"{ARM} or {QEMU} is not installed",
)
def test_what_was_planned_is_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "FAMILY", "navigation-2d")
    monkeypatch.setattr(device, "ROWS", [("anil", 16, "raw"), ("maml", 64, "packed")])
    result = device.run()
    assert [row["status"] for row in result["rows"]] == [0, 0]
    for row in result["rows"]:
        assert row["planned_ram_bytes"] == row["robot_bytes"] < row["ram_bytes"] <= row["part_bytes"]
        assert row["max_difference"] < 1e-5 and row["instructions"]["adapt"] > 1e6


def test_the_table_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"method": "maml", "part_bytes": 65536, "storage": "packed", "passes": 1, "ram_bytes": 58500}
    row |= {"planned_ram_bytes": 57920, "robot_bytes": 57920, "flash_bytes": {"code": 9034}, "max_difference": 2e-8}
    device.show({"family": "toy", "board": "qemu-m4", "rows": [row | {"instructions": {"adapt": 573.7e6}}]})
    out = capsys.readouterr().out
    assert "maml 64K packed" in out and "58,500" in out and "573.7" in out and "2.0e-08" in out
