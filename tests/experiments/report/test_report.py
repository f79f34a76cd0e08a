"""The report: whole in itself, true to the logs, and written whatever state the runs are in."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_pages import Page, band, charts, curve, drawings, report
from run_folders import COLUMNS, progress_line, write_run

from metarl import api
from metarl.core.atomic import CannotWrite
from metarl.experiments.analysis.style import PALETTE
from metarl.experiments.commands import report as command
from metarl.experiments.report import task_returns
from metarl.experiments.report.page import write_report
from metarl.experiments.report.runs import read_runs
from metarl.policies.loading import load_controller


def test_the_page_needs_nothing_but_itself(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    text = report(tmp_path / "run", tasks=2)
    page = Page(text)
    assert not re.search(r"(?i)https?:|//\w|@import|url\((?!#)|fetch\(|XMLHttpRequest|WebSocket|\beval\(", text)
    assert not {"src", "srcset", "action", "data", "xlink:href"} & {name for name, _ in page.attributes}
    targets = [value or "" for name, value in page.attributes if name == "href"]
    assert targets and all(value.startswith(("#", "data:image/png;base64,")) for value in targets)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "default-src 'none'" in text
    assert str(tmp_path) not in text


def test_the_page_is_well_formed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "trained")
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1)
    write_run(tmp_path / "c", family="half-cheetah-velocity", method="anil")
    with pytest.warns(UserWarning, match="[abc] was not evaluated"):
        text = report(*(tmp_path / name for name in ("trained", "a", "b", "c")), tasks=2)
    assert text.startswith("<!DOCTYPE html>")
    Page(text)
    expected = {"Return before and after adaptation", "Return after adaptation", "KL divergence of the outer step"}
    assert expected <= set(drawings(text))
    identities = re.findall(r' id="([^"]*)"', text)
    assert len(identities) == len(set(identities))


def test_everything_from_a_run_is_escaped(tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script><b onmouseover=x>&amp;"
    folder = tmp_path / "<i>"
    write_run(folder, family=f"family{evil}", settings={"method": evil, "note": evil, evil: 1})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"versions": {evil: evil}}))
    log = (folder / "progress.csv").read_text().replace("layer1", "<u>layer").replace(",0.1,0.0\n", ",0.2,0.0\n", 1)
    (folder / "progress.csv").write_text(log)
    text = report(folder)
    page = Page(text)
    assert page.tags.count("script") == 1 and not {"b", "u"} & set(page.tags)
    assert evil not in text
    for shown in (evil, "<i>", "<u>layer"):
        assert any(shown in part for part in page.text), shown
    assert not any(name.startswith("on") for name, _ in page.attributes)
    drawings(text)


def test_the_table_of_one_run(tmp_path: Path) -> None:
    page = Page(report(write_run(tmp_path / "first", settings={"iterations": 3})))
    assert page.row("first") == {
        "run": "first",
        "method": "maml",
        "seed": "0",
        "iterations": "3",
        "best return": "−20.00",
        "return before": "−40.00",
        "return after": "−20.00",
        "env steps": "3 k",
        "time": "0:00:09",
        "skipped": "0",
    }


def test_returns_at_the_end_are_those_of_the_last_ten_iterations(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", after=[-1000.0, *[-2.0] * 9, -3.0], settings={"iterations": 11})
    row = Page(report(folder)).row("run")
    assert row["return after"] == row["best return"] == "−2.10"


def test_seeds_are_one_kind_of_run_with_mean_and_range(tmp_path: Path) -> None:
    write_run(tmp_path / "a", after=(-30.0, -20.0, -10.0), seconds=0.5)
    write_run(tmp_path / "b", after=(-40.0, -30.0, -20.0), seconds=1.5, seed=1, settings={"threads": 7})
    text = report(tmp_path / "b", tmp_path / "a")
    row = Page(text).row("maml")
    assert (row["seed"], row["iterations"], row["env steps"]) == ("mean", "3", "3 k")
    assert row["best return"] == "−25.00|−30.00 … −20.00"
    assert row["return after"] == "−25.00|−30.00 … −20.00"
    assert row["time"] == "0:00:18|0:00:09 … 0:00:27"
    assert [cells[0] for cells in Page(text).cells if cells[0] in ("a", "b")] == ["a", "b"]
    chart = charts(tmp_path)["Return before and after adaptation"]
    assert curve(chart, "after 1 inner step").tolist() == [[1, -35], [2, -25], [3, -15]]
    assert band(chart, "after") == {(1, -40), (1, -30), (2, -30), (2, -20), (3, -20), (3, -10)}
    assert "mean time of an iteration" in text.lower() and ">6 s<" in text


def test_the_band_of_one_run_is_its_interval_over_tasks(tmp_path: Path) -> None:
    chart = charts(write_run(tmp_path / "run"))["Return before and after adaptation"]
    assert band(chart, "after") == {(1, -31), (1, -29), (2, -21), (2, -19), (3, -11), (3, -9)}


def test_a_drawing_tells_the_values_of_its_curves(tmp_path: Path) -> None:
    """The page's script reads the values under the pointer back from the paths, as this test does."""
    svg = drawings(report(write_run(tmp_path / "run")))["Return before and after adaptation"]
    (path,) = svg.findall(".//g[@data-label='after 1 inner step']/path")
    points = np.array(re.findall(r"[ML] ?([-.\d]+) ([-.\d]+)", path.attrib["d"]), float)
    for axis, expected in enumerate(([1, 2, 3], [-30, -20, -10])):
        low, high, start, end = map(float, svg.attrib[("data-x", "data-y")[axis]].split())
        np.testing.assert_allclose(low + (points[:, axis] - start) / (end - start) * (high - low), expected, atol=0.02)


def test_drawings_have_the_colors_of_the_page(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run"))
    for svg in drawings(text).values():
        colors = re.findall(r"(?:fill|stroke): ([^;]+)", ";".join(each.attrib.get("style", "") for each in svg.iter()))
        assert set(colors) <= {"none"} | {f"var(--{name})" for name in PALETTE}
    light, dark = text.split("prefers-color-scheme: dark")
    for name, (on_light, on_dark) in PALETTE.items():
        assert f"--{name}: {on_light};" in light and f"--{name}: {on_dark};" in dark


def test_runs_of_other_settings_and_families_stay_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, settings={"meta_batch_size": 5})
    write_run(tmp_path / "c", family="half-cheetah-velocity")
    page = Page(report(tmp_path))
    assert [cells[0] for cells in page.cells if cells[0] in ("maml", "a", "b", "c")] == ["a", "b", "c"]
    assert {"half-cheetah-velocity", "navigation-2d"} <= set(page.text)
    assert {"maml, meta_batch_size 20", "maml, meta_batch_size 5"} <= {part.strip() for part in page.text}
    assert ["meta_batch_size", "20", "5"] in page.cells


def test_the_same_seed_twice_is_no_sample_of_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    page = Page(report(tmp_path / "a", tmp_path / "b", tmp_path / "a"))
    assert [cells[0] for cells in page.cells if cells[0] in ("maml", "a", "b")] == ["a", "b"]
    assert {"maml (a)", "maml (b)"} <= {part.strip() for part in page.text}


def test_runs_of_one_name_are_told_by_their_paths(tmp_path: Path) -> None:
    write_run(tmp_path / "x" / "run")
    write_run(tmp_path / "y" / "run", method="anil")
    page = Page(report(tmp_path / "x" / "run", tmp_path / "y" / "run"))
    for name in "xy":
        assert page.row(str(tmp_path / name / "run"))["iterations"] == "3"


def test_skipped_updates_and_step_sizes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    text = report(folder)
    assert "No update was skipped." in text
    assert "Fixed step sizes of maml: 0.1 in layer1; 0 in layer2." in text
    assert "Skipped updates so far" not in charts(folder)
    lines = [progress_line(number, -10, skipped=number - 1, step_size=number / 10) for number in (1, 2, 3)]
    (folder / "progress.csv").write_text("\n".join([COLUMNS, *lines, ""]))
    text = report(folder)
    assert "No update was skipped." not in text and "Fixed step sizes" not in text
    found = charts(folder)
    assert curve(found["Skipped updates so far"], "maml")[:, 1].tolist() == [0, 1, 2]
    assert curve(found["Step sizes"], "layer1")[:, 1].tolist() == [0.1, 0.2, 0.3]
    assert curve(found["Step sizes"], "layer2")[:, 1].tolist() == [0, 0, 0]
    assert Page(text).row("run")["skipped"] == "2"


def test_an_iteration_without_numbers_is_a_gap(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    fault = "2" + "," * COLUMNS.count(",")
    lines = [progress_line(1, -10), fault, progress_line(3, -20)]
    (folder / "progress.csv").write_text("\n".join([COLUMNS, *lines, ""]))
    kl = charts(folder)["KL divergence of the outer step"]
    np.testing.assert_array_equal(curve(kl, "maml"), [[1, 0.005], [2, np.nan], [3, 0.005]])
    assert kl.figure.axes[0].lines[0].get_markevery() == [0, 2]  # points without neighbors are dots
    assert Page(report(folder)).row("run")["env steps"] == "2 k"


def test_a_run_in_progress(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", after=(-30.0, -20.0))
    with (folder / "progress.csv").open("a") as file:
        file.write("3,-20")
    (folder / "timings.csv").unlink()
    text = report(folder)
    row = Page(text).row("run")
    assert (row["iterations"], row["return after"], row["time"]) == ("2|of 3", "−25.00", "")
    assert "run: there is no timings.csv." in text and "<h3>Time</h3>" not in text
    assert "damaged" not in text


@pytest.mark.parametrize("content", ["", f"{COLUMNS}\n", "1,2\n", None])
def test_a_run_without_an_iteration(content: str | None, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_run(tmp_path / "other", seed=1)
    (folder / "progress.csv").unlink()
    if content is not None:
        (folder / "progress.csv").write_text(content)
    (folder / "timings.csv").unlink()
    text = report(folder)
    row = Page(text).row("run")
    assert (row["iterations"], row["best return"], row["env steps"]) == ("0|of 3", "", "")
    assert "progress.csv" in text and drawings(text) == {}
    row = Page(report(folder, tmp_path / "other")).row("maml")
    assert row["best return"] == "−20.00"


@pytest.mark.parametrize("damage", ["2,x", "2," + "1," * 40, "2", "\0\0"])
def test_a_damaged_log_is_read_up_to_the_damage(damage: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "progress.csv").write_text("\n".join([COLUMNS, progress_line(1, -30), damage, progress_line(3, -1), ""]))
    text = report(folder)
    assert "run: progress.csv is damaged" in text
    if damage[0] == "2":
        assert "in line 3" in text and Page(text).row("run")["best return"] == "−30.00"


def test_a_log_that_is_no_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "progress.csv").write_bytes(b"\xff\xfe\x00")
    assert "run: progress.csv is not text." in report(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not the configuration of a run"),
        ("[]", "is not the configuration of a run"),
        ("{", "is not the configuration of a run"),
        ('{"family": "x"}', "settings: Field required"),
        ('{"family": "x", "settings": 3}', "is not the configuration of a run"),
        ('{"family": 1, "settings": {}}', "family: Input should be a valid string"),
        ('{"family": "x", "settings": {"method": "maml", "seed": "?"}}', "seed: Input should be a valid integer"),
    ],
)
def test_a_damaged_configuration_is_named(content: str, says: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError) as caught:
        report(write_run(tmp_path / "good"), folder)
    assert says in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, says in ((tmp_path / "missing", "there is no folder"), (tmp_path / "empty", "is not the folder")):
        with pytest.raises(ValueError, match=f"{says}.*{folder.name}|{folder.name} {says}"):
            write_report(read_runs([folder]), tmp_path / "page.html", 0)


@pytest.mark.parametrize("name", ["名字 😀", "a\x01b\x1fc", "x|y|z", "$a_{", "\u202eevil", "a" * 300])
def test_strange_names_and_numbers_are_shown(name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    folder = write_run(tmp_path / "run")
    lines = [progress_line(1, -1e308), progress_line(2, 1e308), progress_line(3, -5, step_size=1)]
    (folder / "progress.csv").write_text("\n".join([COLUMNS.replace("layer1", name), *lines, ""]))
    text = report(folder)
    drawings(text)
    assert name in text.replace("&#39;", "'") and not list(recwarn)


def test_settings_of_another_version_are_no_damage(tmp_path: Path) -> None:
    assert ["new_setting", "7"] in Page(report(write_run(tmp_path / "run", settings={"new_setting": 7}))).cells


def test_only_reports_are_replaced(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (tmp_path / "mine.html").write_text("<html>precious</html>")
    (tmp_path / "folder").mkdir()
    for out in (tmp_path / "mine.html", tmp_path / "folder", folder / "config.json"):
        with pytest.raises(ValueError, match="is no report"):
            write_report(read_runs([folder]), out, 0)
    with pytest.raises(ValueError, match="there is no folder"):
        write_report(read_runs([folder]), tmp_path / "none" / "page.html", 0)
    assert (tmp_path / "mine.html").read_text() == "<html>precious</html>"
    first = report(folder)
    (folder / "progress.csv").write_text(f"{COLUMNS}\n{progress_line(1, -77)}\n")
    assert "−77.00" in report(folder) and "−77.00" not in first


@pytest.fixture
def trained(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "trained"))


def test_the_evaluation_is_that_of_evaluate_and_is_done_once(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []
    text = report(trained, tasks=3, seed=5, on_tasks=seen.append)
    assert seen[-1] == 3
    expected = api.evaluate(trained / "controller.safetensors", tasks=3, seed=5)
    with (trained / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["evaluation_seed"] for row in rows] == ["5"] * 3
    for column, values in zip(("goal_x", "goal_y"), expected.tasks.T, strict=True):
        assert [float(row[column]) for row in rows] == values.tolist()
    for steps in (0, 1):
        assert [float(row[f"return_{steps}"]) for row in rows] == expected.returns[steps].tolist()
    row = Page(text).row("trained")
    for heading, interval in zip(("before", "after"), expected.intervals(), strict=True):
        assert row[f"unseen tasks, {heading}"] == f"{interval.mean:.2f}".replace("-", "−")
    assert "Return by task" in drawings(text)

    monkeypatch.setattr(task_returns.api, "evaluate", refuse)
    assert report(trained, tasks=3, seed=5) == text


def refuse(*_: object, **__: object) -> None:
    raise ValueError("evaluated again")


@pytest.mark.parametrize("change", ["tasks", "seed", "controller", "damage"])
def test_another_evaluation_is_computed_anew(change: str, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(trained, tasks=2, seed=5)
    if change == "controller":
        controller = load_controller(trained / "controller.safetensors")
        controller.parameters["layer1.bias"] += 1
        controller.save(trained / "controller.safetensors", overwrite=True)
    if change == "damage":
        path = trained / "evaluation.csv"
        path.write_text(path.read_text()[:-30])
    monkeypatch.setattr(task_returns.api, "evaluate", refuse)
    with pytest.warns(UserWarning, match="trained was not evaluated: evaluated again"):
        report(trained, tasks=3 if change == "tasks" else 2, seed=6 if change == "seed" else 5)


def test_no_tasks_leave_the_evaluation_out(trained: Path) -> None:
    text = report(trained, tasks=0)
    assert not (trained / "evaluation.csv").exists()
    assert "unseen" not in text and "not evaluated" not in text


def test_a_file_of_somebody_else_is_not_overwritten(trained: Path) -> None:
    (trained / "evaluation.csv").write_text("my,own\n1,2\n")
    with pytest.warns(UserWarning, match=r"evaluation\.csv was not written by metarl report"):
        text = report(trained, tasks=2)
    assert (trained / "evaluation.csv").read_text() == "my,own\n1,2\n"
    assert "trained was not evaluated" in text


def test_an_evaluation_that_cannot_be_kept_is_shown_all_the_same(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise CannotWrite(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(task_returns, "write_atomically", full)
    with pytest.warns(UserWarning, match="the disk is full; the next report evaluates again"):
        text = report(trained, tasks=2)
    assert Page(text).row("trained")["unseen tasks, after"]


def test_a_controller_that_is_damaged_or_missing(trained: Path) -> None:
    path = trained / "controller.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    for _ in range(2):
        with pytest.warns(UserWarning, match="trained was not evaluated"):
            assert "trained was not evaluated" in report(trained, tasks=2)
        path.unlink(missing_ok=True)


def test_a_run_does_not_decide_which_code_is_imported(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trained.parent / "stranger.py").write_text(
        "from metarl.envs.registry import get_family\nnavigation = get_family('navigation-2d')\nprint('imported')\n"
    )
    monkeypatch.chdir(trained.parent)
    controller = load_controller(trained / "controller.safetensors")
    object.__setattr__(controller.metadata, "family", "stranger:navigation")
    controller.save(trained / "controller.safetensors", overwrite=True)
    with pytest.warns(UserWarning, match="--family stranger:navigation"):
        report(trained, tasks=2)
    with pytest.warns(UserWarning, match="--family stranger:navigation"):
        report(trained, tasks=2, family="another:one")
    assert Page(report(trained, tasks=2, family="stranger:navigation")).row("trained")["unseen tasks, after"]


def test_the_command(trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parent)
    command.main([str(trained), "--tasks", "2", "--threads", "1"])
    assert "2/2 unseen tasks" in (out := capsys.readouterr().out) and f"Report: {trained / 'report.html'}" in out
    command.main([str(trained), str(write_run(trained.parent / "b")), "--tasks", "0"])
    assert Page((trained.parent / "report.html").read_text()).row("b")["method"] == "maml"
    command.main(["trained", "--tasks", "0", "--out", "named.html"])
    assert (trained.parent / "named.html").exists()
    for words in ([], ["--tasks", "0"], ["b", "--tasks", "-1"], ["b", "--seed", "-1"], ["b", "--threads", "0"]):
        with pytest.raises(ValueError):
            command.main(words)
