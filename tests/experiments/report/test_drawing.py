"""The parts of a report's charts, against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metarl.experiments.analysis.logs import rows_with
from metarl.experiments.report import drawing
from metarl.experiments.report.curves import Curve, curve, phase_seconds, stretch_means, thinned
from metarl.experiments.report.heat_map import cells, edges_of
from metarl.experiments.report.layer_charts import tones_of
from metarl.experiments.report.runs import Group, Run
from metarl.experiments.report.summaries import combine, summarize
from metarl.experiments.report.task_charts import over_runs, task_charts
from metarl.experiments.report.task_returns import TaskReturns
from metarl.policies.files.metadata import FieldRecord

NAN = math.nan


def log(iterations: list[float], **columns: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(values, float) for name, values in {"iteration": iterations, **columns}.items()}


def group(*logs: dict[str, np.ndarray], timings: dict[str, np.ndarray] | None = None) -> Group:
    settings = {"method": "maml", "seed": 0, "iterations": 3, "inner_steps": 1}
    runs = [Run(None, "run", "family", settings, {}, each, timings or {}, ()) for each in logs]  # type: ignore[arg-type]
    return Group("maml", tuple(runs))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-62, -9, [-60, -50, -40, -30, -20, -10]),
        (0.0, 0.0105, [0, 0.002, 0.004, 0.006, 0.008, 0.01]),
        (0.96, 1.04, [0.96, 0.98, 1, 1.02, 1.04]),
        (1, 500, [100, 200, 300, 400, 500]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(drawing.round_values(low, high)[1], expected, atol=1e-12)


def test_ticks_of_counts_are_whole() -> None:
    assert drawing.round_values(0.9, 2.1, whole=True)[1] == [1, 2]
    assert drawing.round_values(0.99, 1.01, whole=True)[1] == [1]


@pytest.mark.parametrize(
    ("values", "step", "expected"),
    [
        ([-0.5, 0, 0.5], 0.5, ["−0.5", "0", "0.5"]),
        ([-20, 0], 20, ["−20", "0"]),
        ([0, 5000], 5000, ["0", "5000"]),
        ([0, 50000, 100000], 50000, ["0", "50k", "100k"]),
        ([500000, 1000000], 500000, ["0.5M", "1.0M"]),
        ([0.002, 0.004], 0.002, ["0.002", "0.004"]),
    ],
)
def test_labels(values: list[float], step: float, expected: list[str]) -> None:
    assert drawing.labels(values, step) == expected


def test_a_scale_is_linear_and_may_point_down() -> None:
    scale = drawing.Scale(-10, 10, 200, 0)
    assert scale(np.array([-10.0, 0.0, 5.0])).tolist() == [200, 100, 50]


def test_ranges_have_some_room() -> None:
    assert drawing.data_range([np.array([0.0, 10.0, NAN])], margin=0.1) == (-1, 11)
    assert drawing.data_range([]) == (0, 1)
    assert drawing.data_range([np.array([NAN])], include=[0, 4], margin=0) == (0, 4)
    low, high = drawing.data_range([np.array([1.0, 1.0001])])
    assert low < 0.99 and high > 1.01
    assert drawing.data_range([np.array([0.0])]) == (-1, 1)
    assert drawing.data_range([np.array([5.0])], margin=0) == (4.5, 5.5)


def test_lines_break_at_gaps() -> None:
    x, y = np.arange(6.0), np.array([1, 2, NAN, 4, NAN, 6])
    assert drawing.line_path(x, y) == "M0.0 1.00L1.0 2.00M3.0 4.00h0M5.0 6.00h0"
    assert drawing.line_path(x[:0], y[:0]) == ""


def test_bands_break_at_gaps() -> None:
    low, high = np.array([0, 1, NAN, 3, NAN]), np.array([5, 6, 7, 8, 9.0])
    assert drawing.band_path(np.arange(5.0), low, high) == "M0.0 5.00L1.0 6.00L1.0 1.00L0.0 0.00Z"


def test_means_along_an_axis() -> None:
    x, y = np.array([0.0, 0.4, 0.5, 2.0]), np.array([1.0, 3.0, 5.0, 7.0])
    centres, means = drawing.bin_means(x, y, 0, 2, bins=4)
    assert centres.tolist() == [0.25, 0.75, 1.25, 1.75]
    np.testing.assert_array_equal(means, [2, 5, NAN, 7])
    np.testing.assert_array_equal(drawing.choice_means(np.array([-1.0, 1, 1]), y[:3], [-1, 0, 1])[1], [1, NAN, 4])


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


def test_means_of_stretches() -> None:
    np.testing.assert_array_equal(stretch_means(np.array([1, 3, NAN, 5, NAN, NAN, 8]), 2), [2, 5, NAN, 8])


def test_rows_with_a_number_in_any_of_the_columns() -> None:
    found = rows_with(log([1, 2, 3], a=[1, NAN, NAN], b=[NAN, NAN, 5]), "a", "b", "none")
    assert found["iteration"].tolist() == [1, 3]
    assert rows_with(log([1]), "none") == {}


def test_columns_of_a_heat_map_reach_half_way_to_the_next() -> None:
    assert edges_of(np.array([2.0, 4, 8])).tolist() == [1, 3, 6, 10]
    assert edges_of(np.array([3.0])).tolist() == [2.5, 3.5]


def test_cells_of_one_colour_are_one_piece_and_zero_has_none() -> None:
    values = np.array([[1.0, 1, 0], [NAN, 0.5, 1]])
    low, high = cells(values, np.array([0.0, 10, 20, 30]), [0, 12], (0.5, 1))
    assert low[1] == "M10.0 12H20.0V24H10.0Z"
    assert high[1] == "M0.0 0H20.0V12H0.0ZM20.0 12H30.0V24H20.0Z"
    assert low[0] != high[0]


def test_normalisations_have_the_colour_of_the_layer_before() -> None:
    layers = ["conv1", "norm1", "shortcut", "shortcut_norm", "fc"]
    assert list(tones_of(layers).values()) == ["c0", "c0", "c1", "c1", "c2"]


def test_phase_times_are_means_over_all_iterations() -> None:
    timings = log([1, 2], sampling_seconds=[1, 3], line_search_seconds=[NAN, 4])
    assert phase_seconds(group(log([1, 2]), log([1]), timings=timings)) == {"sampling": 2, "line search": 2}


def test_means_and_ranges_leave_out_what_is_unknown() -> None:
    runs = group(log([1, 2], return_0=[-4, -2], return_1=[-2, NAN]), log([])).runs
    mean, low, high = combine([summarize(run) for run in runs])
    assert (mean.done, low.done, high.done) == (1, 0, 2)
    assert (mean.before, mean.best, low.after, high.after) == (-3, -2, -2, -2)
    assert math.isnan(mean.seconds)


VELOCITY = FieldRecord("target_velocity", 0.0, 2.0, "m/s")
DIRECTION = FieldRecord("direction", -1.0, 1.0, "", (-1.0, 1.0))


def evaluation(*fields: FieldRecord) -> TaskReturns:
    tasks = np.array([[field.low, field.high] for field in fields]).T
    return TaskReturns(fields, tasks, np.array([[-100.0, -60.0], [-80.0, -40.0], [-20.0, -10.0]]))


def test_return_against_velocity() -> None:
    (chart,), bar = task_charts([group(log([1]))], {0: evaluation(VELOCITY)})
    assert (chart.title, chart.x_label, bar) == ("Return against target_velocity", "target_velocity (m/s)", None)
    assert [dot.tone for dot in chart.dots] == ["before", "before", "after", "after"]
    x, y = chart.frame.x, chart.frame.y
    assert [dot.x for dot in chart.dots] == pytest.approx(x(np.array([0, 2, 0, 2])).tolist())
    assert [dot.y for dot in chart.dots] == pytest.approx(y(np.array([-100, -60, -20, -10])).tolist())
    assert chart.dots[0].title == "target_velocity 0: −100.0 → −20.00"


def test_few_values_have_their_own_ticks_and_dots_side_by_side() -> None:
    (chart,), _ = task_charts([group(log([1]))], {0: evaluation(DIRECTION)})
    assert [text for _, text in chart.frame.x.ticks()] == ["−1", "1"]
    before, after = chart.dots[0].x, chart.dots[2].x
    assert before < float(chart.frame.x(np.array(-1.0))) < after


def test_two_values_make_maps_on_one_scale_of_colours() -> None:
    x, y = FieldRecord("goal_x", -1.0, 1.0), FieldRecord("goal_y", 0.0, 4.0)
    charts, bar = task_charts([group(log([1])), group(log([1]))], {0: evaluation(x, y), 1: evaluation(x, y)})
    assert [chart.title for chart in charts] == [f"{when} adaptation, maml" for when in ("Before", "After")] * 2
    assert [chart.group for chart in charts] == [0, 0, 1, 1]
    assert bar is not None and (bar.low, bar.high) == ("−100.0", "−10.00")
    worst, best = charts[0].dots[0].fill, charts[1].dots[1].fill
    assert (worst, best) == (bar.colors[0], bar.colors[-1])
    frame = charts[0].frame
    assert frame.x.end - frame.x.start == pytest.approx(frame.y.start - frame.y.end)


def test_three_values_have_a_chart_each() -> None:
    charts, bar = task_charts([group(log([1]))], {0: evaluation(VELOCITY, DIRECTION, VELOCITY)})
    assert [chart.x_label for chart in charts] == ["target_velocity (m/s)", "direction", "target_velocity (m/s)"]
    assert bar is None


def test_runs_on_the_same_tasks_are_averaged_and_others_set_side_by_side() -> None:
    first = evaluation(VELOCITY)
    second = TaskReturns(first.fields, first.tasks, first.returns + 10)
    np.testing.assert_array_equal(over_runs([first, second]).returns, first.returns + 5)
    other = TaskReturns(first.fields, first.tasks + 0.1, first.returns)
    both = over_runs([first, other])
    assert both.tasks.shape == (4, 1) and both.returns.shape == (3, 4)
