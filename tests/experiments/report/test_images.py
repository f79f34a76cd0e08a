"""The report about runs on images: true to the logs, beside other runs, and written whatever state they are in."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_pages import Page, band, charts, curve, drawings, labels, report
from run_folders import COLUMNS, progress_line, write_image_run, write_run

from metarl.experiments.commands import report as command


def test_the_table_of_one_run(tmp_path: Path) -> None:
    assert Page(report(write_image_run(tmp_path / "first"))).row("first") == {
        "run": "first",
        "method": "maml",
        "seed": "0",
        "epochs": "3",
        "best validation accuracy": "50.0 %|± 5.0 %",
        "in epoch": "2",
        "last validation accuracy": "40.0 %|± 5.0 %",
        "training accuracy before": "20.0 %",
        "training accuracy after": "5.5 %",
        "time": "0:00:15",
        "skipped": "0",
    }


def test_accuracies_of_one_run(tmp_path: Path) -> None:
    chart = charts(write_image_run(tmp_path / "run"))["Accuracy"]
    np.testing.assert_allclose(curve(chart, "validation, after adaptation"), [[2, 30], [4, 50], [6, 40]])
    np.testing.assert_allclose(curve(chart, "training, after adaptation")[:, 1], [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(curve(chart, "training, before adaptation")[:, 1], [20] * 6)
    assert band(chart, "c2") == {(2, 35), (4, 55), (6, 45), (6, 35), (4, 45), (2, 25)}


def test_accuracies_end_at_100_percent(tmp_path: Path) -> None:
    chart = charts(write_image_run(tmp_path / "run", validation=(0.9, 0.98, 0.99)))["Accuracy"]
    assert chart.figure.axes[0].get_ylim() == (0, 100)


@pytest.mark.parametrize("per_epoch", [1, 2, 500])
def test_ticks_of_iterations_are_whole(per_epoch: int, tmp_path: Path) -> None:
    run = write_image_run(tmp_path / "run", validation=(0.5,), per_epoch=per_epoch)
    axes = charts(run)["Accuracy"].figure.axes[0]
    low, high = axes.get_xlim()
    inside = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert inside and all(tick == round(tick) for tick in inside)


def test_losses_and_learning_rate(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    found = charts(folder)
    assert curve(found["Loss on training tasks"], "before adaptation")[:, 1].tolist() == [2] * 6
    assert curve(found["Loss on training tasks"], "after adaptation")[:, 1].tolist() == [1] * 6
    assert curve(found["Learning rate"], "maml")[:, 1].tolist() == [0.001] * 6
    assert "No update was skipped." in report(folder) and "Skipped updates so far" not in found


def test_long_trainings_are_drawn_as_means_of_chunks(tmp_path: Path) -> None:
    chart = charts(write_image_run(tmp_path / "run", per_epoch=100))["Accuracy"]
    points = curve(chart, "training, after adaptation")
    np.testing.assert_allclose(points[[0, 1, -1]], [[2, 2], [5, 5], [299, 299]])
    assert len(points) == 100
    assert len(curve(chart, "validation, after adaptation")) == 3


def test_methods_have_a_chart_for_each_accuracy(tmp_path: Path) -> None:
    write_image_run(tmp_path / "a")
    write_image_run(tmp_path / "b", method="boil", validation=(0.6, 0.7, 0.8))
    found = charts(tmp_path)
    np.testing.assert_allclose(curve(found["Validation accuracy after adaptation"], "boil")[:, 1], [60, 70, 80])
    np.testing.assert_allclose(curve(found["Training accuracy after adaptation"], "maml")[:, 1], range(1, 7))
    np.testing.assert_allclose(curve(found["Training accuracy before adaptation"], "boil")[:, 1], 20)
    assert len({chart.figure.axes[0].get_ylim() for title, chart in found.items() if "accuracy" in title}) == 1


def test_seeds_have_mean_and_range(tmp_path: Path) -> None:
    write_image_run(tmp_path / "a", validation=(0.3, 0.5, 0.4))
    write_image_run(tmp_path / "b", validation=(0.4, 0.5, 0.6), seed=1, threads=7)
    text = report(tmp_path)
    row = Page(text).row("maml")
    assert (row["seed"], row["epochs"]) == ("mean", "3")
    assert row["best validation accuracy"] == "55.0 %|50.0 % … 60.0 %"
    assert row["last validation accuracy"] == "50.0 %|40.0 % … 60.0 %"
    chart = charts(tmp_path)["Accuracy"]
    np.testing.assert_allclose(curve(chart, "validation, after adaptation")[:, 1], [35, 50, 50])
    assert band(chart, "c2") == {(2, 30), (2, 40), (4, 50), (6, 40), (6, 60)}


def test_data_and_backbones_have_sections_beside_families(tmp_path: Path) -> None:
    write_image_run(tmp_path / "a")
    write_image_run(tmp_path / "b", backbone="resnet12")
    write_image_run(tmp_path / "c", shots=5)
    write_run(tmp_path / "d")
    text = report(tmp_path)
    page = Page(text)
    assert {"letters (conv4)", "letters (resnet12)", "navigation-2d"} <= set(page.text)
    assert text.count("Validation accuracies are") == 2 and text.count("Returns before and after") == 1
    assert {"maml, shots 1", "maml, shots 5"} <= {part.strip() for part in page.text}
    headings = [cells for cells in page.cells if cells[:2] == ["run", "method"]]
    assert [cells[3] for cells in headings] == ["epochs", "epochs", "iterations"]
    expected = {"Accuracy", "Validation accuracy after adaptation", "Return before and after adaptation"}
    assert expected <= set(drawings(text))
    identities = re.findall(r' id="([^"]*)"', text)
    assert len(identities) == len(set(identities))


def test_the_folder_of_the_data_stays_out_of_the_page(tmp_path: Path) -> None:
    text = report(write_image_run(tmp_path / "run"))
    assert "somewhere" not in text and ["data", "letters"] in Page(text).cells
    assert not re.search(r"(?i)https?:|//\w|@import|url\((?!#)", text)


def test_the_same_data_in_another_folder_are_the_same_kind_of_run(tmp_path: Path) -> None:
    write_image_run(tmp_path / "a")
    folder = write_image_run(tmp_path / "b", seed=1)
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["data"] = "/home/letters"
    (folder / "config.json").write_text(json.dumps(config))
    assert Page(report(tmp_path)).row("maml")["seed"] == "mean"


def test_time_of_the_validation_is_spread_over_the_iterations(tmp_path: Path) -> None:
    text = report(write_image_run(tmp_path / "run"))
    for told in ("sampling: 0.25 s", "meta-gradient: 0.5 s", "adam: 0.25 s", "validation: 1.5 s"):
        assert f"<title>{told}</title>" in text
    assert ">2.5 s<" in text


def test_step_sizes_of_few_layers_are_curves_for_each_step(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    chart = charts(folder)["Step sizes"]
    np.testing.assert_allclose(curve(chart, "conv1, step 2"), [[2, 0.3], [4, 0.6], [6, 0.9]])
    assert len({(key.color, key.dashed) for key in chart.legend}) == len(chart.legend) == 6
    assert "At the end of its training maml adapts conv1, fc: 2 of 3 layers." in report(folder)


def test_step_sizes_of_many_layers_are_means_over_the_steps(tmp_path: Path) -> None:
    layers = {f"{kind}{number}": (0.1 * number, 0.3) for number in (1, 2, 3) for kind in ("conv", "norm")}
    folder = write_image_run(tmp_path / "run", layers=layers)
    chart = charts(folder)["Step sizes"]
    assert labels(chart) == ["conv1", "norm1", "conv2", "norm2", "conv3", "norm3"]
    np.testing.assert_allclose(curve(chart, "norm3"), [[2, 0.3], [4, 0.6], [6, 0.9]])
    np.testing.assert_allclose(curve(chart, "conv1")[:, 1], [0.2, 0.4, 0.6])
    assert [key.color for key in chart.legend] == ["c0", "c0", "c1", "c1", "c2", "c2"]
    assert [key.dashed for key in chart.legend] == [False, True] * 3
    assert chart.note == "Means over the inner steps." and "adapts all 6 layers." in report(folder)


def test_more_layers_are_a_row_of_colors_each(tmp_path: Path) -> None:
    layers = {f"block{number}.conv": (0.1 * number, 0.1 * number) for number in range(12)}
    kept = {f"input_{name}": 0.5 for name in layers}
    found = charts(write_image_run(tmp_path / "run", layers=layers, kept=kept))
    chart = found["Step sizes"]
    axes = chart.figure.axes[0]
    (image,) = axes.images
    expected = 0.1 * np.outer(np.arange(12), [1, 2, 3])
    np.testing.assert_allclose(image.get_array().filled(0), expected)
    assert image.get_array().mask[0].all() and not image.get_array().mask[1:].any()  # the first is always zero
    assert image.get_extent() == [1, 7, 11.5, -0.5] and image.get_clim() == (0, pytest.approx(3.3))
    assert [text.get_text() for text in axes.get_yticklabels()] == list(layers)
    last = [text.get_text() for text in axes.child_axes[0].get_yticklabels()]
    assert (last[0], last[1], last[11]) == ("0", "0.3", "3.3")
    assert "Cells without color are zero" in chart.note
    np.testing.assert_array_equal(found["Kept input channels"].figure.axes[0].images[0].get_array(), 0.5)


def test_fixed_step_sizes_are_a_sentence(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run", layers={"conv1": (0.01, 0.01), "fc": (0.01, 0.01)}, grows=False)
    assert "Fixed step sizes of maml: 0.01 in all layers." in report(folder) and "Step sizes" not in charts(folder)


def test_kept_channels_of_images(tmp_path: Path) -> None:
    found = charts(write_image_run(tmp_path / "run", kept={"input_conv1": 0.75, "output_conv1": 0.25}))
    for title, share in (("Kept input channels", 0.75), ("Kept output channels", 0.25)):
        assert curve(found[title], "conv1, step 1").tolist() == [[2, share], [4, share], [6, share]]
        low, high = found[title].figure.axes[0].get_ylim()
        assert -0.1 < low <= 0 and 1 <= high < 1.1


def test_kept_channels_of_a_policy(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert not any(title.startswith("Kept") for title in charts(folder))
    lines = [f"{progress_line(number, -10, step_size=(3 - number) / 10)},{number / 4}" for number in (1, 2, 3)]
    (folder / "progress.csv").write_text("\n".join([f"{COLUMNS},kept_input_layer1_1", *lines, ""]))
    found = charts(folder)
    assert curve(found["Kept input channels"], "layer1").tolist() == [[1, 0.25], [2, 0.5], [3, 0.75]]
    assert "Kept output channels" not in found
    assert "At the end of its training maml adapts no layer." in report(folder)


def test_seeds_that_adapt_other_layers(tmp_path: Path) -> None:
    write_image_run(tmp_path / "a")
    write_image_run(tmp_path / "b", seed=1, layers={"conv1": (0.1, 0), "norm1": (0.2, 0), "fc": (0, 0)})
    text = report(tmp_path)
    assert "maml adapts conv1, norm1 (1 of 2 seeds), fc (1 of 2 seeds): 3 of 3 layers." in text


def test_a_run_in_progress(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run", validation=(0.3, 0.5))
    with (folder / "progress.csv").open("a") as file:
        file.write("5,3,1")
    (folder / "timings.csv").unlink()
    text = report(folder)
    row = Page(text).row("run")
    assert (row["epochs"], row["last validation accuracy"], row["time"]) == ("2|of 3", "50.0 %|± 5.0 %", "")
    assert row["training accuracy after"] == "3.5 %"
    assert "run: there is no timings.csv." in text and "damaged" not in text
    assert "So far maml adapts conv1, fc" in text


def test_a_run_before_its_first_validation(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    lines = (folder / "progress.csv").read_text().splitlines(keepends=True)
    (folder / "progress.csv").write_text("".join(lines[:2]))
    text = report(folder)
    row = Page(text).row("run")
    assert (row["epochs"], row["best validation accuracy"]) == ("0|of 3", "")
    assert row["training accuracy after"] == "1.0 %"
    expected = ["training, before adaptation", "training, after adaptation"]
    assert labels(charts(folder)["Accuracy"]) == expected


@pytest.mark.parametrize("content", ["", "iteration,epoch\n", "1,2\n", None])
def test_a_run_without_an_iteration(content: str | None, tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    (folder / "progress.csv").unlink()
    if content is not None:
        (folder / "progress.csv").write_text(content)
    (folder / "timings.csv").unlink()
    text = report(folder)
    assert Page(text).row("run")["epochs"] == "0|of 3" and "progress.csv" in text and drawings(text) == {}


@pytest.mark.parametrize("damage", ["3,2,x", "3", "\0\0"])
def test_a_damaged_log_is_read_up_to_the_damage(damage: str, tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    lines = (folder / "progress.csv").read_text().splitlines()
    (folder / "progress.csv").write_text("\n".join([*lines[:3], damage, *lines[4:], ""]))
    text = report(folder)
    assert "run: progress.csv is damaged" in text
    if damage[0] == "3":
        assert "in line 4" in text and Page(text).row("run")["best validation accuracy"] == "30.0 %|± 5.0 %"


def test_rows_without_numbers(tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    header, *rows = (folder / "progress.csv").read_text().splitlines()
    rows[3] = "," * header.count(",")
    rows[2] = "3,2" + "," * (header.count(",") - 1)
    (folder / "progress.csv").write_text("\n".join([header, *rows, ""]))
    row = Page(report(folder)).row("run")
    assert row["best validation accuracy"] == "40.0 %|± 5.0 %" and row["in epoch"] == "3"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"epochs": None}, "epochs: Input should be a valid integer"),
        ({"data": 3}, "data: Input should be a valid string"),
        ({"backbone": 1}, "backbone: Input should be a valid string"),
    ],
)
def test_a_damaged_configuration_is_named(setting: dict[str, object], says: str, tmp_path: Path) -> None:
    folder = write_image_run(tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | setting}))
    with pytest.raises(ValueError, match=f"run/config.json is not the configuration of a run: .*{says}"):
        report(folder)


def test_image_networks_are_not_evaluated_as_policies(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_image_run(tmp_path / "images")
    command.main([str(folder), "--out", str(tmp_path / "page.html")])
    assert "unseen" not in capsys.readouterr().out
    shutil.copytree(run, tmp_path / "policy")
    command.main([str(folder), str(tmp_path / "policy"), "--tasks", "2", "--out", str(tmp_path / "page.html")])
    assert "2/2 unseen tasks" in capsys.readouterr().out
    text = (tmp_path / "page.html").read_text()
    assert "not evaluated" not in text and "unseen tasks, after" in text
    assert not (folder / "evaluation.csv").exists()


def test_filed_results_have_their_controllers_among_those_that_ship(run: Path, tmp_path: Path) -> None:
    result = tmp_path / "experiments" / "results" / "navigation-2d" / "maml"
    shutil.copytree(run, result)
    write_image_run(result.parent.parent / "images" / "maml")
    shipped = tmp_path / "policies" / "pretrained" / "navigation-2d"
    shipped.mkdir(parents=True)
    (result / "controller.safetensors").rename(shipped / "maml.safetensors")
    text = report(tmp_path / "experiments" / "results", tasks=2)
    page = Page(text)
    assert {"navigation-2d", "letters (conv4)"} <= set(page.text) and "not evaluated" not in text
    headings = [cells for cells in page.cells if cells[:2] == ["run", "method"]]
    assert ["unseen tasks, after" in cells for cells in headings] == [False, True]
