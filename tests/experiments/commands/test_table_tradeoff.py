"""Return against memory: rows in order, points where they belong, and runs that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import FAMILY, TINY, fails, rejects, succeeds

from metarl.core.intervals import Interval
from metarl.experiments.analysis.tradeoff import TradeOff, tradeoff_sheet

POINTS = [
    TradeOff("p-meta-layers", 0.1, 200, Interval(-70.25, 2.5), 116_000, ("layer1", "layer3")),
    TradeOff("p-meta-layers", 0.003, 200, Interval(-60.0, 2.0), 236_400, ("layer1", "layer2", "layer3")),
    TradeOff("p-meta", 0.003, 110, Interval(-63.9, 2.7), 0, ()),
]


def test_rows_by_method_and_rising_lambda() -> None:
    assert tradeoff_sheet("cheetah", POINTS).rows == [
        ["p-meta", "none", "0.003", "110", "-63.9 ± 2.7", "0.000"],
        ["p-meta-layers", "layer1, layer2, layer3", "0.003", "200", "-60.0 ± 2.0", "0.236"],
        ["p-meta-layers", "layer1, layer3", "0.1", "200", "-70.2 ± 2.5", "0.116"],
    ]


def test_a_line_per_method_through_its_runs() -> None:
    pytest.importorskip("matplotlib")
    from metarl.experiments.analysis.tradeoff_plot import tradeoff_figure

    axes = tradeoff_figure("cheetah", POINTS).axes[0]
    first, second = axes.containers
    assert [each.get_label() for each in axes.containers] == ["p-meta", "p-meta-layers"]
    assert first[0].get_xydata().tolist() == [[0, -63.9]]
    assert second[0].get_xydata().tolist() == [[0.2364, -60.0], [0.116, -70.25]]
    assert [text.get_text() for text in axes.texts] == ["λ = 0.003", "λ = 0.003", "λ = 0.1"]


def train(folder: Path, method: str, *more: object) -> Path:
    succeeds("train", FAMILY, "--method", method, *TINY, "--out", folder, *more)
    return folder


def test_runs_are_evaluated_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [train(tmp_path / str(lasso), "p-meta-layers", "--lasso", lasso) for lasso in (0.25, 0)]
    plot, page = tmp_path / "plot.png", tmp_path / "page.md"
    out = succeeds("table", "tradeoff", *runs, "--tasks", 2, "--threads", 1, "--plot", plot, "--markdown", page)
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| p-meta-layers")]
    assert [row[2:4] for row in rows] == [["0", "2"], ["0.25", "2"]]
    assert "measured" in page.read_text() and "p-meta-layers" in out
    # An older page of the table is replaced, another file is not.
    succeeds("table", "tradeoff", runs[0], "--tasks", 2, "--threads", 1, "--markdown", page)
    page.write_text("mine")
    assert "was not written by metarl table tradeoff" in fails("table", "tradeoff", *runs, "--markdown", page)


def test_what_is_refused(tmp_path: Path) -> None:
    maml = train(tmp_path / "maml", "maml")
    assert fails("table", "tradeoff", maml) == (
        f"{maml} holds maml, whose step sizes no lambda acts on: give runs of p-Meta"
    )
    assert "no folder" in fails("table", "tradeoff", maml, "--plot", tmp_path / "none" / "plot.png")
    assert fails("table", "tradeoff", tmp_path / "nowhere")
    assert "tasks" in rejects("table", "tradeoff", maml, "--tasks", 1)
    assert "first word" in fails("table", "--families", FAMILY, "tradeoff")
