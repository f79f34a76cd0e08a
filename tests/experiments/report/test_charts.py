"""What goes into a report's charts, against numbers worked by hand."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context

from metarl.experiments.analysis.curves import Curve, chunk_means, curve, line, thinned
from metarl.experiments.analysis.logs import rows_with
from metarl.experiments.analysis.style import tick_format
from metarl.experiments.report.chart import SVG_STYLE, Chart, Series, curve_chart, data_range, inline_svg
from metarl.experiments.report.comparison import comparison
from metarl.experiments.report.layer_charts import colors_of
from metarl.experiments.report.runs import Group, Run
from metarl.experiments.report.task_charts import means_along, over_runs, task_charts
from metarl.experiments.report.task_returns import TaskReturns
from metarl.experiments.report.time_charts import phase_seconds
from metarl.policies.files.metadata import FieldRecord

NAN = math.nan
VELOCITY = FieldRecord("target_velocity", 0.0, 2.0, "m/s")
DIRECTION = FieldRecord("direction", -1.0, 1.0, "", (-1.0, 1.0))


def log(iterations: list[float], **columns: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(values, float) for name, values in {"iteration": iterations, **columns}.items()}


def group(*logs: dict[str, np.ndarray], timings: dict[str, np.ndarray] | None = None) -> Group:
    settings = {"method": "maml", "seed": 0, "iterations": 3, "inner_steps": 1}
    runs = [Run(None, "run", "family", settings, {}, each, timings or {}, ()) for each in logs]  # type: ignore[arg-type]
    return Group("maml", tuple(runs))


def test_ranges_have_some_room() -> None:
    assert data_range([np.array([0.0, 10.0, NAN])], margin=0.1) == (-1, 11)
    assert data_range([]) == (0, 1)
    assert data_range([np.array([NAN])], include=[0, 4], margin=0) == (0, 4)
    low, high = data_range([np.array([1.0, 1.0001])])
    assert low < 0.99 and high > 1.01
    assert data_range([np.array([0.0])]) == (-1, 1)
    assert data_range([np.array([5.0])], margin=0) == (4.5, 5.5)


def test_a_limit_is_a_line_within_the_axis() -> None:
    kl = Series("maml", "c0", 0, line(np.array([1.0, 2]), np.array([0.001, 0.002])))
    (chart,) = curve_chart("KL", "KL", [kl], include=[0], limit=0.01)
    axes = chart.figure.axes[0]
    assert axes.lines[-1].get_ydata() == [0.01, 0.01] and axes.get_title("right") == "limit 0.01"
    low, high = axes.get_ylim()
    assert low < 0 < 0.01 < high
    assert curve_chart("KL", "KL", []) == []


def test_large_numbers_are_written_in_thousands() -> None:
    assert [tick_format(5e4)(value) for value in (0, 20000, 2e6)] == ["0", "20k", "2M"]


def test_means_along_an_axis() -> None:
    returns = np.array([1.0, 3.0, 5.0, 7.0])
    centers, means = means_along(FieldRecord("x", 0.0, 8.0, ""), np.array([0.0, 0.4, 1.5, 8.0]), returns)
    assert centers.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    np.testing.assert_array_equal(means, [2, 5, *[NAN] * 5, 7])
    centers, means = means_along(DIRECTION, np.array([-1.0, 1, 1]), returns[:3])
    assert centers.tolist() == [-1, 1] and means.tolist() == [1, 4]


def test_the_mean_goes_on_with_those_that_got_that_far() -> None:
    first = log([1, 2, 3], kl=[2, 4, NAN])
    second = log([1, 2, 3, 4], kl=[4, math.inf, NAN, 8])
    found = curve([first, second, log([1])], "kl")
    assert found is not None
    assert found.x.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(found.mean, [3, 4, NAN, 8])
    np.testing.assert_array_equal(found.low, [2, 4, NAN, 8])
    np.testing.assert_array_equal(found.high, [4, 4, NAN, 8])
    assert curve([first, second], "nonsense") is None
    assert curve([log([], kl=[]), log([1], kl=[NAN])], "kl") is None


def test_of_one_run_the_band_is_the_interval() -> None:
    found = curve([log([1, 2], return_1=[5, 6], return_1_ci95=[1, NAN])], "return_1")
    assert found is not None
    np.testing.assert_array_equal([found.low, found.mean, found.high], [[4, NAN], [5, 6], [6, NAN]])


def test_long_curves_are_thinned_by_means() -> None:
    x = np.arange(5.0)
    values = np.array([1, 3, NAN, 5, 7])
    found = thinned(Curve(x, values, values - 1, np.full(5, NAN)), most=3)
    assert found.x.tolist() == [0.5, 2.5, 4] and found.mean.tolist() == [2, 5, 7] and found.low.tolist() == [1, 4, 6]
    assert np.isnan(found.high).all()
    whole = Curve(x, values, values, values)
    assert thinned(whole, most=5) is whole


def test_means_of_chunks() -> None:
    np.testing.assert_array_equal(chunk_means(np.array([1, 3, NAN, 5, NAN, NAN, 8]), 2), [2, 5, NAN, 8])


def test_rows_with_a_number_in_any_of_the_columns() -> None:
    found = rows_with(log([1, 2, 3], a=[1, NAN, NAN], b=[NAN, NAN, 5]), "a", "b", "none")
    assert found["iteration"].tolist() == [1, 3]
    assert rows_with(log([1]), "none") == {}


def test_normalizations_have_the_color_of_the_layer_before() -> None:
    layers = ["conv1", "norm1", "shortcut", "shortcut_norm", "fc"]
    assert list(colors_of(layers).values()) == ["c0", "c0", "c1", "c1", "c2"]


def test_phase_times_are_means_over_all_iterations() -> None:
    timings = log([1, 2], sampling_seconds=[1, 3], line_search_seconds=[NAN, 4])
    assert phase_seconds(group(log([1, 2]), log([1]), timings=timings)) == {"sampling": 2, "line search": 2}


def test_means_and_ranges_leave_out_what_is_unknown() -> None:
    headings, (mean, first, second) = comparison(
        [group(log([1, 2], return_0=[-4, -2], return_1=[-2, NAN]), log([]))], {}
    )
    cells = {heading: (mean.cells[index], first.cells[index]) for index, heading in enumerate(headings)}
    assert cells["iterations"] == (("1", "0 … 2"), ("2", "of 3"))
    assert cells["return before"] == (("−3.00", ""), ("−3.00", ""))
    assert cells["best return"] == (("−2.00", ""), ("−2.00", ""))
    assert cells["time"] == (("", ""), ("", ""))
    assert set(second.cells) == {("0", "of 3"), ("", "")}


def evaluation(*fields: FieldRecord) -> TaskReturns:
    tasks = np.array([[field.low, field.high] for field in fields]).T
    return TaskReturns(fields, tasks, np.array([[-100.0, -60.0], [-80.0, -40.0], [-20.0, -10.0]]))


def test_return_against_velocity() -> None:
    (chart,) = task_charts([group(log([1]))], {0: evaluation(VELOCITY)})
    axes = chart.figure.axes[0]
    assert (chart.title, axes.get_xlabel()) == ("Return against target_velocity", "target_velocity (m/s)")
    before, after = (dots.get_offsets().tolist() for dots in axes.collections)
    assert before == [[0, -100], [2, -60]] and after == [[0, -20], [2, -10]]
    assert chart.titles == ("target_velocity 0: −100.0 → −20.00", "target_velocity 2: −60.00 → −10.00")
    assert [dot.findtext("title") for dot in drawing(chart).iterfind(".//g[@class='dots']//use")] == [*chart.titles] * 2


def test_few_values_have_their_own_ticks_and_dots_side_by_side() -> None:
    (chart,) = task_charts([group(log([1]))], {0: evaluation(DIRECTION)})
    axes = chart.figure.axes[0]
    assert axes.get_xticks().tolist() == [-1, 1]
    before, after = (dots.get_offsets()[0, 0] for dots in axes.collections)
    assert before < -1 < after


def test_two_values_make_maps_on_one_scale_of_colors() -> None:
    x, y = FieldRecord("goal_x", -1.0, 1.0), FieldRecord("goal_y", 0.0, 4.0)
    charts = task_charts([group(log([1])), group(log([1]))], {0: evaluation(x, y), 1: evaluation(x, y)})
    assert [(chart.title, chart.group) for chart in charts] == [
        ("Return by task, maml", 0),
        ("Return by task, maml", 1),
    ]
    for chart in charts:
        before, after = (axes.collections[0] for axes in chart.figure.axes[:2])
        assert before.get_array().tolist() == [-100, -60] and after.get_array().tolist() == [-20, -10]
        assert before.get_offsets().tolist() == [[-1, 0], [1, 4]]
        assert before.get_clim() == after.get_clim() == charts[0].figure.axes[0].collections[0].get_clim()


def test_three_values_have_a_chart_each() -> None:
    charts = task_charts([group(log([1]))], {0: evaluation(VELOCITY, DIRECTION, VELOCITY)})
    labels = [chart.figure.axes[0].get_xlabel() for chart in charts]
    assert labels == ["target_velocity (m/s)", "direction", "target_velocity (m/s)"]


def test_text_of_a_drawing_is_never_a_formula() -> None:
    with rc_context(SVG_STYLE):
        (chart,) = task_charts([group(log([1]))], {0: evaluation(FieldRecord("a$_{b", 0.0, 1.0, "$"))})
    assert "a$_{b ($)" in [text.text for text in drawing(chart).iter("text")]


def drawing(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(inline_svg(chart, "salt"))


def test_runs_on_the_same_tasks_are_averaged_and_others_set_side_by_side() -> None:
    first = evaluation(VELOCITY)
    second = TaskReturns(first.fields, first.tasks, first.returns + 10)
    np.testing.assert_array_equal(over_runs([first, second]).returns, first.returns + 5)
    other = TaskReturns(first.fields, first.tasks + 0.1, first.returns)
    both = over_runs([first, other])
    assert both.tasks.shape == (4, 1) and both.returns.shape == (3, 4)
