"""The tables of images: which trainings they are about, and numbers in their cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import fails
from image_results import RECORD, RESULT, filed_trial, table, write
from rich.console import Console

from metarl.experiments.console import sheets
from metarl.experiments.paper import image_filing, image_table
from metarl.experiments.paper.cells import ABLATIONS, BATCHES, CELLS, MAIN, Cell, Scale, cells_named, place_of
from metarl.experiments.paper.published import TABLE_2, TABLE_4, TABLE_5, TABLE_6, TABLE_7
from metarl.experiments.paper.results import DeviceCost, ImageCost, ImageResult
from metarl.images.run import read_image_config
from metarl.images.settings import ImageSettings
from metarl.policies import methods
from metarl.policies.networks.conv4 import Conv4

ROOT = Path(__file__).resolve().parents[3]
TINY = Scale(side=16, epochs=1, tasks_per_epoch=4, validation_tasks=2, test_tasks=3, seed=4)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of filed results in which there is one."""
    write(tmp_path / "results", "p-meta-1shot", RECORD)
    return tmp_path / "results"


def row(found: dict[str, ImageResult], title: str, label: str) -> dict[str, str]:
    """One row of a sheet by its headings."""
    (sheet,) = (each for each in image_table.sheets(found) if each.title.startswith(title))
    (cells,) = (each for each in sheet.rows if each[0] == label)
    return dict(zip(sheet.headings, cells, strict=True))


def test_the_papers_tables_agree_with_each_other() -> None:
    for shots, table_2 in TABLE_2["conv4"].items():
        p_meta, layers_only = (table_2[name][:3] for name in ("p-meta", "p-meta-layers"))
        assert TABLE_4[shots]["p-meta"] == TABLE_6[shots][1] == p_meta
        assert TABLE_4[shots]["p-meta-layers"] == TABLE_7[shots]["p-meta-layers"] == layers_only
        assert list(TABLE_4[shots]) == list(TABLE_4[1]) and list(TABLE_7[shots]) == list(TABLE_7[1])
    assert TABLE_5["max"]["group"][:2] == TABLE_2["conv4"][1]["maml"][:2]
    # By the paper's own words batch norm, and masked x or g(y), cost a large part of the accuracy.
    assert all(norms["batch"].mini < norms["group"].mini - 18 for norms in TABLE_5.values())
    assert TABLE_7[1]["p-meta-x0.3"].mini < TABLE_7[1]["p-meta-fw0.3"].mini - 10
    assert TABLE_7[1]["p-meta-gy0.3"].mini < TABLE_7[1]["p-meta-bw0.3"].mini - 20


def test_the_cells_are_all_methods_twice_and_every_ablation_once() -> None:
    count = len(methods.METHODS)
    assert [MAIN[5].name, MAIN[count].name] == ["p-meta-1shot", "maml-5shot"]
    assert len(MAIN) == 2 * count and {cell.method for cell in MAIN} == set(methods.METHODS)
    assert all(list(rows) == list(methods.METHODS)[:6] for rows in TABLE_2["conv4"].values())
    assert {cell.method for cell in ABLATIONS} == {*methods.ABLATIONS, "maml"}
    assert len(CELLS) == 2 * count + len(methods.ABLATIONS) + 3 and BATCHES == (2, 5)
    assert CELLS["maml-1shot-batch-average"] == Cell("maml", 1, "batch", "average")
    assert cells_named(("anil-5shot", "maml-1shot", "anil-5shot")) == [Cell("anil", 5), Cell("maml", 1)]
    assert cells_named(()) == list(CELLS.values())


@pytest.mark.parametrize("name", CELLS)
def test_a_training_is_found_in_its_cell(name: str) -> None:
    settings = replace(TINY.settings(CELLS[name], Path("emoji"), threads=2), threads=7)
    assert place_of(settings, 3) == (CELLS[name], TINY)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"ways": 3}, "ways 5, and this one has 3"),
        ({"backbone": "resnet12"}, "backbone conv4"),
        ({"lasso": 0.5}, "lasso"),
        ({"shots": 2}, "no maml-2shot"),
        ({"method": "anil", "norm": "batch"}, "no anil-1shot-batch-max"),
    ],
)
def test_other_trainings_have_no_place(other: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        place_of(ImageSettings(**{"data": Path("emoji"), **other}), 3)


def test_a_result_is_read_and_stands_beside_the_papers(results: Path) -> None:
    found = image_table.read_image_results(results)
    assert found == {"p-meta-1shot": RESULT}
    found["maml++-1shot"] = replace(RESULT, cost=replace(RESULT.cost, paper_bytes=2_060_000))  # type: ignore[type-var]
    assert row(found, "5-way 1-shot: accuracy", "p-meta") == {
        "method": "p-meta",
        "paper": "48.8",
        "in-domain": "61.5 ± 0.3",
        "cross-domain": "50.0 ± 0.3",
        "iterations": "2500",
    }
    assert row(found, "5-way 1-shot: one inner step", "p-meta") == {
        "method": "p-meta",
        "layers": "c3 n3 c4 n4 fc",
        "MB: model": "0.200",
        "MB: measured": "0.210",
        "GMAC: model": "0.031",
        "MB at 84: paper": "0.99",
        "MB at 84: model": "1.03",
        "share": "50 %",
        "GMAC at 84: paper": "0.15",
        "GMAC at 84: model": "0.25",
    }
    for table_number, label, paper, ours in (
        ("Table 4", "p-meta", "48.8", "61.5 ± 0.3"),
        ("Table 4", "p-meta-layers", "47.1", "-"),
        ("Table 5", "average, batch", "25.3", "-"),
        ("Table 6", "1", "48.8", "61.5 ± 0.3"),
        ("Table 6", "2", "48.7", "61.0 ± 0.4"),
        ("Table 6", "5", "48.3", "-"),
        ("Table 7", "p-meta-gy0.3", "22.8", "-"),
    ):
        cells = row(found, table_number, label)
        assert (cells["paper"], cells["in-domain"]) == (paper, ours)


def test_without_a_result_stand_dashes_and_without_a_reference_no_share() -> None:
    assert list(row({}, "5-way 5-shot: one inner step", "anil").values()) == (
        ["anil", "-", "-", "-", "-", "0.92", "-", "-", "0.72", "-"]
    )
    assert row({"p-meta-5shot": RESULT}, "5-way 5-shot: one inner step", "p-meta")["share"] == "-"
    assert row({"p-meta-5shot": RESULT}, "5-way 1-shot: accuracy", "p-meta")["in-domain"] == "-"


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        ((), "none"),
        (("fc",), "fc"),
        (("conv1", "norm4"), "c1 n4"),
        (Conv4().layer_names, "all"),
        (Conv4().layer_names[:-1], "all but fc"),
        (Conv4().layer_names[2:], "all but c1 n1"),
    ],
)
def test_layers_have_short_names(layers: tuple[str, ...], shown: str) -> None:
    assert image_table.layers_shown(layers) == shown


def with_shots(result: ImageResult, shots: int) -> ImageResult:
    return replace(result, trials={name: replace(trial, shots=shots) for name, trial in result.trials.items()})


def test_scales_are_told_apart() -> None:
    one = {"maml-1shot": RESULT, "anil-1shot": RESULT}
    text = image_table.caption(one)
    assert "\n\nTrained on emoji at 32 x 32 for 10 epochs of 1000 tasks" in text and "seed 0." in text
    assert "the split test of icons" in text and "drawings" in text
    assert "Queries of each class: emoji 7 with 1-shot; icons 15 with 1-shot." in text
    both = image_table.caption({**one, "maml-5shot": with_shots(RESULT, 5)})
    assert "emoji 7 with 1-shot and 7 with 5-shot; icons 15 with 1-shot and 15 with 5-shot." in both
    other = replace(RESULT, scale=replace(RESULT.scale, side=84, seed=3))
    two = {**one, "boil-1shot": other, "maml-5shot": replace(RESULT, data="icons")}
    text = image_table.caption(two)
    assert "a: Trained on emoji at 32 x 32" in text and "b: Trained on emoji at 84 x 84" in text
    assert "seed 3." in text and "c: Trained on icons at 32 x 32" in text
    shown = [row(two, "5-way 1-shot: accuracy", method)["iterations"] for method in ("maml", "anil", "boil", "p-meta")]
    assert shown == ["2500 a", "2500 a", "2500 b", "-"]


def test_other_images_are_named_where_there_are_several() -> None:
    elsewhere = {**RESULT.trials, "cross-domain": filed_trial(0.4, 0.01, "photos", 15)}
    found = {"maml-1shot": RESULT, "anil-1shot": replace(RESULT, trials=elsewhere)}
    shown = [row(found, "5-way 1-shot: accuracy", method)["cross-domain"] for method in ("maml", "anil")]
    assert shown == ["50.0 ± 0.3 icons", "40.0 ± 1.0 photos"]


def test_it_fits_80_columns() -> None:
    trained = DeviceCost(("conv1", *Conv4().layer_names[4:]), 1_000_000, 100_000_000, 1_000_000)
    found = {
        cell.name: replace(RESULT, cost=ImageCost(trained, 2_000_000, 1_000_000_000), iterations=25_000 + number)
        for number, cell in enumerate(CELLS.values())
    }
    found["maml-1shot"] = replace(RESULT, scale=Scale(seed=1))
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for sheet in image_table.sheets(found):
        console.print(sheets.printed(sheet))
        lines = console.export_text().splitlines()
        for cells in sheet.rows:
            assert sum(line.split() == " ".join(cells).split() for line in lines) == 1


def test_the_tables_are_printed_and_written_and_written_again(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "table.md"
    for _ in range(2):
        out = table("--results", results, "--markdown", page).out
    assert "61.5 ± 0.3" in out
    text = page.read_text()
    assert "\n| p-meta | 48.8 | 61.5 ± 0.3 | 50.0 ± 0.3 | 2500 |\n" in text
    assert text.count("\n## ") == 4 + 4 and text.rstrip("\n").endswith("15 with 1-shot.")
    rl = tmp_path / "rl.md"
    rl.write_text(sheets.page("rl", [], ""))
    assert "metarl table images" in fails("table", "images", "--results", results, "--markdown", rl)
    assert rl.read_text() == sheets.page("rl", [], "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("not json", ""),
        ("[]", ""),
        ("null", ""),
        (json.dumps({**RECORD, "trials": []}), ""),
        (json.dumps({**RECORD, "trials": {"in-domain": {"accuracies": []}}}), ""),
        (json.dumps({**RECORD, "scale": {"sides": 3}}), "sides"),
        (json.dumps({**RECORD, "scale": 3}), ""),
        (json.dumps({**RECORD, "cost": {"trained": {}}}), "layers"),
        (json.dumps({key: value for key, value in RECORD.items() if key != "cost"}), "cost"),
    ],
)
def test_a_damaged_result_is_named(results: Path, content: str, says: str) -> None:
    path = write(results, "boil-5shot", content)
    sentence = fails("table", "images", "--results", results)
    assert f"{path} is not a filed evaluation" in sentence and says in sentence


def test_the_repositorys_image_results_are_whole() -> None:
    results = ROOT / "experiments" / "results"
    found = image_table.read_image_results(results)
    filed = [path.parent for path in (results / "images").glob("*/evaluation.json")]
    assert {folder.name for folder in filed} == set(found)
    for folder in filed:
        settings, result = read_image_config(folder), found[folder.name]
        assert place_of(settings, result.scale.test_tasks) == (CELLS[folder.name], result.scale)
        assert settings.data == Path(result.data)
        assert (folder / "controller.safetensors").is_file() == (CELLS[folder.name] in MAIN)
        assert (folder / "progress.csv").stat().st_size <= image_filing.LOG_BYTES
    page = results / "images" / "TABLE.md"
    if found or page.exists():
        assert page.read_text() == sheets.page("images", image_table.sheets(found), image_table.caption(found))
