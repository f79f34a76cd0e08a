"""``metarl table fleet``: filed results of updates over seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from metarl.core.errors import Refusal
from metarl.experiments.analysis import fleet_updates
from metarl.experiments.analysis.fleet_updates_plot import update_figure
from metarl.experiments.commands.table import main


def simulated(strategy: str, seed: int, rounds: list[tuple[float, int]]) -> dict[str, Any]:
    """Return a record whose rounds reach some returns for some bytes."""
    told = [
        {
            "number": number,
            "sent": size > 0,
            "gate": {"mean": 1.0, "ci95": 0.5},
            "patch_bytes": size,
            "bound_bytes": 0.9 * size,
            "reached": {"mean": reached, "ci95": 2.0},
        }
        for number, (reached, size) in enumerate(rounds)
    ]
    settings = {"ratio": 0.05, "iterations": 5, "seed": seed}
    fields = {"speed": [0.0, 3.0]}
    return {"strategy": strategy, "settings": settings, "fields": fields, "tasks": 40, "rounds": told}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet" / "updates" / "robot" / "maml"
    folder.mkdir(parents=True)
    records = [
        simulated("combined", 0, [(-100.0, 0), (-90.0, 1000), (-80.0, 1200)]),
        simulated("combined", 1, [(-100.0, 0), (-100.0, 0), (-80.0, 1000)]),
        simulated("full", 0, [(-100.0, 0), (-90.0, 8000), (-82.0, 8000)]),
    ]
    for number, record in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(record))
    return tmp_path


def test_rows_are_strategies_and_bytes_are_sums_over_rounds(results: Path) -> None:
    (sheet,) = fleet_updates.sheets(fleet_updates.filed_simulations(results))
    assert sheet.title == (
        "robot/maml, speed 0 to 3: 2 rounds of 2 x 5 meta-iterations, ratio 0.05 (before: -100.0, 40 tasks)"
    )
    assert sheet.rows == [
        ["combined", "-80.0 ± 2.0 [2]", "1.5", "1,600", "1,440", "10.0 %"],
        ["full", "-82.0 ± 2.0 [1]", "2.0", "16,000", "14,400", "100.0 %"],
    ]


def test_the_plot_adds_up_the_bytes(results: Path) -> None:
    (axes,) = update_figure(fleet_updates.filed_simulations(results)).axes
    combined, full = axes.lines
    assert combined.get_xdata().tolist() == [0, 0.5, 1.6] and combined.get_ydata().tolist() == [-100, -95, -80]
    assert full.get_label() == "full" and full.get_xdata().tolist() == [0, 8, 16]


def test_the_command_writes_the_page_and_the_plot(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, plot = results / "FLEET.md", results / "fleet.png"
    main(["fleet", "--results", str(results), "--markdown", str(page), "--plot", str(plot), "--systems", "updates"])
    assert "10.0 %" in capsys.readouterr().out
    assert "| combined | -80.0 ± 2.0 [2] |" in page.read_text() and plot.stat().st_size > 1000


def test_what_cannot_be_read_or_written_is_told(results: Path) -> None:
    with pytest.raises(Refusal, match="no result of nested, updates, stream, federated is filed"):
        main(["fleet", "--results", str(results / "fleet")])
    with pytest.raises(Refusal, match="there is no folder"):
        main(["fleet", "--results", str(results), "--systems", "updates", "--plot", str(results / "none" / "x.png")])
    with pytest.raises(Refusal, match="a plot is of one system"):
        main(["fleet", "--results", str(results), "--plot", str(results / "x.png")])
    file = results / "fleet" / "updates" / "robot" / "maml" / "0.json"
    file.write_text("{}")
    with pytest.raises(Refusal, match=r"0\.json is no simulation of updates"):
        main(["fleet", "--results", str(results)])
