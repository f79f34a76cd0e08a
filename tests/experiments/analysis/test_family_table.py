"""The page of task families is what its command writes today."""

from pathlib import Path

from command_line import succeeds

from metarl.envs.family import TaskField
from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.family_table import families_sheet, field_range

PAGE = Path(__file__).resolve().parents[3] / "docs" / "families.md"


def test_the_page_is_up_to_date(tmp_path):
    """If not: metarl table families --markdown docs/families.md."""
    printed = succeeds("table", "families", "--markdown", tmp_path / "families.md")
    assert (tmp_path / "families.md").read_text() == PAGE.read_text()
    assert all(f"{name}\n  " in printed for name in FAMILIES)


def test_rows_by_hand():
    rows = {row[0]: row[1:] for row in families_sheet().rows}
    assert set(rows) == {f"`{name}`" for name in FAMILIES}
    assert rows["`ant-velocity`"][1:] == ["`target_velocity` in [0, 3] m/s", "27", "8", "1", "200"]
    assert rows["`humanoid-direction`"][2:] == ["270", "17", "0.4", "200"]
    assert all(row[0] for row in rows.values())


def test_ranges_by_hand():
    assert field_range(TaskField("leg", 0, 2, choices=(0, 2))) == "`leg` of 0, 2"
    assert field_range(TaskField("mass", 1 / 3, 3)) == "`mass` in [0.333, 3]"
