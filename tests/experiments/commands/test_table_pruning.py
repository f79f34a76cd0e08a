"""``metarl table pruning``: verdicts over seeds, and the prunings that are missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from metarl.core.errors import Refusal
from metarl.experiments.analysis import pruning_table
from metarl.experiments.analysis.pruning_plot import pruning_figure
from metarl.experiments.commands import compress
from metarl.experiments.commands.table import main

NAME = "navigation-2d/maml"


def verdict(criterion: str, sparsity: float, seed: int, difference: float, **changes: Any) -> dict[str, Any]:
    settings = {
        "criterion": criterion,
        "sparsity": sparsity,
        "seed": seed,
        "rounds": 1,
        "iterations": 0,
        "connected": True,
    }
    record: dict[str, Any] = {"controller": NAME, "settings": settings | changes, "judge_seed": 1}
    record |= {"file_bytes": {"before": 900, "after": int(900 * (1 - sparsity))}}
    record |= {"macs": {"before": 100, "after": 10}, "adaptation_bytes": {"before": 70, "after": None}}
    record |= {"return_after": {"before": -10.0, "after": -10.0 + difference}}
    return record | {"paired_difference": difference, "ci95": 1.5, "tasks": 40}


def filed(results: Path, *records: dict[str, Any]) -> Path:
    folder = results / "pruning" / NAME
    folder.mkdir(parents=True)
    for number, record in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(record))
    return results


def test_rows_are_criteria_and_columns_sparsities(tmp_path: Path) -> None:
    records = verdict("anp", 0.5, 0, -1.0), verdict("anp", 0.5, 1, -1.0), verdict("random", 0.9, 0, -6.0)
    trained = verdict("anp", 0.5, 0, -0.5, rounds=5, iterations=3)
    shot, rounds, sizes = pruning_table.sheets(pruning_table.filed_verdicts(filed(tmp_path, *records, trained)))
    assert shot.title == f"{NAME}: one shot, no meta-training (dense: -10.0, 40 tasks)"
    assert shot.headings == ["criterion", "50 %", "90 %"]
    assert shot.rows == [["anp", "-1.0 ± 1.5 [2]", "-"], ["random", "-", "-6.0 ± 1.5 [1]"]]
    assert rounds.title.startswith(f"{NAME}: 5 rounds, 3 meta-iterations after each")
    assert rounds.rows == [["anp", "-0.5 ± 1.5 [1]"]]
    assert sizes.rows == [["dense", "900", "100", "70"], ["50 %", "450", "10", "-"], ["90 %", "89", "10", "-"]]


def test_the_plot_has_a_panel_per_protocol_and_a_line_per_criterion(tmp_path: Path) -> None:
    trained = [verdict("anp", sparsity, 0, -0.5, rounds=5) for sparsity in (0.5, 0.9)]
    alone = verdict("anp", 0.5, 0, -0.5, rounds=3)
    records = verdict("anp", 0.5, 0, -1.0), verdict("anp", 0.9, 0, -3.0), *trained, alone
    figure = pruning_figure(pruning_table.filed_verdicts(filed(tmp_path, *records)))
    first, second = figure.axes
    line = next(each for each in first.containers if each.get_label() == "anp").lines[0]
    assert line.get_xydata().tolist() == [[0.45, -11.0], [0.089, -13.0]]
    assert "5 rounds" in second.get_title()


def test_what_is_missing_is_pruned_as_compress_prunes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--sparsities", "0.5", "--criteria", "magnitude", "--judge-tasks", "2", "--threads", "1"]
    words = ["pruning", "--results", str(tmp_path), "--prune", NAME, *chosen]
    plot, page = tmp_path / "plot.png", tmp_path / "page.md"
    main([*words, "--plot", str(plot), "--markdown", str(page)])
    assert capsys.readouterr().out.count("filed: ") == 1
    assert plot.stat().st_size > 1000 and "| magnitude | " in page.read_text()
    (path,) = (tmp_path / "pruning").rglob("*.json")
    assert path.name == "magnitude-0.5-1x0-seed0.json"

    same = ["--sparsity", "0.5", "--criterion", "magnitude", "--rounds", "1", "--iterations", "0", "--threads", "1"]
    own = tmp_path / "own.json"
    compress.main(["prune", NAME, *same, "--judge-tasks", "2", "--json", str(own), "--out", str(tmp_path / "out")])
    assert json.loads(own.read_text()) == json.loads(path.read_text())

    capsys.readouterr()
    main(words)
    assert "filed: " not in capsys.readouterr().out


def test_bad_input_is_told_in_a_sentence(tmp_path: Path) -> None:
    words = ["pruning", "--results", str(tmp_path)]
    with pytest.raises(Refusal, match="no verdict is filed"):
        main(words)
    with pytest.raises(Refusal, match="takes pretrained controllers.* and not '../../x'"):
        main([*words, "--prune", "../../x"])
    with pytest.raises(Refusal, match="judge-tasks must be at least 2"):
        main([*words, "--judge-tasks", "1"])
    with pytest.raises(Refusal, match="there is no folder"):
        main([*words, "--plot", str(tmp_path / "none" / "plot.png")])
    filed(tmp_path, {"controller": NAME})
    with pytest.raises(Refusal, match="0.json is no verdict on a pruned controller"):
        main(words)


def test_the_repositorys_verdicts_are_whole() -> None:
    results = Path(__file__).resolve().parents[3] / "experiments" / "results"
    for verdict in pruning_table.filed_verdicts(results):
        assert verdict.record["judge_seed"] == 1 and verdict.record["tasks"] >= 40
        assert 0 < verdict.record["file_bytes"]["after"] < verdict.record["file_bytes"]["before"]
